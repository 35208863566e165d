"""Latent classes: the loss and the bounds against plain loops, and bounds that a wrong number breaks."""

import itertools
import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from common.batches import LabelledVectors
from common.errors import UserError
from common.evaluation.class_tasks import contrastive_bound
from data.benchmarks.mini.newsgroups_tasks import NewsgroupsTasks
from papers.theory.curl_theory import module as curl
from papers.theory.curl_theory import properties
from papers.theory.curl_theory.module import CURL
from papers.theory.curl_theory.properties import FORMS, LIPSCHITZ, World, drawn, on_a_line, one_point_each, trained

SIMILAR, GROUPS = 4, 5


def penalty(v: float, form: str) -> float:
    return math.log2(1 + math.exp(-v)) if form == "logistic" else max(0.0, 1 - v)


def several(gaps: list[float], form: str) -> float:
    if form == "logistic":
        return math.log2(1 + sum(math.exp(-v) for v in gaps))
    return max(0.0, *(1 - v for v in gaps))


def module(**arguments) -> CURL:
    torch.manual_seed(0)
    made = CURL(channels=7, width=8, dim=3, similar=SIMILAR, **arguments).double()
    made.log_loss = lambda loss: loss  # without a trainer there is no log
    return made


def batch() -> LabelledVectors:
    n = SIMILAR * GROUPS
    views = torch.randn(1, n, 7, generator=torch.Generator().manual_seed(1), dtype=torch.double)
    return LabelledVectors(3 * views, torch.full((n,), -1), torch.arange(n))


def mean(rows: list[Tensor]) -> Tensor:
    return sum(rows) / len(rows)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("block", "apart", "negatives"), [(3, False, 1), (1, False, 1), (3, True, 1), (2, False, 3), (1, False, 4)]
)
def test_the_loss_is_that_of_a_loop(block: int, apart: bool, negatives: int, form: str) -> None:
    method, data = module(block=block, apart=apart, negatives=negatives, form=form), batch()
    rows = method.network(data.views[0]).detach()
    losses = []
    for group, place in itertools.product(range(GROUPS), range(SIMILAR)):
        places = [(place + step) % SIMILAR for step in range(1, block + 1)]
        for parts in [[p] for p in places] if apart else [places]:

            def of(number: int, parts: list[int] = parts) -> Tensor:
                return mean([rows[number % GROUPS * SIMILAR + part] for part in parts])

            anchor = rows[group * SIMILAR + place]
            gaps = [float(anchor @ (of(group) - of(group + k))) for k in range(1, negatives + 1)]
            losses.append(several(gaps, form))
    found = float(method.training_step(data, 0).detach())
    assert found == pytest.approx(sum(losses) / len(losses), rel=1e-12)


def test_the_loss_does_not_know_the_classes() -> None:
    method, data = module(block=2), batch()
    named = data._replace(labels=torch.arange(len(data.labels)) % 3)
    assert torch.equal(method.training_step(data, 0), method.training_step(named, 0))


def by_loops(world: World, size: int, form: str) -> float:
    """The loss of blocks over all classes, anchors and ordered draws of both blocks."""
    points, rho, of = range(len(world.features)), world.shares.tolist(), world.of_class.tolist()
    draws = list(itertools.product(points, repeat=size))
    means = {block: mean([world.features[x] for x in block]) for block in draws}
    chance = [{block: math.prod(p[x] for x in block) for block in draws} for p in of]
    total = 0.0
    for c, e in itertools.product(range(len(rho)), repeat=2):
        for x, near, far in itertools.product(points, draws, draws):
            weight = rho[c] * rho[e] * of[c][x] * chance[c][near] * chance[e][far]
            total += weight * penalty(float(world.features[x] @ (means[near] - means[far])), form)
    return total


def supervised_by_loops(world: World, form: str) -> float:
    rho, of = world.shares.tolist(), world.of_class.tolist()
    means = [sum(p * f for p, f in zip(row, world.features, strict=True)) for row in of]
    total, weight = 0.0, 0.0
    for c, e in itertools.permutations(range(len(rho)), 2):
        weight += rho[c] * rho[e]
        for x, f in enumerate(world.features):
            total += rho[c] * rho[e] * of[c][x] * penalty(float(f @ (means[c] - means[e])), form)
    return total / weight


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [1, 2])
def test_enumerated_losses_are_those_of_loops(size: int, form: str) -> None:
    world = drawn(3, classes=3, points=3)
    assert float(world.block_loss(size, form)) == pytest.approx(by_loops(world, size, form), rel=1e-12)
    assert world.supervised(form) == pytest.approx(supervised_by_loops(world, form), rel=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_the_bound_of_rows_is_that_of_their_distribution(form: str) -> None:
    """Uneven classes whose rows are all there is of them: what the benchmark scores is what the properties check."""
    labels = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2])
    rows = torch.randn(9, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    member = (labels == torch.arange(3)[:, None]).double()
    world = World(member.sum(dim=1) / 9, member / member.sum(dim=1, keepdim=True), rows)
    found = contrastive_bound(rows, labels, form)
    assert found.contrastive == pytest.approx(float(world.block_loss(1, form)), rel=1e-12)
    assert found.supervised == pytest.approx(world.supervised(form), rel=1e-12)
    assert found.within == pytest.approx(world.within(form), rel=1e-12)
    assert found.collisions == pytest.approx(world.collisions, rel=1e-12)
    assert found.supervised <= found.ceiling and found.supervised <= found.apart
    parts = found.collisions * found.within + (1 - found.collisions) * found.apart
    assert found.contrastive == pytest.approx(parts, rel=1e-12)


CHECKS = {"chain": 1e-12, "collisions": 1e-12, "minimizer": 1e-12, "several": 1e-12}


@pytest.mark.parametrize("name", CHECKS)
def test_the_properties_hold(name: str) -> None:
    assert max(getattr(properties, name)(1).values()) < CHECKS[name]


def test_the_best_linear_classifier_has_no_more_loss() -> None:
    assert properties.best_linear(1) == 0.0


@pytest.mark.parametrize("form", FORMS)
def test_another_share_of_collisions_breaks_the_chain(form: str) -> None:
    world = trained(0, 1, form)
    assert max(properties.chain_of(world, world.collisions, form).values()) < 1e-12
    for factor in (0.95, 1.05):
        assert max(properties.chain_of(world, factor * world.collisions, form).values()) > 1e-4


def test_nats_break_the_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    """The logistic loss is 1 at 0 in base 2; in base e it is not, and tau is no longer what a collision costs."""
    world = trained(0, 1)
    monkeypatch.setattr(properties, "margin_loss", lambda v, form: torch.nn.functional.softplus(-v))
    assert max(properties.chain_of(world, world.collisions).values()) > 0.01


@pytest.mark.parametrize("form", FORMS)
def test_two_thirds_of_the_constant_break_the_bound_on_collisions(form: str) -> None:
    world = on_a_line(0)
    assert max(properties.collisions_of(world, LIPSCHITZ[form], form).values()) < 1e-12
    assert properties.collisions_of(world, LIPSCHITZ[form] / 1.5, form)["within"] > 0.1


@pytest.mark.parametrize("form", FORMS)
def test_dearer_collisions_break_the_bound_of_several_negatives(form: str) -> None:
    world = one_point_each(0)
    assert max(properties.several_of(world, 1, form).values()) < 1e-12
    assert properties.several_of(world, 1, form, at_collision=1.05)["above"] > 1e-3
    # With more of them duplicates give the logistic loss some slack; features of 0 leave the hinge none.
    flat = replace(world, features=torch.zeros_like(world.features))
    assert properties.several_of(flat, 3, "hinge", at_collision=1.05)["above"] > 1e-3


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UserError, match=r"model.block is 6; it must be from 1 to 5, one less than model.similar"):
        CURL(block=6)
    with pytest.raises(UserError, match=r"model.block is 0"):
        CURL(block=0)


def test_groups_stay_whole_on_several_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slice of 32 of 96 posts would end in the middle of a group of six."""
    method = CURL(similar=6)
    method._trainer = SimpleNamespace(datamodule=NewsgroupsTasks(batch_size=96))
    monkeypatch.setattr(curl, "world_size", lambda: 3)
    with pytest.raises(UserError, match=r"data\.batch_size is 96; each of 3 processes must have a multiple of 6"):
        method.setup("fit")
