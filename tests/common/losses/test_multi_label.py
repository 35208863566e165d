import pytest
import torch

from common.errors import UserError
from common.losses import decoupled_softmax, multi_label_softmax, soft_top_k
from common.losses.examples import generator, unit
from common.losses.multi_label import Listed
from common.tiled.tiles import tiling


def scores_as_queries(*rows: list[float]) -> tuple[torch.Tensor, torch.Tensor]:
    """Queries against unit vectors: the scores are the queries."""
    scores = torch.tensor(rows, dtype=torch.float64, requires_grad=True)
    return scores, torch.eye(scores.shape[1], dtype=torch.float64)


def test_listed_pairs_are_found_in_every_tile() -> None:
    listed = Listed(torch.tensor([[4, 0, -1], [-1, -1, -1], [2, 2, 3]]))
    expected = torch.zeros(3, 5, dtype=torch.bool)
    expected[0, [0, 4]] = expected[2, [2, 3]] = True
    for width in (1, 2, 3, 5):
        parts = [listed.tile(slice(0, 3), slice(i, min(i + width, 5))) for i in range(0, 5, width)]
        assert torch.equal(torch.cat(parts, dim=1), expected)


def test_softmax_pushes_a_confident_positive_down_and_decoupled_softmax_does_not() -> None:
    # p of the first positive is above 1/|P|, so |P| p - 1 > 0.
    scores, label = scores_as_queries([4.0, 0.0, 0.0, -1.0])
    positive = torch.tensor([[0, 1]])
    (softmax,) = torch.autograd.grad(multi_label_softmax(scores, label, positive), scores)
    (decoupled,) = torch.autograd.grad(decoupled_softmax(scores, label, positive), scores)
    probability = scores[0].softmax(0)[0]
    assert softmax[0, 0].item() == pytest.approx(2 * probability.item() - 1)
    assert softmax[0, 0] > 0.9
    assert (decoupled[0, :2] < 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_threshold_holds_where_the_labels_part_clearly(dtype: torch.dtype) -> None:
    # Two labels far above two: the sigmoids are 0 or 1 to the last digit, and the threshold lies halfway.
    scores, label = scores_as_queries([30.0, 30.0, -10.0, -10.0])
    value = soft_top_k(scores.to(dtype), label.to(dtype), torch.tensor([[2]]), k=2, alpha=2.0)
    assert value.item() == pytest.approx(2.0 * 20.0, rel=1e-6)


def test_soft_top_k_finds_the_same_threshold_over_many_labels_and_in_tiles() -> None:
    draw = torch.Generator().manual_seed(0)
    query = torch.randn(6, 8, generator=draw, dtype=torch.float64)
    label = torch.randn(700, 8, generator=draw, dtype=torch.float64)
    positive = torch.randint(700, (6, 3), generator=draw)
    dense = soft_top_k(query, label, positive, k=5)
    with tiling(4, 64):
        torch.testing.assert_close(soft_top_k(query, label, positive, k=5), dense, rtol=1e-12, atol=0.0)


@pytest.mark.parametrize("k", [0, 4, torch.tensor([2, 9])])
def test_k_must_be_below_the_number_of_labels_that_count(k: int | torch.Tensor) -> None:
    scores, label = scores_as_queries([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0])
    with pytest.raises(UserError, match=r"^k .*expected above 0, below 4 labels$"):
        soft_top_k(scores, label, torch.tensor([[0], [1]]), k=k)


@pytest.mark.parametrize("temperature", [0.01, 0.001])
def test_soft_top_k_of_labels_that_lie_far_apart(temperature: float) -> None:
    """In float32 no sigmoid near the threshold has a digit left: its place is known from logarithms alone."""
    draw = generator(0)
    query, label = unit(draw, 32), unit(draw, 200)
    positive = torch.randint(200, (32, 3), generator=draw)
    for k in (1, 2, 5):
        found = []
        for dtype in (torch.float32, torch.float64):
            inputs = [x.to(dtype).requires_grad_() for x in (query, label)]
            value = soft_top_k(*inputs, positive, k=k, temperature=temperature)
            found.append((value.double(), [g.double() for g in torch.autograd.grad(value, inputs)]))
        (value, gradients), (exact, exact_gradients) = found
        torch.testing.assert_close(value, exact, rtol=1e-5, atol=1e-5)
        for ours, theirs in zip(gradients, exact_gradients, strict=True):
            assert (ours - theirs).norm() < 1e-3 * theirs.norm()


def test_soft_top_k_in_the_limit_is_the_distance_from_the_middle_of_the_gap() -> None:
    """h = -(s_k + s_k+1) / 2, so that a positive at s costs softplus(-alpha (s + h)), and both sides pull by half."""
    scores = torch.tensor([[900.0, 500.0, -300.0, -700.0]], requires_grad=True)
    value = soft_top_k(scores, torch.eye(4), torch.tensor([[2]]), k=2, alpha=2.0)
    assert value.item() == pytest.approx(2 * (300 + 100))
    assert torch.autograd.grad(value, scores)[0].tolist() == [[0.0, 1.0, -1.0, 0.0]]
