"""Whether classes have collapsed to points, and whether these points stand symmetrically."""

import torch
from torch import Tensor
from torch.nn import functional as F

from common.benchmark import Metrics
from common.checks import check_ids
from common.errors import UserError
from common.evaluation.means import Mean
from common.evaluation.scoring import embeddings, scoring


@scoring()
def class_mean_metrics(train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor) -> Metrics:
    """The geometry of the training rows' classes, and how well their means tell the test rows.

    Args:
        train: shape (n, d), normalized here.
        train_labels: shape (n,), of two classes at least.
        test: shape (m, d), normalized here.
        test_labels: shape (m,).

    Returns:
        `orthogonal_distance` and `simplex_distance`, see `frame_distance`; `frame_distance`, the smaller of the two;
        `largest_cosine`, of two class means; `scatter`, see `scatter`; and `top1`, the share of test rows whose
        nearest class mean, by cosine, is that of their class.

    Raises:
        UserError: embeddings are not finite, labels do not fit them, or there is one class alone.
    """
    rows, asked = (F.normalize(embeddings(name, x).double(), dim=1) for name, x in (("train", train), ("test", test)))
    check_ids("test_labels", test_labels, len(asked))
    classes, means = class_means(rows, train_labels)
    gram, frames = means @ means.T, {name: frame_distance(means, name) for name in ("orthogonal", "simplex")}
    cosines = F.normalize(means, dim=1)
    apart = (cosines @ cosines.T)[~torch.eye(len(gram), dtype=torch.bool, device=gram.device)]
    named = classes[(asked @ cosines.T).argmax(dim=1)]
    return {
        **{f"{name}_distance": value for name, value in frames.items()},
        "frame_distance": min(frames.values()),
        "largest_cosine": float(apart.max()),
        "scatter": scatter(rows, train_labels),
        "top1": Mean(named == test_labels.to(named.device)),
    }


def class_means(rows: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The classes that occur, (k,), and the mean of each one's rows, (k, d).

    Raises:
        UserError: labels do not fit the rows, or there is one class alone.
    """
    check_ids("labels", labels, len(rows))
    classes, numbers = labels.to(rows.device).unique(return_inverse=True)
    if len(classes) < 2:
        raise UserError("means of classes are compared with each other; all rows are of one class")
    sums = rows.new_zeros(len(classes), rows.shape[1]).index_add(0, numbers, rows)
    return classes, sums / numbers.bincount().to(rows)[:, None]


def frame_distance(means: Tensor, frame: str = "orthogonal") -> float:
    """How far class means are from standing symmetrically: |G / |G| - F / |F||, G their Gram matrix, Frobenius norms.

    F is the Gram matrix of an "orthogonal" frame, the identity, or of a "simplex" equiangular tight frame, whose
    cosines are all -1 / (k - 1). 0 at best; a simplex of ten classes is 0.32 from an orthogonal frame and the other way
    round, and means that coincide are 1.17 and 1.41 from the two.

    Args:
        means: of k classes, shape (k, d).

    Source: Kini et al. 2024, for the orthogonal frame.
    """
    k, means = len(means), means.double()
    gram, target = means @ means.T, torch.eye(k, dtype=torch.float64, device=means.device)
    if frame == "simplex":
        target = target - 1 / k
    elif frame != "orthogonal":
        raise UserError(f"frame is {frame!r}; it must be 'orthogonal' or 'simplex'")
    # Where a last ReLU is dead all means are 0: as far from either frame as what has nothing in common with it.
    return float((gram / gram.norm().clamp(min=torch.finfo(gram.dtype).tiny) - target / target.norm()).norm())


@scoring()
def scatter(rows: Tensor, labels: Tensor) -> float:
    """The share of the rows' variance that lies within the classes, all of them weighing alike.

    In [0, 1]: 0 where each class is a point, 1 where all classes have one mean. No scale or shift of the rows changes
    it.

    Args:
        rows: shape (n, d).
        labels: shape (n,), of two classes at least.

    Raises:
        UserError: embeddings are not finite, labels do not fit them, or there is one class alone.
    """
    rows = embeddings("rows", rows).double()
    classes, means = class_means(rows, labels)
    numbers = torch.searchsorted(classes, labels.to(rows.device).contiguous())
    squares = (rows - means[numbers]).square().sum(dim=1)
    within = float((rows.new_zeros(len(classes)).index_add(0, numbers, squares) / numbers.bincount()).mean())
    between = float((means - means.mean(dim=0)).square().sum(dim=1).mean())
    return within / (within + between) if between > 0 else 1.0
