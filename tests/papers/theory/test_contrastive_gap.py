"""The contrastive gap: the loss against a loop, sides that begin as one, a gap closed without a loss, properties."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from common.batches import Items
from common.distributed import rank, world_size
from common.errors import UserError
from common.evaluation.geometry import modality_gap
from common.random import normal
from harness.recipes.catalog import find
from harness.recipes.recipe import arm_config
from papers.theory.contrastive_gap import properties
from papers.theory.contrastive_gap.items import INPUTS, PairedItems
from papers.theory.contrastive_gap.module import ContrastiveGap, GapLoss
from tests.papers.theory.breaking import broken, wrong
from tests.processes import assert_steps_agree, on_processes

ALL = dict(contrast_weight=1.0, uniform_weight=1.0, align_weight=1.0, cross_weight=1.0)


def unit(*shape: int, seed: int = 1) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=draw, dtype=torch.double), dim=-1)


def loop(x: Tensor, y: Tensor, temperature: float, t: float, weights: tuple[float, ...]) -> float:
    """The four losses pair by pair."""
    n, (contrast, uniform, align, cross) = len(x), weights
    total = align * sum(float((x[i] - y[i]).square().sum()) for i in range(n)) / n

    def potential(pairs: list[tuple[Tensor, Tensor]]) -> float:
        return math.log(sum(math.exp(-t * float((a - b).square().sum())) for a, b in pairs) / len(pairs))

    for side in (x, y):
        total += uniform / 2 * potential([(side[i], side[j]) for i in range(n) for j in range(i)])
    total += cross * potential([(x[i], y[j]) for i in range(n) for j in range(n) if i != j])
    for one, other in ((x, y), (y, x)):
        for i in range(n):
            scores = [float(one[i] @ other[j]) / temperature for j in range(n)]
            total += (
                contrast
                * (math.log(sum(math.exp(s - max(scores)) for s in scores)) + max(scores) - scores[i])
                / (2 * n)
            )
    return total


@pytest.mark.parametrize(
    ("weights", "temperature", "t"),
    [((1, 0, 0, 0), 0.01, 2.0), ((1, 1, 1, 0), 0.01, 2.0), ((1, 1, 1, 1), 0.3, 2.0), ((0.2, 0.7, 0, 3), 0.1, 5.0)],
)
def test_the_loss_is_that_of_a_loop(weights: tuple[float, ...], temperature: float, t: float) -> None:
    x, y = unit(2, 7, 5)
    names = ("contrast_weight", "uniform_weight", "align_weight", "cross_weight")
    found = GapLoss(temperature=temperature, t=t, **dict(zip(names, weights, strict=True)))(x, y)
    assert float(found) == pytest.approx(loop(x, y, temperature, t, weights), rel=1e-11)


def items(**arguments) -> PairedItems:
    torch.manual_seed(0)
    made = PairedItems(**{"count": 40, "dim": 12, "width": 16} | arguments).double()
    made.log_loss = lambda loss: loss  # without a trainer there is no log
    return made


def sides(method: PairedItems) -> list[Tensor]:
    with torch.no_grad():
        return [method.embed_items(torch.arange(40), side) for side in (0, 1)]


@pytest.mark.parametrize("encoder", ["towers", "points"])
def test_processes_share_the_pairs(encoder: str) -> None:
    assert_steps_agree((0, 3, 7), lambda: items(encoder=encoder, **ALL), lambda rows: Items(torch.arange(7)[rows]))


def test_sides_begin_without_a_gap() -> None:
    begun = items()
    raw = [tower(normal(torch.arange(40), INPUTS, 34).double()) for tower in begun.towers]
    untouched = float(modality_gap(*raw))
    assert untouched > 0.3 and modality_gap(*sides(begun)) < untouched / 5
    torch.testing.assert_close(begun.turn @ begun.turn.T, torch.eye(12, dtype=torch.double), atol=1e-5, rtol=0)
    # What the turn is compared with moves away, and so does the gap.
    found = [float(modality_gap(*sides(items(gap=gap)))) for gap in (0.0, 0.5, 1.0)]
    assert found[0] < found[1] < found[2] and found[2] > 0.6 * untouched


def test_points_begin_in_one_cone() -> None:
    x, y = sides(items(encoder="points", offset=3.0))
    assert float((x @ x.T).mean()) > 0.7 and float((x @ y.T).mean()) > 0.7
    parted = sides(items(encoder="points", offset=3.0, gap=3.0))
    assert modality_gap(*parted) > 3 * modality_gap(x, y)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"encoder": "tower"}, "model.encoder is 'tower'; it must be 'towers' or 'points'"),
        ({"gap": -1.0}, "model.gap -1.0: expected"),
        ({"cross_weight": -1.0}, "model.cross_weight -1.0: expected"),
        ({"t": 0.0}, "model.t 0.0: expected"),
        ({"contrast_weight": 0.0, "uniform_weight": 0.0, "align_weight": 0.0}, "are all 0"),
    ],
)
def test_what_is_out_of_range_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        items(**arguments)


# --- pictures and texts -----------------------------------------------------------------------------------------------


def pictures(**arguments) -> ContrastiveGap:
    torch.manual_seed(0)
    towers = dict(image_encoder="small_convnet", text_encoder="bag_of_words", width=4, embed_dim=6)
    return ContrastiveGap(**towers | arguments)


def test_the_temperature_is_not_learnt() -> None:
    method = pictures(temperature=0.05)
    x, y = unit(2, 5, 6)
    loss = method.contrast(x.requires_grad_(), y)
    loss.backward()
    assert method.temperature.log_temperature.grad is None and not method.temperature.log_temperature.requires_grad
    assert float(loss.detach()) == pytest.approx(loop(x.detach(), y, 0.05, 2.0, (1, 1, 1, 0)), rel=1e-6)


def test_a_gap_is_closed_without_a_loss() -> None:
    plain, shifted = (
        pictures(uniform_weight=0.0, align_weight=0.0),
        pictures(shifted=True, uniform_weight=0.0, align_weight=0.0),
    )
    torch.testing.assert_close(shifted.state_dict() | {"offset": plain.offset}, plain.state_dict())
    x, y = (F.normalize(side.float() + shift, dim=1) for side, shift in zip(unit(2, 50, 6), (0.7, -0.7), strict=True))
    assert float(shifted.contrast(x, y)) == float(plain.contrast(x, y))
    torch.testing.assert_close(shifted.offset, x.mean(0) - y.mean(0))
    assert not plain.offset.any()
    moved = shifted._moved(x, -0.5), shifted._moved(y, 0.5)
    assert modality_gap(*moved) < modality_gap(x, y) / 4
    shifted.eval().contrast(y, x)
    torch.testing.assert_close(shifted.offset, x.mean(0) - y.mean(0))  # it is followed in training alone


def test_the_offset_follows_embeddings_of_low_precision() -> None:
    shifted = pictures(shifted=True, uniform_weight=0.0, align_weight=0.0)
    x, y = unit(2, 500, 6).bfloat16()
    shifted.contrast(x, y)
    assert shifted.offset.dtype == torch.float32
    torch.testing.assert_close(shifted.offset, (x.float() - y.float()).mean(0), atol=3e-4, rtol=0)


def offset_of_shares(own: bool) -> Tensor:
    share = slice(6 * rank() // world_size(), 6 * (rank() + 1) // world_size()) if own else slice(None)
    method = pictures(shifted=True)
    method.contrast(*(side[share].float() for side in unit(2, 6, 6)))
    return method.offset


def test_processes_follow_one_offset() -> None:
    for found in on_processes(2, lambda: offset_of_shares(own=True)):
        torch.testing.assert_close(found, offset_of_shares(own=False))


# --- properties, and what breaks them ---------------------------------------------------------------------------------

TOLERANCE = 1e-11


@pytest.mark.parametrize("name", ["temperature", "terms", "closing"])
def test_the_property_holds(name: str) -> None:
    assert max(getattr(properties, name)(11).values()) <= TOLERANCE


@pytest.mark.parametrize(
    ("name", "constant", "change", "key"),
    [
        ("temperature", "opened", lambda both: (both[0], both[0]), "as hot"),
        ("temperature", "opened", lambda both: (both[0], both[1].roll(1, 0)), "above the bound"),
        ("temperature", "symmetric_info_nce", lambda value: -value, "lower"),
        ("terms", "alignment", lambda value: 1.001 * value + 1e-3, "alignment"),
        ("terms", "cross_uniformity", lambda value: 1.001 * value, "cross"),
        ("closing", "added", lambda both: (-both[0], both[1] + 2 * both[0]), "alignment and uniformity"),
        ("closing", "added", lambda both: (-both[0], both[1] + 2 * both[0]), "cross-uniformity"),
    ],
)
def test_a_wrong_constant_breaks_it(
    name: str, constant: str, change: Callable, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(properties, constant, wrong(getattr(properties, constant), change))
    assert broken(properties, name, key, seed=11, tolerance=TOLERANCE)


def test_a_wrong_angle_breaks_the_terms(monkeypatch: pytest.MonkeyPatch) -> None:
    right = properties.opened
    monkeypatch.setattr(properties, "opened", lambda one, other, angle: right(one, other, 1.01 * angle))
    for name, keys in (("terms", ("alignment", "uniformity", "cross")), ("temperature", ("as hot",))):
        assert all(broken(properties, name, key, seed=11, tolerance=TOLERANCE) for key in keys)


def test_vectors_of_one_kind_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    right = properties.sides
    monkeypatch.setattr(properties, "sides", lambda seed, cone=0.0, noise=0.5: right(seed, 0.0, noise))
    with pytest.raises(ArithmeticError, match="in a cone: what L_CUAXU adds changes by"):
        properties.closing(0)


def test_controls_are_trained_as_the_contrastive_loss_is() -> None:
    """What else parts them from it would be taken for what is added."""
    card = find("contrastive_gap")
    for name, arms in {
        "captions": ("align", "uniform", "shifted"),
        "same_inputs": ("align", "uniform", "start"),
    }.items():
        configs = [arm_config(card, card.experiment(name), arm)["model"]["init_args"] for arm in ("clip", *arms)]
        assert len({tuple((key, config[key]) for key in ("temperature", "lr")) for config in configs}) == 1
