"""CLIPPO: its objective by loops, sentences in the batch included, one tower and two, and pairs on two processes."""

import math
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor

from common.batches import ImageText
from common.errors import UserError
from common.lettering import rendered
from papers.vision_language.clippo import properties
from papers.vision_language.clippo.module import CLIPPO
from papers.vision_language.clippo.properties import TEXTS, TURNED, towers
from tests.processes import on_processes


def batch(pictures: slice = slice(None), sentences: slice = slice(None)) -> ImageText:
    """Four pictures and two sentences, or some of them."""
    pixels = torch.rand(1, 4, 3, 24, 24, generator=torch.Generator().manual_seed(0), dtype=torch.float64)[:, pictures]
    ids = torch.arange(4)[pictures]
    both = [TEXTS[2:][sentences], TURNED[sentences]]
    return ImageText(pixels, [TEXTS[pictures]], ids, ids, sentences=both if both[0] else ())


def ready(count: int = 1) -> CLIPPO:
    made = towers(count)
    made.log = lambda *_, **__: None
    return made


def loop(first: Tensor, second: Tensor, scale: float) -> float:
    """Both softmaxes for each pair in turn."""
    scores = [[scale * float(a @ b) for b in second] for a in first]
    total = 0.0
    for i, row in enumerate(scores):
        total -= row[i] - math.log(sum(math.exp(s) for s in row))
        total -= row[i] - math.log(sum(math.exp(line[i]) for line in scores))
    return total / (2 * len(scores))


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("sentences", [slice(0), slice(None)])
def test_the_objective_is_that_of_loops(count: int, sentences: slice) -> None:
    module, given = ready(count), batch(sentences=sentences)
    with torch.no_grad():
        for parameter in module.encoder.text.parameters():
            parameter.mul_(1.5)
        found = module.training_step(given, 0)
        one, other = given.sentences or ([], [])
        first = [*module.encoder.images(given.pixels), *(module.read([text])[0] for text in one)]
        second = [module.read([text])[0] for text in [*TEXTS, *other]]
    assert len(first) == (6 if one else 4)
    assert float(found) == pytest.approx(loop(torch.stack(first), torch.stack(second), 2.0), rel=1e-9)


def test_a_text_is_read_as_the_picture_of_it() -> None:
    module = ready()
    drawn = rendered(TEXTS, 24, 40, row=8).double() / 255
    torch.testing.assert_close(module.embed_text(TEXTS), module.encoder.images(drawn), rtol=1e-6, atol=1e-7)
    apart = ready(2)
    torch.testing.assert_close(apart.embed_text(TEXTS), module.embed_text(TEXTS))
    with torch.no_grad():
        next(apart.encoder.text.parameters()).mul_(-1)
    assert (apart.embed_text(TEXTS) - module.embed_text(TEXTS)).abs().max() > 1e-2
    assert not list(module.encoder.text.parameters())


def test_chunks_give_the_same_gradient() -> None:
    def gradients(chunk_size: int | None) -> list[Tensor]:
        module = ready()
        module.chunk_size = chunk_size
        return list(torch.autograd.grad(module.training_step(batch(), 0), list(module.parameters())))

    for whole, cut in zip(gradients(None), gradients(2), strict=True):
        torch.testing.assert_close(whole, cut)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("chunk_size", [None, 2])
def test_a_batch_of_one_kind_alone_is_trained_on(count: int, chunk_size: int | None) -> None:
    module = ready(count)
    module.chunk_size = chunk_size
    pictures = float(module.training_step(batch()._replace(sentences=[[], []]), 0).detach())
    assert pictures == pytest.approx(float(module.training_step(batch(sentences=slice(0)), 0).detach()), rel=1e-12)
    loss = module.training_step(batch(slice(0)), 0)
    both = [module.read(texts).detach() for texts in (TEXTS[2:], TURNED)]
    assert float(loss.detach()) == pytest.approx(loop(*both, 2.0), rel=1e-9)
    loss.backward()
    assert all(parameter.grad is not None for parameter in module.parameters())


def test_the_full_recipe_forgets_as_slowly_as_the_released_optimizer() -> None:
    recipe = Path(properties.__file__).with_name("full.yaml").read_text(encoding="utf-8")
    given = yaml.safe_load(recipe)["model"]["init_args"]
    made = CLIPPO(image_encoder="small_convnet", **{name: given[name] for name in ("optimizer", "beta2", "lr")})
    assert {group["betas"] for group in made.parameter_groups()} == {(0.9, 0.999)}


def test_two_processes_with_other_kinds_of_pairs_have_the_loss_and_the_gradient_of_one() -> None:
    def step(given: ImageText) -> list[Tensor]:
        module = ready()
        loss = module.training_step(given, 0)
        return [loss.detach(), *torch.autograd.grad(loss, list(module.parameters()))]

    whole = step(batch())
    shares = [(slice(0, 1), slice(None)), (slice(1, 4), slice(0))]
    found = on_processes(2, lambda: step(batch(*shares[torch.distributed.get_rank()])))
    for loss, *_ in found:
        torch.testing.assert_close(loss, whole[0])
    for one, other, expected in zip(*(gradients for _, *gradients in found), whole[1:], strict=True):
        # The objective is the sum over processes.
        torch.testing.assert_close((one + other) / 2, expected)


@pytest.mark.parametrize("name", ["tied", "swap", "half"])
def test_the_properties_hold(name: str) -> None:
    assert getattr(properties, name)(3) < 1e-12


def test_another_number_of_towers_is_refused() -> None:
    with pytest.raises(UserError, match=r"model\.towers"):
        towers(3)


def test_texts_of_other_patches_than_pictures_are_refused_where_the_tower_is_a_vit() -> None:
    with pytest.raises(UserError, match=r"model\.text_height .* 27 patches; they must have 16"):
        CLIPPO(image_encoder="vit_mini", image_size=32)
    made = CLIPPO(image_encoder="vit_mini", image_size=32, text_height=32, text_width=32)
    assert made.embed_text(["a small owl"]).shape == (1, 64)
