"""ALIGN's loss against a plain loop, its temperature, and what is refused."""

import math

import pytest
from torch import Tensor

from common.errors import UserError
from papers.vision_language.align.module import ALIGN
from papers.vision_language.align.properties import align, best_temperature, pairs


def loop(image: Tensor, text: Tensor, temperature: float, smoothing: float) -> float:
    """Equations 1 and 2 with smoothed labels, number by number."""
    x, y, n, total = image.tolist(), text.tolist(), len(image), 0.0

    def score(i: int, j: int) -> float:
        return sum(a * b for a, b in zip(x[i], y[j], strict=True)) / temperature

    for i in range(n):
        for logits in ([score(i, j) for j in range(n)], [score(j, i) for j in range(n)]):
            log_total = math.log(sum(math.exp(s) for s in logits))
            target = [smoothing / n + (1 - smoothing) * (j == i) for j in range(n)]
            total += sum(q * (log_total - s) for q, s in zip(target, logits, strict=True)) / n
    return total


@pytest.mark.parametrize(("temperature", "smoothing"), [(1.0, 0.1), (1 / 64, 0.1), (0.07, 0.0), (0.2, 1.0)])
def test_the_loss_is_that_of_a_loop(temperature: float, smoothing: float) -> None:
    image, text = (x.detach() for x in pairs(0))
    found = align(smoothing, temperature).contrast(image, text)
    assert found.item() == pytest.approx(loop(image, text, temperature, smoothing), rel=1e-12)


def test_the_temperature_of_equal_softmax_and_target() -> None:
    assert best_temperature(0.1, 128) == pytest.approx(1 / math.log(1 + 128 * 0.9 / 0.1))


@pytest.mark.parametrize("learnt", [True, False])
def test_a_fixed_temperature_has_no_gradient_and_no_bound_at_that_of_clip(learnt: bool) -> None:
    module = ALIGN(image_encoder="small_convnet", text_encoder="bag_of_words", temperature=1 / 128, learnt=learnt)
    assert module.temperature().item() == pytest.approx(1 / 128)
    image, text = (x.detach().float().requires_grad_() for x in pairs(0))
    module.contrast(image, text).backward()
    assert (module.temperature.log_temperature.grad is not None) == learnt


def test_what_is_out_of_range_is_refused() -> None:
    with pytest.raises(UserError, match=r"model.smoothing 1.5: expected"):
        ALIGN(smoothing=1.5)
    with pytest.raises(UserError, match=r"label_smoothing is 0.1; ALIGN has none"):
        ALIGN(label_smoothing=0.1)
    with pytest.raises(UserError, match="above 0"):
        ALIGN(temperature=0.0)
