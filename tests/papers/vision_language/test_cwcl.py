"""CWCL: its objective end to end, what its weights are compared with, the frozen tower, several processes."""

import math

import pytest
import torch
from torch import Tensor, nn

from common.batches import ImageText
from common.errors import UserError
from common.losses import info_nce, symmetric_info_nce
from common.scores import Scores
from data.scenes.small import CONCEPTS
from papers.vision_language.cwcl import properties
from papers.vision_language.cwcl.module import CWCL
from papers.vision_language.cwcl.properties import drawn, weights
from tests.processes import on_processes

TEXTS = ["a dog", "a red cat", "a ring", "a cat"]
KINDS = torch.tensor([3, 1, 7, 1])


def module(**arguments) -> CWCL:
    torch.manual_seed(0)
    options = dict(locked=None, image_encoder="small_convnet", width=4, text_encoder="bag_of_words", embed_dim=8)
    made = CWCL(**options | arguments).double()
    made.log = lambda *_, **__: None
    return made


def batch() -> ImageText:
    pixels = torch.rand(1, 4, 3, 24, 24, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    concepts = torch.zeros(4, CONCEPTS["place"].stop, dtype=torch.bool)
    concepts[torch.arange(4), KINDS] = True
    ids = torch.tensor([4, 0, 9, 2])
    return ImageText(pixels, [TEXTS], ids, ids, concepts=concepts)


def loop(image: Tensor, text: Tensor, seen: Tensor, temperature: float) -> float:
    """The objective for each pair in turn."""
    n, total = len(image), 0.0
    scores = [[float(v @ t) / temperature for t in text] for v in image]
    for i in range(n):
        w = [0.5 + float(seen[i] @ x) / float(seen[i].norm() * x.norm()) / 2 for x in seen]
        of_picture = sum(math.exp(s) for s in scores[i])
        total -= sum(w[j] * math.log(math.exp(scores[i][j]) / of_picture) for j in range(n)) / sum(w) / n
        total -= math.log(math.exp(scores[i][i]) / sum(math.exp(scores[j][i]) for j in range(n))) / n
    return total


def test_the_objective_is_that_of_a_loop() -> None:
    method, given = module(temperature=0.2), batch()
    with torch.no_grad():
        found = method.training_step(given, 0)
        seen = method.encoder.image(given.pixels)
        expected = loop(method.encoder.images(given.pixels), method.encoder.texts(TEXTS), seen, method.temperature())
    assert float(found) == pytest.approx(float(expected), rel=1e-9)


def test_the_tower_is_frozen_and_sees_a_picture_once() -> None:
    method, given = module(), batch()
    before = method.training_step(given, 0)
    method.train()
    assert not method.encoder.image.training
    before.backward()
    assert all(p.grad is None for p in method.encoder.image.parameters())
    assert float(method.encoder.projection.weight.grad.abs().max()) > 0
    other = given._replace(views=torch.zeros_like(given.views))
    assert torch.equal(method.training_step(other, 0), before)
    assert not torch.equal(module(remember=False).training_step(other, 0), before)


def targets(image: Tensor, text: Tensor, seen: Tensor, kinds: Tensor | None = None, **arguments) -> Tensor:
    scores = Scores(image, text)
    found = module(**arguments).targets(scores, seen, kinds)
    return found.tile(slice(0, len(image)), slice(0, len(text)))


def test_controls_have_the_targets_that_the_card_says() -> None:
    image, text, seen = (x.detach() for x in drawn(0))
    expected = weights(seen)
    torch.testing.assert_close(targets(image, text, seen), expected)
    uniform = targets(image, text, seen, weights="uniform")
    torch.testing.assert_close(uniform.diagonal(), expected.diagonal())
    torch.testing.assert_close(uniform.sum(1), torch.ones(12).double())
    others = uniform[~torch.eye(12, dtype=torch.bool)].view(12, 11)
    torch.testing.assert_close(others, others[:, :1].expand_as(others))
    half = targets(image, text, seen, weights="uniform", own_share=0.5)
    torch.testing.assert_close(half, torch.full((12, 12), 0.5 / 11).double().fill_diagonal_(0.5))
    unit = nn.functional.normalize(seen, dim=1)
    torch.testing.assert_close(targets(image, text, seen, weights="sharp"), (unit @ unit.T / 0.1).softmax(1))
    kinds = torch.arange(12) % 5
    same = (kinds[:, None] == kinds).double()
    torch.testing.assert_close(
        targets(image, text, seen, kinds, weights="class").double(), same / same.sum(1, keepdim=True)
    )


def test_without_weights_it_is_the_sum_of_both_cross_entropies() -> None:
    image, text, seen = drawn(0)
    method = module(weights="none")
    plain = symmetric_info_nce(image, text, temperature=method.temperature(), directions="sum")
    torch.testing.assert_close(method.contrast(image, text, seen), plain)


def test_both_ways_weigh_pictures_for_a_caption_too() -> None:
    image, text, seen = drawn(0)
    one, both = (module(both=both).contrast(image, text, seen) for both in (False, True))
    temperature = module().temperature()
    logits = text @ image.T / temperature
    weighted = (weights(seen) * (logits.logsumexp(1, keepdim=True) - logits)).sum(1).mean()
    torch.testing.assert_close(both - one, weighted - info_nce(text, image, temperature=temperature))


def test_shuffled_weights_are_of_other_pictures() -> None:
    method, given = module(weights="shuffled"), batch()
    found = method.training_step(given, 0)
    assert not torch.allclose(found, module().training_step(given, 0))
    assert torch.equal(found, method.training_step(given, 0))


@pytest.mark.parametrize("kind", ["similarity", "uniform", "sharp", "class"])
def test_two_processes_give_the_loss_and_the_gradients_of_one(kind: str) -> None:
    image, text, seen = (x.detach() for x in drawn(0))
    kinds = torch.arange(12) % 5

    def step(rows: slice) -> list[Tensor]:
        leaves = [x[rows].clone().requires_grad_() for x in (image, text)]
        loss = module(weights=kind).contrast(*leaves, seen[rows], kinds[rows])
        return [loss.detach(), *torch.autograd.grad(loss, leaves)]

    expected, parts = step(slice(None)), [slice(0, 5), slice(5, 12)]
    for rows, (loss, *gradients) in zip(
        parts, on_processes(2, lambda: step(parts[torch.distributed.get_rank()])), strict=True
    ):
        torch.testing.assert_close(loss, expected[0])
        for found, whole in zip(gradients, expected[1:], strict=True):
            torch.testing.assert_close(found / 2, whole[rows])  # the objective is the sum over processes


@pytest.mark.parametrize("check", [properties.opposites, properties.optimum, properties.alike])
def test_what_the_card_calls_a_property_holds(check) -> None:
    found = check(3)
    assert max(found.values() if isinstance(found, dict) else [found]) < 1e-12


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(UserError, match=r"model\.weights"):
        module(weights="labels")
    with pytest.raises(UserError, match=r"model\.own_share 1\.5: expected"):
        module(weights="uniform", own_share=1.5)
    with pytest.raises(UserError, match=r"data\.concepts"):
        module(weights="class").training_step(batch()._replace(concepts=None), 0)
