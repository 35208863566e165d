"""CWM: the loss of a loop, the released step, and properties that a wrong constant breaks."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from common.errors import UserError
from papers.sentence.cwm_analogies import properties
from papers.sentence.cwm_analogies.module import CWM
from tests.papers.theory.breaking import wrong

U, V = torch.tensor([0, 3, 5, 1]), torch.tensor([2, 4, 0, 1])
NOISE = torch.tensor([[1, 2], [4, 0], [3, 3], [0, 2]])


def module(**arguments) -> CWM:
    torch.manual_seed(1)
    return CWM(words=6, dim=4, **arguments).double()


@pytest.mark.parametrize("tables", [1, 2])
@pytest.mark.parametrize("weights", [(0.15, 1.0, 1.0), (0.6, 1.4, 0.3)])
def test_the_loss_is_that_of_a_loop(tables: int, weights: tuple[float, float, float]) -> None:
    margin, positive, negative = weights
    method = module(tables=tables, margin=margin, positive_weight=positive, negative_weight=negative)
    rows, contexts = (table.weight.detach() for table in (method.vectors, method.contexts or method.vectors))

    def cos(u: int, v: int) -> float:
        return float(rows[u] @ contexts[v] / rows[u].norm() / contexts[v].norm())

    expected = [
        sum(max(0.0, margin - positive * cos(u, v) + negative * cos(u, n)) for n in noise if n != v)
        for u, v, noise in zip(U.tolist(), V.tolist(), NOISE.tolist(), strict=True)
    ]
    assert method.contrast(U, V, NOISE).tolist() == pytest.approx(expected, abs=1e-10) and max(expected) > 0


def test_vectors_begin_on_the_sphere_and_grow() -> None:
    method = module(margin=3.0)
    assert method.vectors.weight.norm(dim=1).tolist() == pytest.approx([1.0] * 6, abs=1e-6)
    loss = method.contrast(U, V, NOISE).sum()
    (gradient,) = torch.autograd.grad(loss, method.vectors.weight)
    after = method.vectors.weight - 0.1 * gradient
    assert (after.norm(dim=1) >= method.vectors.weight.norm(dim=1)).all()


def test_weights_below_zero_are_refused() -> None:
    for name in ("positive_weight", "negative_weight"):
        with pytest.raises(UserError, match=f"model.{name} -1.0: expected"):
            module(**{name: -1.0})


def test_gradients_are_at_right_angles_to_their_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    assert max(properties.orthogonality(0).values()) < 1e-12

    def dot(self: CWM, neighbour: Tensor, centre: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        u, v = self.vectors(neighbour), self.vectors(torch.cat([centre[:, None], noise], dim=1))
        found = (F.normalize(u, dim=1)[:, None] * v).sum(dim=2)
        return found[:, 0], found[:, 1:]

    monkeypatch.setattr(CWM, "products", dot)
    assert max(properties.orthogonality(0).values()) > 0.1


def test_the_slope_is_that_of_the_closed_form(monkeypatch: pytest.MonkeyPatch) -> None:
    assert max(properties.gradient(0).values()) < 1e-12
    monkeypatch.setattr(properties, "company", wrong(properties.company, lambda rows: rows + 0.01 * rows[0]))
    assert min(properties.gradient(0).values()) > 1e-6


def test_noise_that_is_the_centre_counts_in_where_training_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    found = properties.stationarity(0)
    assert max(found.values()) < 1e-6, found

    def unskipped(rows: Tensor, counts: Tensor, shares: Tensor, positive: float, negative: float) -> Tensor:
        weight = positive * counts - negative * counts.sum(dim=1, keepdim=True) * shares
        return (weight + weight.T).fill_diagonal_(0) @ F.normalize(rows, dim=1)

    monkeypatch.setattr(properties, "company", unskipped)
    assert properties.stationarity(0)["direction, weights 0.8 and 1.2"] > 1e-5
