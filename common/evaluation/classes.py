"""Classes in a space of embeddings: how near others of its class stand to a row, and what closed forms read from it."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from common.benchmark import Metrics
from common.checks import check_ids, check_number
from common.errors import UserError
from common.evaluation.knn import knn_accuracy
from common.evaluation.means import Mean
from common.evaluation.retrieval import best_ranks, rank_metrics, ranking_chance, ranking_metrics, same_id
from common.evaluation.scoring import embeddings, scoring

_LEAST_SPREAD = 1e-5
"""Added to the standard deviation of a coordinate, which is 0 where a unit is dead."""


@scoring()
def class_metrics(gallery: Tensor, gallery_labels: Tensor, test: Tensor, test_labels: Tensor) -> Metrics:
    """What is known of test rows from a gallery of rows of known class.

    Cosines are taken after the mean of the gallery is subtracted from both sides: networks without a last normalization
    give vectors in a narrow cone, where the cosine says little.

    Args:
        gallery: shape (n, d).
        gallery_labels: shape (n,).
        test: shape (m, d).
        test_labels: shape (m,), each a class of the gallery.

    Returns:
        `knn20_centred/top1`: see `knn_accuracy`. `map_centred/galleryN` and `mrr_centred/galleryN`: the gallery ranked
        by cosine, rows of the same class being right. `probe_ridge/top1`: see `ridge_accuracy`.
        `probe_discriminant/log_likelihood`: see `discriminant_log_likelihood`. All are means over the test rows.

    Raises:
        UserError: embeddings are not finite, labels do not fit them, or a test row is of no class of the gallery.
    """
    gallery, test = embeddings("gallery", gallery), embeddings("test", test)
    check_ids("gallery_labels", gallery_labels, len(gallery))
    check_ids("test_labels", test_labels, len(test))
    gallery_labels, test_labels = gallery_labels.to(gallery.device), test_labels.to(gallery.device)
    centre = gallery.double().mean(dim=0)
    keys, queries = (F.normalize((x - centre).float(), dim=1) for x in (gallery, test))
    right = same_id(test_labels, gallery_labels)
    behind = f"gallery{len(gallery)}"
    return {
        "knn20_centred/top1": knn_accuracy(keys, gallery_labels, queries, test_labels, k=20),
        f"map_centred/{behind}": ranking_metrics(queries, keys, right)[f"map/{behind}"],
        f"mrr_centred/{behind}": rank_metrics(best_ranks(queries, keys, right))["mrr"],
        "probe_ridge/top1": ridge_accuracy(gallery, gallery_labels, test, test_labels),
        "probe_discriminant/log_likelihood": discriminant_log_likelihood(gallery, gallery_labels, test, test_labels),
    }


def class_chance(classes: int, per_class: int) -> Metrics:
    """What `class_metrics` are expected to be if nothing is known: `per_class` rows of each class in the gallery."""
    total = classes * per_class
    ranking = ranking_chance(per_class, total)
    return {
        "knn20_centred/top1": 1 / classes,
        f"map_centred/gallery{total}": ranking["map"],
        f"mrr_centred/gallery{total}": ranking["mrr"],
        "probe_ridge/top1": 1 / classes,
        "probe_discriminant/log_likelihood": -math.log(classes),
    }


@scoring()
def ridge_accuracy(
    train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor, penalty: float = 5.0
) -> Mean:
    """Accuracy of a ridge regression from standardized embeddings onto the classes, 1 where they are right and else 0.

    Solved in float64, in milliseconds where a logistic regression takes seconds; the intercept is not penalized.

    Args:
        train: shape (n, d).
        train_labels: shape (n,).
        test: shape (m, d).
        test_labels: shape (m,).
        penalty: on the sum of squared weights, beside the sum of squared errors over the rows; above 0.

    Raises:
        UserError: embeddings are not finite, labels do not fit them or are all alike, or the penalty is not above 0.
    """
    check_number("penalty", penalty, above=0)
    classes, numbers, rows, queries = _prepared(train, train_labels, test, test_labels)
    targets = F.one_hot(numbers, len(classes)).to(rows)
    base = targets.mean(dim=0)
    inner = rows.T @ rows + penalty * torch.eye(rows.shape[1], dtype=rows.dtype, device=rows.device)
    weights = torch.linalg.solve(inner, rows.T @ (targets - base))
    return Mean(classes[(queries @ weights + base).argmax(dim=1)] == test_labels.to(classes.device))


@scoring()
def discriminant_log_likelihood(
    train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor, ridge: float = 0.02
) -> Mean:
    """Mean log-probability of the right class, in nats, under normal distributions with one covariance for all classes.

    Linear discriminant analysis on standardized embeddings, the classes taken for equally frequent; nothing is tuned
    and nothing iterates. 0 at best, and -log(classes) where the classes have the same mean.

    Args:
        train, train_labels, test, test_labels: as in `ridge_accuracy`.
        ridge: added to the diagonal of the covariance, whose units are those of standardized embeddings; above 0.

    Raises:
        UserError: as there; or a test row is of a class that no training row has.
    """
    check_number("ridge", ridge, above=0)
    classes, numbers, rows, queries = _prepared(train, train_labels, test, test_labels)
    counts = numbers.bincount().to(rows)
    means = torch.zeros(len(classes), rows.shape[1]).to(rows).index_add_(0, numbers, rows) / counts[:, None]
    within = rows - means[numbers]
    covariance = within.T @ within / len(rows) + ridge * torch.eye(rows.shape[1], dtype=rows.dtype, device=rows.device)
    weights = torch.linalg.solve(covariance, means.T)
    logits = queries @ weights - (means.T * weights).sum(dim=0) / 2
    right = torch.searchsorted(classes, test_labels.to(classes.device).contiguous())
    return Mean(logits.log_softmax(dim=1).gather(1, right[:, None])[:, 0])


def _prepared(train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor) -> tuple[Tensor, ...]:
    """The classes, the position of each training row's among them, and standardized rows of both sides in float64."""
    rows, queries = embeddings("train", train).double(), embeddings("test", test).double()
    check_ids("train_labels", train_labels, len(rows))
    check_ids("test_labels", test_labels, len(queries))
    classes, numbers = train_labels.to(rows.device).unique(return_inverse=True)
    if len(classes) < 2:
        raise UserError("a probe needs training labels of two classes at least; all are alike")
    unknown = ~torch.isin(test_labels.to(classes.device), classes)
    if unknown.any():
        row = int(unknown.nonzero()[0])
        raise UserError(f"test row {row} is of class {int(test_labels[row])}, of which there is no training row")
    return classes, numbers, *standardized(rows, queries)


def standardized(rows: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
    """Each coordinate less the mean of the first rows, (n, d), over their standard deviation; the same for the others.

    A coordinate that does not vary is 0 in the first, and finite in the others.
    """
    centre, spread = rows.mean(dim=0), rows.std(dim=0) + _LEAST_SPREAD
    return tuple((x - centre) / spread for x in (rows, *others))
