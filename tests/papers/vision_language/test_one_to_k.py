"""1-to-K: its objective end to end, what it is compared with, and its losses on two processes."""

import math

import pytest
import torch
from torch import Tensor

from common.batches import ImageText
from common.errors import UserError
from common.losses import symmetric_info_nce
from papers.vision_language.one_to_k import properties
from papers.vision_language.one_to_k.module import OneToK, one_to_k
from papers.vision_language.one_to_k.properties import drawn
from tests.processes import on_processes

TEXTS = [["a dog", "a red cat", "a ring"], ["ein Hund", "eine rote Katze", "ein Ring"]]


def module(**arguments) -> OneToK:
    torch.manual_seed(0)
    options = dict(image_encoder="small_convnet", width=4, text_encoder="bag_of_many_words", embed_dim=8)
    made = OneToK(**options | arguments).double()
    made.log = lambda *_, **__: None
    return made


def batch() -> ImageText:
    pixels = torch.rand(1, 3, 3, 24, 24, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return ImageText(pixels, TEXTS, torch.tensor([4, 0, 9]), torch.tensor([4, 0, 9]))


def loop(image: Tensor, text: Tensor, temperature: float, balanced: bool) -> float:
    """The released objective for each picture and caption in turn."""
    n, k, _ = text.shape
    scores = [[[float(v @ t) / temperature for t in captions] for captions in text] for v in image]
    to_captions = to_pictures = 0.0
    for i in range(n):
        everything = sum(math.exp(s) for row in scores[i] for s in row)
        for language in range(k):
            to_captions -= math.log(math.exp(scores[i][i][language]) / everything) / n
            of_caption = sum(math.exp(scores[j][i][language]) for j in range(n))
            to_pictures -= math.log(math.exp(scores[i][i][language]) / of_caption) / (n * k)
    return (to_captions / k + to_pictures / (1 if balanced else k)) / 2


@pytest.mark.parametrize(("form", "temperature"), [("released", 0.07), ("balanced", 0.3)])
def test_the_objective_is_that_of_a_loop(form: str, temperature: float) -> None:
    method, given = module(form=form, temperature=temperature), batch()
    with torch.no_grad():
        found = method.training_step(given, 0)
        image = method.encoder.images(given.pixels)
        text = torch.stack([method.encoder.texts(texts) for texts in TEXTS], dim=1)
        temperature = float(method.temperature())
    assert float(found) == pytest.approx(loop(image, text, temperature, form == "balanced"), rel=1e-9)


def test_chunks_give_the_same_gradient() -> None:
    def gradients(chunk_size: int | None) -> list[Tensor]:
        method = module(chunk_size=chunk_size)
        return list(torch.autograd.grad(method.training_step(batch(), 0), list(method.parameters())))

    for whole, cut in zip(gradients(None), gradients(2), strict=True):
        torch.testing.assert_close(whole, cut)


def test_what_it_is_compared_with_are_clips_losses() -> None:
    image, text = drawn(0)
    english, *others = text.unbind(1)

    def clip(a: Tensor, b: Tensor) -> Tensor:
        return symmetric_info_nce(a, b, temperature=0.07)

    expected = {
        "separate": sum(clip(image, one) for one in (english, *others)) / 4,
        "chain": (clip(image, english) + sum(clip(english, one) for one in others)) / 4,
    }
    for form, value in expected.items():
        torch.testing.assert_close(module(form=form).contrast(image, text), value)


def test_two_processes_give_the_loss_and_the_gradients_of_one() -> None:
    def step(image: Tensor, text: Tensor) -> list[Tensor]:
        leaves = [x.detach().clone().requires_grad_() for x in (image, text)]
        loss = one_to_k(*leaves, temperature=0.07)
        return [loss.detach(), *torch.autograd.grad(loss, leaves)]

    image, text = drawn(0)
    expected = step(image, text)
    parts = [slice(0, 5), slice(5, 12)]

    def share() -> list[Tensor]:
        rows = parts[torch.distributed.get_rank()]
        return step(image[rows], text[rows])

    for rows, (loss, *gradients) in zip(parts, on_processes(2, share), strict=True):
        torch.testing.assert_close(loss, expected[0])
        for found, whole in zip(gradients, expected[1:], strict=True):
            # The objective is the sum over processes.
            torch.testing.assert_close(found / 2, whole[rows])


@pytest.mark.parametrize("check", [properties.one_language, properties.order, properties.least, properties.separate])
def test_what_the_card_calls_a_property_holds(check) -> None:
    found = check(3)
    deviations = found.values() if isinstance(found, dict) else [found]
    assert max(deviations) < 1e-12


def test_another_form_is_refused() -> None:
    with pytest.raises(UserError, match=r"model\.form"):
        module(form="two_to_k")
