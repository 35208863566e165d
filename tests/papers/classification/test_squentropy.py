"""Squentropy and the rescaled square loss against plain loops, what each term does, and what is refused."""

import math

import pytest
import torch
from torch import Tensor

from common.errors import UserError
from papers.classification.squentropy.module import RescaledSquare, Squentropy
from papers.classification.squentropy.properties import cross_entropy, drawn, optimum, squentropy


def loop(logits: Tensor, labels: Tensor, penalized: str) -> list[float]:
    found = []
    for row, y in zip(logits.tolist(), labels.tolist(), strict=True):
        squares = [f * f for j, f in enumerate(row) if penalized == "all" or j != y]
        found.append(math.log(sum(map(math.exp, row))) - row[y] + sum(squares) / len(squares))
    return found


@pytest.mark.parametrize("penalized", ["wrong", "all"])
@pytest.mark.parametrize("classes", [2, 3, 20])
def test_the_loss_is_that_of_a_loop(classes: int, penalized: str) -> None:
    logits, labels = drawn(classes, classes)
    module = Squentropy(classes=classes, encoder="vector_tower", width=1, penalized=penalized)
    assert module.losses(logits, labels).tolist() == pytest.approx(loop(logits, labels, penalized), rel=1e-12)


def test_of_two_classes_the_one_wrong_logit_is_squared() -> None:
    logits, labels = drawn(0, 2)
    added = squentropy(logits, labels) - cross_entropy(logits, labels)
    torch.testing.assert_close(added, logits[torch.arange(len(labels)), 1 - labels].square())


def test_the_square_loss_is_that_of_a_loop() -> None:
    logits, labels = drawn(1)
    expected = [
        sum(15 * (f - 30) ** 2 if j == y else f * f for j, f in enumerate(row)) / len(row)
        for row, y in zip(logits.tolist(), labels.tolist(), strict=True)
    ]
    assert RescaledSquare(weight=15, target=30).losses(logits, labels).tolist() == pytest.approx(expected, rel=1e-12)


def test_large_logits_in_half_precision_are_squared_in_float32() -> None:
    logits, labels = torch.full((1, 3), 300.0, dtype=torch.float16), torch.tensor([0])
    assert float(Squentropy(classes=3).losses(logits, labels)) == pytest.approx(math.log(3) + 9e4, rel=1e-3)
    assert float(RescaledSquare().losses(logits, labels)) == pytest.approx((299**2 + 2 * 9e4) / 3, rel=1e-3)


def test_labels_are_smoothed_as_in_cross_entropy() -> None:
    logits, labels = drawn(3)
    smooth, plain = (Squentropy(classes=7, label_smoothing=share).losses(logits, labels) for share in (0.1, 0.0))
    terms = -logits.log_softmax(dim=1)
    own = terms[torch.arange(len(labels)), labels]
    torch.testing.assert_close(smooth - plain, 0.1 * (terms.mean(dim=1) - own))


def test_a_loss_with_a_weight_has_another_optimum() -> None:
    """The property can fail: the equation that it checks has the term of the mean, without a factor."""
    assert max(optimum(0).values()) < 1e-12
    logits, labels = drawn(0)
    (one,) = torch.autograd.grad(squentropy(logits, labels).sum(), logits)
    (other,) = torch.autograd.grad((2 * squentropy(logits, labels) - cross_entropy(logits, labels)).sum(), logits)
    assert float((one - other).abs().max()) > 0.1


def test_what_is_out_of_range_is_refused() -> None:
    with pytest.raises(UserError, match=r"model.classes is 1; squentropy takes at least 2"):
        Squentropy(classes=1)
    for name in ("weight", "target"):
        with pytest.raises(UserError, match=rf"model.{name} 0.0: expected a finite number above 0"):
            RescaledSquare(**{name: 0.0})
    with pytest.raises(UserError, match=r"model.label_smoothing is 0.1; the square loss"):
        RescaledSquare(label_smoothing=0.1)
