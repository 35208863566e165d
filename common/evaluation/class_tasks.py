"""Tasks of a few classes drawn at random: the mean classifier, its loss, and the contrastive losses that bound it."""

import math
from typing import Literal, NamedTuple

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn import functional as F

from common.benchmark import Metrics
from common.checks import check_ids
from common.errors import UserError
from common.evaluation.class_means import class_means
from common.evaluation.means import Mean
from common.evaluation.scoring import embeddings, scoring


def task_accuracy(scores: Tensor, labels: Tensor, ways: int) -> Mean:
    """The expected accuracy on a task of `ways` classes, the right one and others drawn at random: AVG-k of a row.

    A row with r of the other C - 1 classes ahead of its own is right in C(C - 1 - r, k - 1) of C(C - 1, k - 1) tasks,
    so that no task need be drawn. With all classes it is the plain accuracy. A tie is lost.

    Args:
        scores: of the classes 0 to C - 1, shape (n, C).
        labels: shape (n,).
        ways: k, from 2 to C.

    Raises:
        UserError: labels do not fit, or there are fewer classes than a task has.
    """
    check_ids("labels", labels, len(scores))
    classes = scores.shape[1]
    if not 2 <= ways <= classes:
        raise UserError(f"ways is {ways}; it must be from 2 to {classes}, the number of classes")
    ahead = (scores >= scores.gather(1, labels[:, None])).sum(dim=1) - 1
    share = [math.comb(classes - 1 - r, ways - 1) / math.comb(classes - 1, ways - 1) for r in range(classes)]
    return Mean(torch.tensor(share, dtype=torch.float64)[ahead])


@scoring()
def mean_classifier_metrics(train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor) -> Metrics:
    """How well products with the means of classes name test rows: W f(x) with the mean of f over class c for row c.

    Neither rows nor means are normalized, and there is no bias.

    Args:
        train: shape (n, d).
        train_labels: shape (n,), of all classes 0 to C - 1, C at least 2.
        test: shape (m, d).
        test_labels: shape (m,).

    Returns:
        `avg2` and, of ten classes and more, `avg10`, see `task_accuracy`; `top1`.

    Raises:
        UserError: embeddings are not finite, labels do not fit them, or a class has no training row.

    Source: Arora et al. 2019, section 2 (the mean classifier) and section 8.
    """
    rows, asked = (embeddings(name, x).double() for name, x in (("train", train), ("test", test)))
    classes, means = class_means(rows, train_labels)
    if not torch.equal(classes, torch.arange(len(classes), device=classes.device)):
        raise UserError(f"classes of the training rows are {classes.tolist()}; there must be rows of all from 0 on")
    return task_metrics(asked @ means.T, test_labels)


def task_metrics(scores: Tensor, labels: Tensor) -> Metrics:
    """`avg2`, of ten classes and more `avg10`, and `top1` of scores (n, C), see `task_accuracy`."""
    ways = {"avg2": 2, "avg10": 10, "top1": scores.shape[1]}
    return {name: task_accuracy(scores, labels, k) for name, k in ways.items() if k <= scores.shape[1]}


Form = Literal["logistic", "hinge"]


def margin_loss(v: Tensor, form: Form) -> Tensor:
    """l(v) = log2(1 + exp(-v)) or max(0, 1 - v), elementwise: convex, falling, and l(0) = 1."""
    return F.softplus(-v) / math.log(2) if form == "logistic" else F.relu(1 - v)


def _margin_slope(v: Tensor, form: Form) -> Tensor:
    return -torch.sigmoid(-v) / math.log(2) if form == "logistic" else -(v < 1).to(v)


class Bound(NamedTuple):
    """Population losses of a representation, the given rows being all there is of each class."""

    contrastive: float
    """L_un = E l(f(x) (f(x+) - f(x-))), pairs of a sample with itself and collisions of classes included."""
    supervised: Mean
    """L_sup^mu, the loss of the mean classifier over random pairs of different classes. Item i is that value moved by
    the influence of row i among those of its class: by its own loss, and by that of all through their mean."""
    collisions: float
    """tau, how often two classes drawn are the same one."""
    within: float
    """L_un given a collision."""
    rescaled: Mean
    """L_sup^mu of the features at the length for which it is least: the same for features that differ by a factor."""

    @property
    def ceiling(self) -> float:
        """(L_un - tau) / (1 - tau), which the supervised loss never exceeds."""
        return (self.contrastive - self.collisions) / (1 - self.collisions)

    @property
    def apart(self) -> float:
        """L_un given that the classes differ."""
        return (self.contrastive - self.collisions * self.within) / (1 - self.collisions)


@scoring()
def contrastive_bound(rows: Tensor, labels: Tensor, form: Form = "logistic") -> Bound:
    """All of `Bound` by exact enumeration of anchors, positives and negatives, in float64.

    Args:
        rows: f(x), shape (n, d), not normalized; n^3 / C triples are summed, a class's anchors at a time.
        labels: shape (n,), of two classes at least; a class is as frequent as it has rows.

    Raises:
        UserError: embeddings are not finite, labels do not fit them, or there is one class alone.

    Source: Arora et al. 2019, lemma 4.3.
    """
    if not rows.isfinite().all():
        raise UserError("rows hold NaN or infinite values; they cannot be scored")
    rows = rows.double()
    classes, means = class_means(rows, labels)
    numbers = torch.searchsorted(classes, labels.to(rows.device).contiguous())
    shares = numbers.bincount().double() / len(rows)
    tau = float(shares.square().sum())
    contrastive = within = 0.0
    tasks, weights = [], []
    for own, share in enumerate(shares.tolist()):
        anchors = rows[numbers == own]
        scores, against = anchors @ rows.T, anchors @ means.T
        gaps = scores[:, numbers == own, None] - scores[:, None, :]
        by_negative = margin_loss(gaps, form).mean(dim=(0, 1))
        contrastive += share * float(by_negative.mean())
        within += share**2 / tau * float(by_negative[numbers == own].mean())
        tasks.append(against[:, own, None] - against)
        weights.append((share / (1 - tau) / len(anchors) * shares).expand_as(tasks[-1]).clone())
        weights[-1][:, own] = 0.0
    gap, weight = torch.cat(tasks), torch.cat(weights)
    order = numbers.argsort(stable=True)  # that of the tasks
    known, own_class = rows[order], numbers[order]

    def at(scale: float) -> float:
        return float((weight * margin_loss(scale * gap, form)).sum())

    def told(scale: float) -> Mean:
        slope = weight * _margin_slope(scale * gap, form) * scale
        of_means = torch.zeros_like(means).index_add_(0, own_class, slope.sum(dim=1, keepdim=True) * known)
        of_means -= slope.T @ known
        moved = ((known - means[own_class]) * of_means[own_class]).sum(dim=1) / shares[own_class]
        items = torch.empty_like(moved)
        items[order] = len(rows) * (weight * margin_loss(scale * gap, form)).sum(dim=1) + moved
        return Mean(items, at(scale))

    # Convex in the scale, so that it has one minimum in its logarithm.
    least = minimize_scalar(lambda log: at(math.exp(log)), bounds=(-12, 12), method="bounded")
    return Bound(contrastive, told(1.0), tau, within, told(math.exp(least.x)))
