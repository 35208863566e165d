import pytest
import torch

from common.errors import UserError
from common.losses import triplet
from common.losses.examples import generator, unit
from tests.oracles import triplet as oracle

LINE = torch.tensor([[0.0], [1.0], [1.5], [3.0]], dtype=torch.float64)


def test_triplets_on_a_line_by_hand() -> None:
    labels = torch.tensor([0, 0, 1, 1])
    # Anchors 0, 1, 1.5, 3: farthest positives 1, 1, 1.5, 1.5; nearest negatives 1.5, 0.5, 0.5, 2.
    assert triplet(LINE, labels, margin=0.75).item() == pytest.approx((0.25 + 1.25 + 1.75 + 0.25) / 4)
    # Nearest negatives beyond the positive: 1.5, 2, none but 1.5 itself, 2. The third takes the farthest, 1.5.
    expected = (0.25 + 0.0 + 0.75 + 0.25) / 4
    assert triplet(LINE, labels, margin=0.75, mining="semi_hard").item() == pytest.approx(expected)


def test_semi_hard_mining_agrees_beyond_one_block_of_anchors() -> None:
    embeddings, labels = unit(generator(0), 133), torch.arange(133) % 60
    ours = triplet(embeddings, labels, margin=0.3, mining="semi_hard")
    torch.testing.assert_close(ours, oracle.triplet(embeddings, labels, margin=0.3, mining="semi_hard"))


@pytest.mark.parametrize("mining", ["batch_hard", "semi_hard"])
@pytest.mark.parametrize("labels", [[0, 0, 0, 0], [0, 1, 2, 3]])
def test_a_batch_without_triplets_costs_nothing(labels: list[int], mining: str) -> None:
    embeddings = LINE.clone().requires_grad_()
    value = triplet(embeddings, torch.tensor(labels), margin=0.5, mining=mining)
    value.backward()
    assert value.item() == 0.0
    assert embeddings.grad.abs().sum() == 0.0


def test_an_unknown_way_of_mining_is_named() -> None:
    with pytest.raises(UserError, match=r"^triplet: mining 'hard': expected 'batch_hard' or 'semi_hard'$"):
        triplet(LINE, torch.tensor([0, 0, 1, 1]), margin=0.5, mining="hard")


def test_a_negative_as_near_as_the_positive_is_no_semi_hard_one() -> None:
    points, labels = torch.tensor([[0.0], [1.0], [-1.0], [3.0]], dtype=torch.float64), torch.tensor([0, 0, 1, 2])
    # Anchor 0: the positive at 1, negatives at 1 and 3; anchor 1: the positive at 1, negatives at 2 and 2.
    expected = ((1 - 3 + 2.5) + (1 - 2 + 2.5)) / 2
    assert triplet(points, labels, margin=2.5, mining="semi_hard").item() == pytest.approx(expected)


@pytest.mark.parametrize("mining", ["batch_hard", "semi_hard"])
@pytest.mark.parametrize("offset", [1e3, 1e4])
def test_distances_far_from_the_origin_are_those_near_it(mining: str, offset: float) -> None:
    far = torch.randn(40, 16, generator=generator(2)) + offset
    labels = torch.arange(40) % 10
    expected = oracle.triplet(far.double(), labels, margin=1.0, mining=mining)
    torch.testing.assert_close(triplet(far, labels, margin=1.0, mining=mining).double(), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("mining", ["batch_hard", "semi_hard"])
def test_no_rows_cost_nothing_and_keep_the_graph(mining: str) -> None:
    nothing = torch.zeros(0, 4, requires_grad=True)
    value = triplet(nothing, torch.zeros(0, dtype=torch.int64), margin=0.2, mining=mining)
    value.backward()
    assert value.item() == 0.0 and nothing.grad.shape == (0, 4)


def test_mining_is_the_same_under_autocast() -> None:
    embeddings, labels = unit(generator(3), 60).float(), torch.arange(60) % 12
    for mining in ("batch_hard", "semi_hard"):
        want = triplet(embeddings, labels, margin=0.5, mining=mining)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(triplet(embeddings, labels, margin=0.5, mining=mining), want)
