"""Which operations are drawn, and what they do to a picture."""

import torch

from common.rand_augment import DRAWS, OPERATIONS, rand_augment


def picture() -> torch.Tensor:
    """A grey ramp with a white square, uint8 (3, 40, 40)."""
    pixels = torch.linspace(60, 150, 40).repeat(3, 40, 1).to(torch.uint8)
    pixels[:, 12:20, 12:20] = 220
    return pixels


def one(operation: int, way: float = 0.2, magnitude: float = 0.7) -> torch.Tensor:
    return rand_augment(picture(), [(operation + 0.5) / OPERATIONS, 0.2, way], magnitude)


def test_half_of_the_operations_are_left_out() -> None:
    for operation in range(OPERATIONS):
        draws = [(operation + 0.5) / OPERATIONS, 0.5, 0.2]
        assert torch.equal(rand_augment(picture(), draws), picture())
    assert rand_augment(picture(), []) is not None and DRAWS == 3


def test_each_operation_does_something_else_and_keeps_the_colours() -> None:
    results = [one(operation) for operation in range(OPERATIONS)]
    assert all(result.shape == (3, 40, 40) and result.dtype == torch.uint8 for result in results)
    assert torch.equal(results[0], picture())
    assert len({tuple(result.flatten().tolist()) for result in results}) == OPERATIONS
    for result in results:  # grey stays grey
        assert torch.equal(result[0], result[1]) and torch.equal(result[0], result[2])
    assert results[1].min() == 0 and results[1].max() >= 254
    torch.testing.assert_close(results[3][0, 0, 0].item(), int(60 * 1.36), atol=1, rtol=0)


def test_shifts_turns_and_shears_go_both_ways_into_grey() -> None:
    assert torch.equal(one(7)[:, :, 7:], picture()[:, :, :-7]) and (one(7)[:, :, :7] == 128).all()
    assert torch.equal(one(8, way=0.9)[:, :-7], picture()[:, 7:]) and (one(8, way=0.9)[:, -7:] == 128).all()
    for operation in (5, 6, 9):
        assert not torch.equal(one(operation), one(operation, way=0.9))
    # A shear of 0.21: the last row moves by 0.21 * 39 pixels, the first hardly.
    first, last = one(5)[0, 0], one(5)[0, -1]
    moved = max((first == 128).sum().item(), (last == 128).sum().item())
    still = min((first == 128).sum().item(), (last == 128).sum().item())
    assert 7 <= moved <= 10 and still <= 2
