"""Hard contrast: the loss against a loop, in a batch, against a bank, on processes; properties that can break."""

import math
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from common.batches import Images
from common.distributed import rank, world_size
from common.errors import UserError
from common.losses import nt_xent
from common.scores import Scores
from papers.theory.contrastive_behaviour import properties
from papers.theory.contrastive_behaviour.bank import HardInsDis
from papers.theory.contrastive_behaviour.losses import random_order
from papers.theory.contrastive_behaviour.module import HardSimCLR
from tests.processes import on_processes

IDS = torch.tensor([7, 2, 30, 11, 5, 19])


def module(**arguments) -> HardSimCLR:
    torch.manual_seed(0)
    made = HardSimCLR(width=8, projection_dim=6, **arguments).double()
    made._trainer = SimpleNamespace(global_step=3, estimated_stepping_batches=10)
    made.log_loss = lambda loss: loss  # without a trainer there is no log
    return made


def views(n: int = 6) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(4)
    centre, *noise = torch.randn(3, n, 6, generator=draw, dtype=torch.double)
    one, other = (F.normalize(centre + part, dim=1).requires_grad_() for part in noise)
    return one, other


def loop(rows: Tensor, kept: int, tau: float, simple: bool) -> Tensor:
    """The loss of each of 2n views, one after the other; which negatives count is a constant."""
    n, total = len(rows) // 2, torch.zeros((), dtype=rows.dtype)
    for i, row in enumerate(rows):
        positive = row @ rows[(i + n) % (2 * n)]
        negatives = sorted(
            (row @ other for j, other in enumerate(rows) if j % n != i % n), key=lambda s: float(s.detach())
        )[-kept:]
        if simple:
            loss = sum(negatives) / len(negatives) - positive
        else:
            loss = -torch.log(
                (positive / tau).exp() / ((positive / tau).exp() + sum((s / tau).exp() for s in negatives))
            )
        total = total + loss / (2 * n)
    return total


@pytest.mark.parametrize("form", ["softmax", "simple"])
@pytest.mark.parametrize(("kept", "number"), [(0.3, 3), (0.08, 1), (0.999, 10), (1.0, 10)])
@pytest.mark.parametrize("temperature", [1.0, 0.05])
def test_the_loss_is_that_of_a_loop(kept: float, number: int, temperature: float, form: str) -> None:
    one, other = views()
    found = module(temperature=temperature, form=form).contrast(one, other, IDS, kept)
    expected = loop(torch.cat([one, other]), number, temperature, form == "simple")
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-10)
    for ours, plain in zip(*(torch.autograd.grad(x, [one, other]) for x in (found, expected)), strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-9, atol=1e-12)


def test_with_all_negatives_it_is_simclr() -> None:
    one, other = views()
    found = module(temperature=0.3).contrast(one, other, IDS, 1.0)
    torch.testing.assert_close(found, nt_xent(one, other, temperature=0.3), rtol=1e-12, atol=0)


def test_a_random_choice_is_one_of_as_many_negatives() -> None:
    """By the gradient of one anchor's loss in the others' vectors: three have one, never of its own sample."""
    one, other = views()
    method, met = module(choice="random"), []
    for step in range(60):
        method._trainer.global_step = step
        order = random_order(IDS, 2, *method.key("negatives")).exclude(torch.eye(6, dtype=torch.bool).repeat(2, 2))
        columns = order.topk(3)[1]
        assert not (columns % 6 == torch.arange(12)[:, None] % 6).any()
        met.append(torch.zeros(12, 12).scatter(1, columns, 1.0))
    counts = torch.stack(met).sum(dim=0)
    assert counts.sum(dim=1).unique().tolist() == [180.0]
    others = ~torch.eye(6, dtype=torch.bool).repeat(2, 2)
    # Each of ten negatives 18 times of 60, within four deviations of a binomial count.
    assert float((counts[others] - 18).abs().max()) < 4 * math.sqrt(60 * 0.3 * 0.7)
    # Anchors do not all choose alike.
    assert float(torch.stack(met)[0].std(dim=0).max()) > 0
    nearest = module().contrast(one, other, IDS, 0.3)
    assert float(method.contrast(one, other, IDS, 0.3).detach()) < float(nearest.detach())


def contrasted(own: bool, choice: str) -> list[Tensor]:
    share = slice(6 * rank() // world_size(), 6 * (rank() + 1) // world_size()) if own else slice(None)
    one, other = (view.detach()[share].requires_grad_() for view in views())
    loss = module(choice=choice).contrast(one, other, IDS[share], 0.3)
    return [loss.detach(), *torch.autograd.grad(loss / world_size(), [one, other])]


@pytest.mark.parametrize("world", [2, 4])
@pytest.mark.parametrize("choice", ["nearest", "random"])
def test_processes_share_negatives_and_choices(world: int, choice: str) -> None:
    alone = contrasted(own=False, choice=choice)
    shares = on_processes(world, lambda: contrasted(own=True, choice=choice))
    for share in shares:
        torch.testing.assert_close(share[0], alone[0], rtol=1e-12, atol=1e-12)
    for place in (1, 2):
        torch.testing.assert_close(torch.cat([share[place] for share in shares]), alone[place], rtol=1e-9, atol=1e-12)


def test_a_step_compares_projections_and_the_probe_reads_below_them() -> None:
    method = module(kept=0.5, begin=0.3).float().eval()
    pixels = torch.randint(0, 256, (5, 1, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    projected = method.project_image(pixels)
    assert projected.shape == (5, 6) and method.embed_image(pixels).shape == (5, 32)
    torch.testing.assert_close(projected.norm(dim=1), torch.ones(5))
    batch = Images(torch.stack([pixels, pixels.flip(3)]).float() / 255, torch.zeros(5), IDS[:5])
    for step, kept in ((0, 1.0), (2, 1.0), (3, 0.5), (9, 0.5)):
        method._trainer.global_step = step
        expected = method.contrast(projected, method.project_image(pixels.flip(3)), IDS[:5], kept)
        torch.testing.assert_close(method.training_step(batch, 0), expected)


def test_what_is_out_of_range_is_refused() -> None:
    for kept in (0.0, 1.5):
        for kind in (HardSimCLR, HardInsDis):
            with pytest.raises(UserError, match=rf"model.kept {kept}: expected"):
                kind(kept=kept)
    with pytest.raises(UserError, match=r"model.begin 1.1: expected"):
        HardSimCLR(begin=1.1)
    one, other = views(1)
    with pytest.raises(UserError, match=r"data.batch_size is 1; it must be at least 2"):
        module().contrast(one, other, IDS[:1], 0.5)


# --- against a bank ---------------------------------------------------------------------------------------------------


def with_bank(**arguments) -> HardInsDis:
    torch.manual_seed(0)
    made = HardInsDis(width=8, projection_dim=6, bank_momentum=0.25, **arguments).double()
    rows = F.normalize(torch.randn(6, 6, generator=torch.Generator().manual_seed(8), dtype=torch.double), dim=1)
    made.bank.start = lambda ids: rows
    made.bank.cover(IDS)
    return made


@pytest.mark.parametrize(("kept", "number"), [(0.4, 2), (1.0, 5)])
@pytest.mark.parametrize("form", ["softmax", "simple"])
def test_the_bank_has_the_negatives(kept: float, number: int, form: str) -> None:
    method = with_bank(kept=kept, form=form, temperature=0.2)
    bank, ids = method.bank.rows, torch.tensor([30, 7])
    rows = torch.cat(views(2)).detach().requires_grad_()
    expected = torch.zeros((), dtype=torch.double)
    for row, own in zip(rows, [5, 2, 5, 2], strict=True):  # places by sorted id: 2, 5, 7, 11, 19, 30
        scores = bank @ row
        others = [place for place in range(len(bank)) if place != own]
        nearest = scores[others].sort().values[-number:]
        if form == "simple":
            expected = expected + (nearest.mean() - scores[own]) / 4
        else:
            expected = expected + torch.log1p(((nearest - scores[own]) / 0.2).exp().sum()) / 4
    found = method.contrast(rows, ids)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)
    # After the bank has moved: the gradient is that of the rows that were met.
    ours, plain = (torch.autograd.grad(loss, rows)[0] for loss in (found, expected))
    torch.testing.assert_close(ours, plain, rtol=1e-9, atol=1e-12)
    rows = rows.detach()
    moved = F.normalize(0.25 * bank[[5, 2]] + 0.75 * rows.view(2, 2, 6).mean(dim=0), dim=1)
    torch.testing.assert_close(method.bank.rows[[5, 2]], moved)
    assert torch.equal(method.bank.rows[[0, 1, 3, 4]], bank[[0, 1, 3, 4]])


# --- properties, and what breaks them ---------------------------------------------------------------------------------

TOLERANCES = {"gradients": 1e-12, "hardness": 1e-10, "cold": 1e-12, "hot": 1e-13, "truncation": 1e-12}


@pytest.mark.parametrize("name", TOLERANCES)
@pytest.mark.parametrize("seed", [11, 12])
def test_the_property_holds(name: str, seed: int) -> None:
    assert max(getattr(properties, name)(seed).values()) <= TOLERANCES[name]


def of_loss(change: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`anchor_losses` with its arguments or its value changed."""
    right = properties.anchor_losses
    return lambda positive, scores, columns=None, **named: change(right, positive, scores, columns, **named)


@pytest.mark.parametrize(
    ("name", "change", "key"),
    [
        # The positive left out of the denominator.
        ("gradients", lambda f, p, s, c, **k: s.logsumexp(dim=1) - p, "positive"),
        ("gradients", lambda f, p, s, c, **k: 1.0001 * f(p, s, c, **k), "negatives"),
        # Shares that do not follow the temperature.
        ("hardness", lambda f, p, s, c, **k: s.sum(lambda x: 1e-3 * x) - p, "up to"),
        ("hardness", lambda f, p, s, c, **k: s.sum(lambda x: (1.1 * x).exp()).log() - p, "rise"),
        # A margin, or a mean over the negatives in place of their sum.
        ("cold", lambda f, p, s, c, **k: f(p - 100, s, c, **k), "above"),
        ("cold", lambda f, p, s, c, **k: f(p, s, c, **k) - 10, "below"),
        ("cold", lambda f, p, s, c, **k: s.sum(lambda x: x) / 200 - p, "other than the nearest"),
        ("hot", lambda f, p, s, c, **k: f(p, s, c, **k) + 1e-6, "loss"),
        ("hot", lambda f, p, s, c, **k: 1.01 * f(p, s, c, **k) if k["form"] == "simple" else f(p, s, c, **k), "simple"),
        ("hot", lambda f, p, s, c, **k: f(p, s, c, **k) + (0.01 * p if k["form"] == "simple" else 0), "positive"),
        # All negatives, where the nearest are asked for, or one too many.
        ("truncation", lambda f, p, s, c, **k: f(p, s, None, **k), "negatives"),
        ("truncation", lambda f, p, s, c, **k: f(p, s, c if c is None else s.topk(17)[1], **k), "loss"),
        ("truncation", lambda f, p, s, c, **k: f(p, s, c, **{**k, "form": "softmax"}), "simple"),
    ],
)
def test_another_loss_breaks_it(name: str, change: Callable, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(properties, "anchor_losses", of_loss(change))
    found = [value for deviation, value in getattr(properties, name)(11).items() if key in deviation]
    assert found and max(found) > 10 * TOLERANCES[name]


def test_a_truncated_positive_breaks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The positive among what is ranked: where it is far it would have no pull."""

    def ranked(right: Callable, positive: Tensor, scores: Scores, columns: Tensor | None, **named) -> Tensor:
        losses = right(positive, scores, columns, **named)
        near = positive >= scores.pairs(columns).amin(dim=1) if columns is not None else positive < torch.inf
        return losses.where(near, losses.detach())

    monkeypatch.setattr(properties, "anchor_losses", of_loss(ranked))
    assert properties.truncation(11)["positive, temperature 1.0"] > 1e-3
