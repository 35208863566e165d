"""MACL: its objective end to end, its temperature on several processes, and what each of its parts is alone."""

import math

import pytest
import torch
from torch import Tensor

from common.batches import Images
from common.errors import UserError
from common.losses import nt_xent
from papers.vision_ssl.macl.module import MACL
from papers.vision_ssl.macl.properties import SilentMACL, views
from tests.processes import on_processes


def batch(n: int = 4, share: slice = slice(None)) -> Images:
    pixels = torch.rand(2, n, 1, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.double)
    return Images(pixels[:, share], torch.arange(n)[share], torch.arange(n)[share])


def module(**arguments) -> SilentMACL:
    torch.manual_seed(0)
    return SilentMACL(width=4, projection_dim=6, **arguments).double()


def loop(rows: Tensor, start: float, alpha: float, threshold: float) -> float:
    """The objective as the paper writes it, for 2n views of which i and i + n are of one picture."""
    z, n = rows.tolist(), len(rows) // 2

    def cosine(i: int, j: int) -> float:
        return sum(a * b for a, b in zip(z[i], z[j], strict=True))

    alignment = sum(cosine(i, i + n) for i in range(n)) / n
    temperature = start * (1 + alpha * (alignment - threshold))
    total = 0.0
    for i in range(2 * n):
        other = (i + n) % (2 * n)
        candidates = [math.exp(cosine(i, j) / temperature) for j in range(2 * n) if j != i]
        p = math.exp(cosine(i, other) / temperature) / sum(candidates)
        total += -math.log(p) / (1 - p) / (2 * n)
    return total


@pytest.mark.parametrize(("start", "alpha", "threshold"), [(0.1, 0.5, 0.0), (0.5, 1.0, 0.6), (0.2, 0.0, 0.3)])
def test_the_objective_is_that_of_a_loop(start: float, alpha: float, threshold: float) -> None:
    method, data = module(temperature=start, alpha=alpha, threshold=threshold), batch()
    rows = method.network(data.views.flatten(0, 1)).detach()
    found = method.training_step(data, 0)
    assert float(found.detach()) == pytest.approx(loop(rows, start, alpha, threshold), rel=1e-9)


def test_the_temperature_follows_the_alignment_of_all_processes() -> None:
    def step(share: slice = slice(None)) -> tuple[Tensor, Tensor]:
        method = module()
        logged: dict[str, Tensor] = {}
        method.log_loss = lambda loss, **terms: logged.update(terms) or loss
        return method.training_step(batch(share=share), 0).detach(), logged["temperature"]

    loss, temperature = step()
    # The parts are of different alignment: one's own would be another temperature.
    assert abs(step(slice(0, 1))[1] - temperature) > 1e-6
    for found in on_processes(2, lambda: step(slice(0, 1) if torch.distributed.get_rank() == 0 else slice(1, 4))):
        torch.testing.assert_close(found, (loss, temperature))


def gradient(loss: Tensor, leaves: list[Tensor]) -> Tensor:
    return torch.cat(torch.autograd.grad(loss, leaves))


def test_without_its_parts_it_is_simclr() -> None:
    leaves = views(0)
    plain = SilentMACL(temperature=0.2, alpha=0.0, weights="none").contrast(*leaves)
    torch.testing.assert_close(plain, nt_xent(*leaves, temperature=0.2))


def test_one_weight_for_the_batch_pulls_as_much_and_prefers_no_anchor() -> None:
    leaves = views(0)
    simclr, batch_wise, anchor_wise = (
        gradient(SilentMACL(alpha=0.0, weights=weights).contrast(*leaves), leaves)
        for weights in ("none", "batch", "anchor")
    )
    factor = float(batch_wise.norm() / simclr.norm())
    torch.testing.assert_close(batch_wise, factor * simclr)
    assert factor > 1 and float((anchor_wise - batch_wise).norm() / anchor_wise.norm()) > 0.1
    # A positive pair is pulled by (1 - P) / t from either side: in sum over the batch as much as by MACL, 1 / t each.
    z, rows = torch.cat(leaves).detach(), torch.arange(24)
    log_p = (z @ z.T / 0.1).masked_fill(torch.eye(24, dtype=torch.bool), -torch.inf).log_softmax(dim=1)
    assert 1 / factor == pytest.approx(float((1 - log_p[rows, (rows + 12) % 24].exp()).mean()), rel=1e-9)


@pytest.mark.parametrize("weights", ["anchor", "batch"])
def test_it_stays_finite_where_1_minus_p_is_nothing(weights: str) -> None:
    rows = torch.eye(6).requires_grad_()
    loss = MACL.contrast(SilentMACL(temperature=0.002, alpha=0.0, weights=weights), rows, 1.0 * rows)
    (slope,) = torch.autograd.grad(loss, rows)
    assert bool(loss.isfinite()) and bool(slope.isfinite().all())
    assert float(loss.detach()) == pytest.approx(1.0 if weights == "anchor" else 0.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alpha": 1.5}, "model.alpha 1.5: expected"),
        ({"threshold": -2.0}, "model.threshold -2.0: expected"),
        ({"temperature": 0.0}, "above 0"),
        ({"weights": "views"}, "weights 'views': expected 'anchor' or 'batch'"),
    ],
)
def test_what_is_out_of_range_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        module(**arguments).contrast(*views(0))


def test_a_temperature_below_zero_is_refused() -> None:
    one = torch.eye(3, dtype=torch.double)
    with pytest.raises(UserError, match="temperature"):
        module(alpha=1.0, threshold=1.0).contrast(one, -one)
