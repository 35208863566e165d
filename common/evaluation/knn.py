"""k-nearest-neighbour classification of frozen embeddings."""

import torch
from torch import Tensor
from torch.nn import functional as F

from common.checks import check_ids
from common.errors import UserError
from common.evaluation.means import Mean
from common.evaluation.scoring import Products, embeddings, scoring


@scoring()
def knn_accuracy(train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor, k: int = 20) -> Mean:
    """Share of test rows whose class wins among the `k` training rows nearest by cosine, votes weighted by similarity.

    Args:
        train: embeddings of shape (n, d), normalized here.
        train_labels: shape (n,).
        test: shape (m, d).
        test_labels: shape (m,).
        k: neighbours, at least 1; all where there are fewer.

    Returns:
        The mean over the test rows.

    Raises:
        UserError: embeddings are not finite, labels do not fit them, or `k` is below 1.
    """
    train, test = embeddings("train", train), embeddings("test", test)
    check_ids("train_labels", train_labels, len(train))
    check_ids("test_labels", test_labels, len(test))
    if k < 1:
        raise UserError(f"k is {k}; it must be at least 1")
    classes, numbers = train_labels.to(train.device).unique(return_inverse=True)
    products = Products(F.normalize(test, dim=1), F.normalize(train, dim=1))
    predicted = []
    # Tiles of test rows: memory stays at 1,024 x n however large the test split is.
    for start in range(0, len(test), 1024):
        similarity, nearest = products(slice(start, start + 1024)).topk(min(k, len(train)), dim=1)
        # The exponential with temperature 0.07 of Wu et al. (2018) keeps votes positive and breaks ties.
        votes = torch.zeros(len(similarity), len(classes), device=train.device)
        votes.scatter_add_(1, numbers[nearest], (similarity / 0.07).exp())
        predicted.append(classes[votes.argmax(1)])
    return Mean(torch.cat(predicted) == test_labels.to(train.device))
