"""Metrix: the released steps, the step as loops, what is mixed with what, and the same on several processes."""

import pytest
import torch
from torch import Tensor, nn

import papers.classification.metrix.module as metrix
from common.batches import Images
from common.distributed import shards
from common.errors import UserError
from common.random import uniform
from papers.classification.metrix.mixed import mixed_contrastive, mixed_multi_similarity
from papers.classification.metrix.module import Metrix
from tests.golden.recorded import Case, load, summary
from tests.oracles.contrastive_margin import contrastive_margin
from tests.oracles.multi_similarity import multi_similarity
from tests.processes import assert_steps_agree

LABELS = torch.tensor([0, 1, 2, 0, 1, 3, 4, 0, 5, 1])
RELEASED = [case for case in load() if case.name.startswith("metrix/") and case.name != "metrix/clean"]


def batch(own: slice = slice(None)) -> Images:
    pixels = torch.rand(1, 10, 1, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.double)
    return Images(pixels[:, own], LABELS[own], torch.arange(10)[own] * 3)


def module(**arguments) -> Metrix:
    torch.manual_seed(0)
    made = Metrix(**{"width": 8, "embedding_dim": 6, "margin": 0.9, **arguments})
    made.log_loss = lambda loss, **terms: loss  # without a trainer there is no log
    return made.double().train()


def decide(monkeypatch: pytest.MonkeyPatch, share: float, of_anchors: bool) -> None:
    """Takes the place of the two draws of a step."""
    monkeypatch.setattr(metrix, "beta", lambda *arguments: torch.tensor([[share]], dtype=torch.double))
    monkeypatch.setattr(metrix, "uniform", lambda *arguments: torch.tensor([[0.9 if of_anchors else 0.1]]))


class Maps(nn.Module):
    """Stands for an encoder: the pixels are the feature maps."""

    def map(self, pixels: Tensor) -> Tensor:
        return pixels


@pytest.mark.parametrize("case", RELEASED, ids=lambda case: case.name)
def test_the_released_step_has_this_value_and_gradient(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    level, kind = case.name.removeprefix("metrix/").split("_")
    decide(monkeypatch, case.arguments["share"], kind == "ancneg")
    method = module(level=level, weight=case.arguments["weight"], margin=0.5)
    inputs = case.inputs()
    if level == "feature":
        method.encoder, method.head = Maps(), nn.Linear(8, 6, bias=False)
        del method.head.weight
        method.head.weight = inputs["weight"]
        value = method.training_step(Images(inputs["features"][None], LABELS, torch.arange(10)), 0)
    else:
        z = nn.functional.normalize(inputs["embedding"], dim=1)
        clean = metrix.contrastive_margin(z, LABELS, margin=0.5)
        value = clean + method.weight * method.mixed(z, z, z, LABELS)
    assert value.item() == pytest.approx(case.value, rel=1e-9)
    found = torch.autograd.grad(value, list(inputs.values()))
    for recorded, gradient in zip(case.gradients.values(), found, strict=True):
        for name, ours in summary(gradient).items():
            assert ours == pytest.approx(recorded[name], rel=1e-8, abs=1e-8 * recorded["norm"]), name


def mixed_by_loops(method: Metrix, share: float, of_anchors: bool) -> Tensor:
    """The mixed term of `batch`, one mixture after the other."""
    pixels, n = batch().views[0], len(LABELS)

    def embedded(x: Tensor, level: str) -> Tensor:
        x = method.encoder.map(x[None]) if level == "input" else x[None]
        return method.pooled(x)[0] if level != "embed" else x[0] / x[0].norm()

    clean = [embedded(pixel, "input") for pixel in pixels]
    parts = {"input": pixels, "feature": method.encoder.map(pixels), "embed": torch.stack(clean)}[method.level]
    found: dict[int, list[Tensor]] = {}
    for a in range(n):
        positives = [p for p in range(n) if p != a and LABELS[p] == LABELS[a]]
        negatives = [x for x in range(n) if LABELS[x] != LABELS[a]]
        if method.level == "input":
            negatives = [max(negatives, key=lambda x, a=a: (clean[a] @ clean[x]).item())]
        firsts = ([] if positives and method.lone else [a]) if of_anchors else positives
        if not of_anchors and method.level != "input":
            firsts = positives[:1] * len(positives)
        made = [share * parts[f] + (1 - share) * parts[x] for f in firsts for x in negatives]
        if made:
            found[a] = [embedded(v, method.level) for v in made]
    if method.loss == "contrastive":
        distances = [(clean[a] - v).norm() for a, made in found.items() for v in made]
        pushes = [method.margin - d for d in distances if d < method.margin]
        push = sum((1 - share) * x for x in pushes) / len(pushes) if pushes else 0.0
        return sum(share * d for d in distances) / len(distances) + push
    total = 0.0
    for a, made in found.items():
        made = made if of_anchors or method.level == "input" else made[: sum(LABELS[a] != LABELS)]
        far = sum(share * (-method.hardness["pull"] * (clean[a] @ v - method.margin)).exp() for v in made)
        near = sum((1 - share) * (method.hardness["push"] * (clean[a] @ v - method.margin)).exp() for v in made)
        total = total + (1 + far).log() / method.hardness["pull"] + (1 + near).log() / method.hardness["push"]
    return total / len(found)


@pytest.mark.parametrize("of_anchors", [False, True], ids=["positives", "anchors"])
@pytest.mark.parametrize("loss", ["contrastive", "multi_similarity"])
@pytest.mark.parametrize("level", ["input", "feature", "embed"])
def test_the_step_is_that_of_loops(level: str, loss: str, of_anchors: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    decide(monkeypatch, 0.3, of_anchors)
    for lone in (True, False):
        method = module(level=level, loss=loss, lone=lone)
        z = method.pooled(method.encoder.map(batch().views[0]))
        if loss == "contrastive":
            clean = contrastive_margin(z, LABELS, margin=0.9)
        else:
            clean = multi_similarity(z, LABELS, **method.hardness)
        expected = clean + 0.4 * mixed_by_loops(method, 0.3, of_anchors)
        torch.testing.assert_close(method.training_step(batch(), 0), expected, rtol=1e-9, atol=0)


def test_without_a_level_the_loss_is_the_clean_one() -> None:
    method = module(level="none")
    z = method.pooled(method.encoder.map(batch().views[0]))
    expected = contrastive_margin(z, LABELS, margin=0.9)
    torch.testing.assert_close(method.training_step(batch(), 0), expected, rtol=1e-10, atol=0)


def test_the_coin_falls_both_ways_and_what_is_lone_is_mixed_itself() -> None:
    method, z = module(), torch.eye(10, dtype=torch.double)
    seen = set()
    for step in range(20):
        method.key = lambda purpose, step=step: (step, len(purpose))
        pairs, times = method.pairs(LABELS, z, shards(10, z.device))
        of_anchors = bool((pairs.first == pairs.anchor).all())
        seen.add(of_anchors)
        assert (LABELS[pairs.second] != LABELS[pairs.anchor]).all()
        if of_anchors:
            assert set(pairs.anchor.tolist()) == {2, 5, 6, 8} and (times == 1).all()
        else:
            assert set(pairs.anchor.tolist()) == {0, 1, 3, 4, 7, 9} and (times == 2).all()
            assert (LABELS[pairs.first] == LABELS[pairs.anchor]).all()
    assert seen == {False, True}


@pytest.mark.parametrize("rounded", ["share", "label"])
def test_controls_round_the_share_or_the_label_alone(rounded: str, monkeypatch: pytest.MonkeyPatch) -> None:
    decide(monkeypatch, 0.3, True)
    found = {}
    monkeypatch.setattr(
        metrix, "mixed_contrastive", lambda anchors, mixed, y, **rest: found.update(mixed=mixed, y=y) or mixed.sum()
    )
    method = module(level="embed", rounded=rounded, lone=False)
    method.training_step(batch(), 0)
    z = method.pooled(method.encoder.map(batch().views[0]))
    assert (found["y"] == 0).all()
    unmixed = (found["mixed"][:, None] - z).norm(dim=2).min(dim=1).values < 1e-9
    assert unmixed.all() if rounded == "share" else not unmixed.any()


@pytest.mark.parametrize("loss", ["contrastive", "multi_similarity"])
def test_where_nothing_can_be_mixed_the_term_is_0(loss: str, monkeypatch: pytest.MonkeyPatch) -> None:
    decide(monkeypatch, 0.3, True)
    for level in ("input", "feature", "embed"):
        method, data = module(level=level, loss=loss), batch()._replace(labels=torch.arange(10) // 2)
        value = method.training_step(data, 0)
        value.backward()
        assert torch.equal(value, module(level="none", loss=loss).training_step(data, 0))
        assert all(p.grad.isfinite().all() for p in method.parameters())


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_ends_have_finite_gradients_in_float32(share: float) -> None:
    z = nn.functional.normalize(torch.randn(6, 5), dim=1).requires_grad_()
    y, owner = torch.full((6,), share), torch.tensor([0, 0, 1, 1, 1, 4])
    for value in (
        mixed_contrastive(z, z.flip(0).clone(), y, margin=0.5),
        mixed_contrastive(z, z.clone(), y, margin=0.5),
        mixed_multi_similarity(z, z.flip(0), y, owner, pull=2.0, push=200.0, base=-1.0),
    ):
        (gradient,) = torch.autograd.grad(value, z)
        assert value.isfinite() and gradient.isfinite().all()


def test_mixed_losses_of_half_precision_are_computed_in_float32() -> None:
    z = nn.functional.normalize(torch.randn(40, 8, generator=torch.Generator().manual_seed(0)), dim=1).bfloat16()
    anchors, mixed, share = z[:20], z[20:], torch.full((20,), 0.25, dtype=torch.bfloat16)
    times, owner = torch.full((20,), 300.0, dtype=torch.bfloat16), torch.arange(20) // 4
    for precision in (torch.bfloat16, torch.float32):
        one, other, y, weight = (x.to(precision) for x in (anchors, mixed, share, times))
        found = mixed_contrastive(one, other, y, margin=0.9, weight=weight)
        soft = mixed_multi_similarity(one, other, y, owner, pull=2.0, push=50.0, base=0.5)
        assert found.dtype == soft.dtype == torch.float32
        if precision == torch.bfloat16:
            half = found, soft
    torch.testing.assert_close((found, soft), half, rtol=1e-6, atol=0)


def test_embeddings_are_what_the_loss_compares() -> None:
    method, pixels = module().float(), torch.randint(256, (3, 1, 16, 16), dtype=torch.uint8)
    rows = method.embed_image(pixels)
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(rows, method.pooled(method.encoder.map(pixels / 255)))


def test_frozen_norms_do_not_follow_the_batch_and_their_weights_are_trained() -> None:
    method = module(encoder="deep_convnet_batch", frozen_norms=True)
    before = {name: value.clone() for name, value in method.state_dict().items()}
    method.training_step(batch(), 0).backward()
    method.train()
    assert all(not norm.training for norm in method.norms) and len(method.norms) == 5 and method.encoder.training
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())
    assert all(p.grad is not None and p.grad.any() for norm in method.norms for p in norm.parameters())
    assert all(part.training for part in module(encoder="deep_convnet_batch").modules())


@pytest.mark.parametrize("cuts", [(0, 5, 10), (0, 2, 3, 8, 10)], ids=["two", "four"])
@pytest.mark.parametrize("level", ["input", "feature", "embed"])
@pytest.mark.parametrize("loss", ["contrastive", "multi_similarity"])
def test_processes_agree_with_one(loss: str, level: str, cuts: tuple[int, ...]) -> None:
    def make() -> Metrix:
        method = module(level=level, loss=loss)
        method.key = lambda purpose: (4, len(purpose))  # a step that mixes positives
        return method

    assert uniform(torch.zeros(1, dtype=torch.int64), 1, 4, len("kind")) < 0.5
    assert_steps_agree(cuts, make, batch)


def test_an_encoder_without_a_map_is_named() -> None:
    with pytest.raises(UserError, match=r"model.encoder is 'small_alexnet'; it has no feature map"):
        module(encoder="small_alexnet")
