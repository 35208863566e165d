"""What is said by the logits of a classifier: the right class, how likely it is, and whether it is as sure as right."""

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

from common.benchmark import Metrics
from common.checks import check_ids
from common.errors import UserError
from common.evaluation.likelihood import fit_scale, log_likelihood
from common.evaluation.means import Mean
from common.evaluation.scoring import finite, scoring


@scoring()
def classifier_metrics(logits: Tensor, labels: Tensor, fitted_on: tuple[Tensor, Tensor] | None = None) -> Metrics:
    """Scores of a classifier by its logits, whose softmax is what it believes.

    Args:
        logits: of the test rows, shape (n, classes).
        labels: the right classes, int64 of shape (n,).
        fitted_on: logits and labels of the validation rows, on which the temperature of what is `..._scaled` is fitted.
            On the validation split itself they are the same rows.

    Returns:
        `top1`; `log_likelihood`, the mean log-probability of the right class in nats; `brier`, see `brier_score`;
        `ece15`, see `calibration_error`; and with `fitted_on` `log_likelihood_scaled` and `ece15_scaled`, the same
        after the logits are divided by the fitted temperature (Guo et al. 2017, section 4.2), which makes arms
        comparable that were stopped at different rates. All are means over the rows.

    Raises:
        UserError: logits are not finite, or labels are no columns of theirs.
    """
    likelihood = log_likelihood(logits, labels, 1.0)
    metrics: Metrics = {
        "top1": Mean(logits.argmax(dim=1) == labels.to(logits.device)),
        "log_likelihood": likelihood,
        "brier": brier_score(logits, labels),
        "ece15": calibration_error(logits, labels, bins=15),
    }
    if fitted_on is not None:
        scale = fit_scale(*fitted_on)
        metrics["log_likelihood_scaled"] = log_likelihood(logits, labels, scale)
        metrics["ece15_scaled"] = calibration_error(scale * finite("logits", logits).double(), labels, bins=15)
    return metrics


def classifier_scores(
    side: Callable[[str], tuple[Tensor, Tensor]], split: str, fitted_on: str | None = "val"
) -> Metrics:
    """`classifier_metrics` of a split under the names that benchmarks give them, `classifier/...`.

    Args:
        side: gives logits and labels of a split; asked for each once, in one order on all processes.
        split: what is scored.
        fitted_on: the split that the temperature is fitted on, or None.
    """
    sides = {name: side(name) for name in dict.fromkeys((split, fitted_on)) if name is not None}
    found = classifier_metrics(*sides[split], sides.get(fitted_on) if fitted_on else None)
    return {f"classifier/{name}": value for name, value in found.items()}


@scoring()
def brier_score(logits: Tensor, labels: Tensor) -> Mean:
    """sum_c (p_c - [c = y])^2 with p the softmax, the mean over the rows: 0 at best, 2 at worst (Brier 1950).

    Args:
        logits: shape (n, classes).
        labels: int64 of shape (n,).

    Raises:
        UserError: logits are not finite, or labels are no columns of theirs.
    """
    chances, labels = _chances(logits, labels)
    return Mean((chances - F.one_hot(labels, chances.shape[1])).square().sum(dim=1))


@scoring()
def calibration_error(logits: Tensor, labels: Tensor, bins: int = 15) -> Mean:
    """The expected calibration error: |confidence - accuracy| of each bin, weighted by its rows.

    The confidence of a row is its largest probability, and the bins part [0, 1] evenly. Source: Guo et al. 2017, eq. 3.

    Args:
        logits: shape (n, classes).
        labels: int64 of shape (n,).
        bins: how many.

    Returns:
        In [0, 1], 0 at best; in a small sample a calibrated classifier is above 0 too. The item of a row is its
        confidence, minus 1 if it is right, with the sign of its bin's sum: their mean is the error.

    Raises:
        UserError: logits are not finite, labels are no columns of theirs, or there is no bin.
    """
    if bins < 1:
        raise UserError(f"bins is {bins}; it must be at least 1")
    chances, labels = _chances(logits, labels)
    confidence, predicted = chances.max(dim=1)
    gap = confidence - (predicted == labels).double()
    bin_of = (confidence * bins).long().clamp(max=bins - 1)
    of_bin = gap.new_zeros(bins).index_add_(0, bin_of, gap)
    return Mean(gap * of_bin.sign()[bin_of])


def _chances(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Softmax in float64, and labels that are columns of it."""
    if logits.ndim != 2 or not logits.numel():
        raise UserError(f"logits {tuple(logits.shape)}: expected (n, classes), at least 1 each")
    check_ids("labels", labels, len(logits))
    labels = labels.to(logits.device)
    if not bool(((labels >= 0) & (labels < logits.shape[1])).all()):
        raise UserError(f"labels: expected classes from 0 to {logits.shape[1] - 1}")
    return finite("logits", logits).double().softmax(dim=1), labels
