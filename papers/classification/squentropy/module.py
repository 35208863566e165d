"""Squentropy (Hui et al. 2023): cross-entropy that pulls the wrong logits towards 0; and the rescaled square loss."""

from typing import Literal

from torch import Tensor

from common.checks import check_number
from common.errors import UserError
from common.losses.precision import at_least_float32
from papers.classification.cross_entropy.module import CrossEntropy


class Squentropy(CrossEntropy):
    """Cross-entropy plus the mean square of the wrong logits: -log softmax(f)_y + mean over j != y of f_j^2.

    The two terms have no weight between them, and the logit of the right class is not squared.

    Args:
        penalized: whose logits are squared, those of the "wrong" classes, or of "all", the right one included.
        classes, others: as in `CrossEntropy`.

    Raises:
        UserError: there is one class alone.
    """

    def __init__(self, *, penalized: Literal["wrong", "all"] = "wrong", classes: int = 10, **others) -> None:
        super().__init__(classes=classes, **others)
        if classes < 2:
            raise UserError(f"model.classes is {classes}; squentropy takes at least 2, of which one is wrong")
        self.penalized = penalized

    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        squared = at_least_float32(logits).square()
        if self.penalized == "all":
            return super().losses(logits, labels) + squared.mean(dim=1)
        wrong = squared.scatter(1, labels[:, None], 0.0)
        return super().losses(logits, labels) + wrong.sum(dim=1) / (logits.shape[1] - 1)


class RescaledSquare(CrossEntropy):
    """The square loss with targets out of the ordinary: (1 / C) (k (f_y - M)^2 + sum over j != y of f_j^2).

    What squentropy is compared with beside cross-entropy. Its probabilities are the softmax of the logits too.

    Source: Hui and Belkin 2020.

    Args:
        weight: k, of the right class's term.
        target: M, what the right logit is to be; the wrong ones are to be 0.
        others: as in `CrossEntropy`, without `label_smoothing`.

    Raises:
        UserError: `weight` or `target` is not above 0, or labels are to be smoothed.
    """

    def __init__(self, *, weight: float = 1.0, target: float = 1.0, **others) -> None:
        super().__init__(**others)
        check_number("model.weight", weight, above=0)
        check_number("model.target", target, above=0)
        if self.label_smoothing:
            raise UserError(f"model.label_smoothing is {self.label_smoothing}; the square loss has its targets from M")
        self.weight, self.target = weight, target

    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        logits, right = at_least_float32(logits), labels[:, None]
        squared = logits.square().scatter(1, right, self.weight * (logits.gather(1, right) - self.target).square())
        return squared.mean(dim=1)
