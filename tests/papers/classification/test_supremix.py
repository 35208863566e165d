"""SupReMix: the loss as loops, what is mixed with what, what the released code adds; the same on several processes."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from common.batches import Images
from common.errors import UserError
from common.losses import sup_con
from papers.classification.supcon.module import SupCon
from papers.classification.supremix import properties
from papers.classification.supremix.mixtures import Mixtures, mixed_sup_con
from papers.classification.supremix.module import SupReMix
from tests.oracles.supremix import supremix as oracle
from tests.processes import assert_steps_agree

LABELS = torch.tensor([4, 9, 5, 7, 7, 0, 6, 5])
MIXES = ["both", "negatives", "positives", "none"]


def batch(own: slice = slice(None), views: int = 2) -> Images:
    pixels = torch.rand(views, 8, 1, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.double)
    return Images(pixels[:, own], LABELS[own], torch.arange(8)[own] * 3)


def module(**arguments) -> SupReMix:
    torch.manual_seed(0)
    made = SupReMix(**{"width": 8, "projection_dim": 5, "window": 3.0, **arguments})
    made.log_loss = lambda loss: loss  # without a trainer there is no log
    return made.double().train()


def drawn(labels: list[int], dim: int = 4, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    draw, n = torch.Generator().manual_seed(seed), len(labels)
    z = F.normalize(torch.randn(n, dim, generator=draw, dtype=torch.double), dim=1)
    return z.requires_grad_(), torch.tensor(labels), torch.rand(n, n, generator=draw, dtype=torch.double)


@pytest.mark.parametrize("weight", ["none", "linear", "square"])
@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize(
    ("labels", "dim", "temperature"),
    [
        ([4, 9, 5, 7, 7, 0, 6, 4, 9, 5], 4, 0.3),
        ([4, 5, 6, 4, 5, 6, 5], 1, 0.02),
        ([2, 2, 2], 3, 0.1),
        ([3, 1, 8], 2, 0.1),
        ([5], 2, 0.1),
    ],
    ids=["ties", "cold", "one_label", "no_pair", "one_row"],
)
def test_value_and_gradient_are_those_of_loops(
    labels: list[int], dim: int, temperature: float, mix: str, weight: str
) -> None:
    z, y, shares = drawn(labels, dim)
    own, given, told = slice(None), {}, {}
    if mix in ("both", "negatives"):
        given["negatives"], told["shares"] = Mixtures.negatives(y, own, shares), shares
    if mix in ("both", "positives"):
        given["positives"], told["window"] = Mixtures.positives(y, own, 3.0), 3.0
    found = mixed_sup_con(z, y, temperature=temperature, weight=weight, **given)
    expected = oracle(z, y, temperature=temperature, weight=weight, **told)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(*(torch.autograd.grad(v, z)[0] for v in (found, expected)), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("mix", MIXES)
def test_the_step_is_that_of_loops(mix: str) -> None:
    method, data = module(mix=mix, temperature=0.3), batch()
    z, labels = method.network(data.views.flatten(0, 1)), LABELS.repeat(2)
    negatives, positives = method.mixtures(labels, data.ids)
    assert (negatives is None) == (mix in ("positives", "none")) and (positives is None) == (
        mix in ("negatives", "none")
    )
    shares, window = None if negatives is None else negatives.share, None if positives is None else 3.0
    expected = oracle(z, labels, temperature=0.3, shares=shares, window=window)
    torch.testing.assert_close(method.training_step(data, 0), expected, rtol=1e-9, atol=0)


def test_without_mixtures_and_weights_it_is_supcon() -> None:
    torch.manual_seed(0)
    supcon = SupCon(width=8, projection_dim=5, temperature=0.3).double()
    supcon.log_loss = lambda loss: loss
    ours = module(mix="none", weight="none", temperature=0.3)
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in supcon.named_parameters()]
    torch.testing.assert_close(ours.training_step(batch(), 0), supcon.training_step(batch(), 0), rtol=1e-12, atol=0)


def test_positives_lie_on_either_side_within_the_window() -> None:
    labels = LABELS.repeat(2)
    found = Mixtures.positives(labels, slice(None), 3.0)
    pairs = {
        (i, int(j), int(k))
        for i in range(16)
        for j, k in zip(found.first[i][found.there[i]], found.second[i][found.there[i]], strict=True)
    }
    expected = {
        (i, j, k)
        for i in range(16)
        for j in range(16)
        for k in range(16)
        if labels[j] < labels[i] < labels[k] and labels[i] - labels[j] < 3 and labels[k] - labels[i] < 3
    }
    assert pairs == expected and len(pairs) == int(found.there.sum())
    mixed = found.of(labels.double().expand(16, 16))
    assert (mixed - labels[:, None])[found.there].abs().max() < 1e-12
    ends = (labels == 0) | (labels == 9)
    assert not found.there[ends].any() and found.there[~ends].any(dim=1).sum() == 10, "none is below 4 within 3"


def test_an_anchor_has_a_fifth_of_its_negatives_and_another_share_of_each() -> None:
    method, labels, ids = module(), torch.arange(200).repeat(2), torch.arange(200) * 7
    found = method.mixtures(labels, ids)[0]
    assert torch.equal(found.there, labels[:, None] != labels)
    assert torch.equal(found.first, torch.arange(400)[:, None].expand(400, 400))
    share = found.share
    assert float(share.mean()) == pytest.approx(0.2, abs=0.002)
    assert float(share.var()) == pytest.approx(2 * 8 / (10**2 * 11), rel=0.02)
    assert all(len(row.unique()) > 350 for row in share[:5]) and all(len(row.unique()) > 350 for row in share.T[:5])
    table = torch.stack([share[:200].flatten(), share[200:].flatten(), share.T[:200].flatten()])
    assert (torch.corrcoef(table) - torch.eye(3)).abs().max() < 0.15, "neither views nor both sides share theirs"
    assert torch.equal(share, method.mixtures(labels, ids)[0].share)


def test_the_released_loss_lifts_mixtures_to_the_anchor_itself() -> None:
    z, y, shares = drawn([4, 4, 9, 9, 5, 5, 7, 7])  # as many mixtures of each, so that nothing fills the table
    given = {"temperature": 0.1, "negatives": Mixtures.negatives(y, slice(None), shares), "weight": "none"}
    plain, released = (mixed_sup_con(z, y, released=kind, **given) for kind in (False, True))
    assert released > plain, "which makes them the harder"
    # Without a mixture in the batch there is nothing to lift.
    same = torch.zeros_like(y)
    given["negatives"] = Mixtures.negatives(same, slice(None), shares)
    found = mixed_sup_con(z, same, released=True, **given)
    torch.testing.assert_close(found, sup_con(z, same, temperature=0.1))
    assert torch.autograd.grad(found, z)[0].isfinite().all()


@pytest.mark.parametrize("released", [False, True])
def test_low_temperatures_and_equal_rows_stay_finite_in_float32(released: bool) -> None:
    labels = LABELS.repeat(2)
    z = F.normalize(torch.randn(16, 5), dim=1)
    z = torch.cat([z[:8], z[:8]]).requires_grad_()
    given = {
        "negatives": Mixtures.negatives(labels, slice(None), torch.rand(16, 16)),
        "positives": Mixtures.positives(labels, slice(None), 3.0),
    }
    loss = mixed_sup_con(z, labels, temperature=0.005, released=released, **given)
    (gradient,) = torch.autograd.grad(loss, z)
    assert loss.isfinite() and gradient.isfinite().all()


@pytest.mark.parametrize("cuts", [(0, 5, 8), (0, 2, 3, 7, 8)], ids=["two", "four"])
@pytest.mark.parametrize("released", [False, True], ids=["plain", "released"])
def test_processes_agree_with_one(released: bool, cuts: tuple[int, ...]) -> None:
    given = {"released": released, "normalized_head": True, "normalized_output": True}
    if released:  # whose weights go by the order of rows
        given["weight"] = "none"
    assert_steps_agree(cuts, lambda: module(**given), batch)


def test_the_released_head_ends_in_a_normalization() -> None:
    method = module(normalized_head=True, normalized_output=True)
    assert sum(p.numel() for p in method.network.head.parameters()) == 32 * 32 + 2 * 32 + 32 * 5 + 2 * 5
    rows = method.network.head(torch.randn(64, 32, dtype=torch.double))
    torch.testing.assert_close(rows.mean(0), torch.zeros(5).double(), atol=1e-9, rtol=0)


@pytest.mark.parametrize("check", ["labels", "supcon", "gradient"])
def test_properties_hold(check: str) -> None:
    found = getattr(properties, check)(3)
    assert max(found.values() if isinstance(found, dict) else [found]) < 1e-12


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(UserError, match=r"model\.window 0: expected a finite number above 0"):
        module(window=0)
    with pytest.raises(UserError, match=r"model\.alpha -1\.0: expected a finite number above 0"):
        module(alpha=-1.0)
    with pytest.raises(UserError, match=r"model\.positives is 'in'; with mixtures it must be 'out'"):
        module(positives="in")
    z, y, _ = drawn([1, 2, 1])
    with pytest.raises(UserError, match=r"labels \(2,\): expected \(3,\)"):
        mixed_sup_con(z, y[:2], temperature=0.1)
