"""k-nearest-neighbour classification of frozen embeddings."""

import torch
from torch import Tensor
from torch.nn import functional as F


def knn_accuracy(train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor, k: int = 20) -> float:
    """Share of test rows whose class wins among the `k` training rows nearest by cosine, votes weighted by similarity.

    Args:
        train: embeddings of shape (n, d), normalized here.
        train_labels: shape (n,).
        test: shape (m, d).
        test_labels: shape (m,).
        k: neighbours, at most n.
    """
    keys, classes = F.normalize(train, dim=1), int(train_labels.max()) + 1
    correct = 0
    # Tiles of test rows: memory stays at 1,024 x n however large the test split is.
    for rows, labels in zip(test.split(1024), test_labels.split(1024), strict=True):
        similarity, nearest = (F.normalize(rows, dim=1) @ keys.T).topk(min(k, len(keys)), dim=1)
        # The exponential with temperature 0.07 of Wu et al. (2018) keeps votes positive and breaks ties.
        votes = torch.zeros(len(rows), classes, device=rows.device)
        votes.scatter_add_(1, train_labels[nearest], (similarity / 0.07).exp())
        correct += int((votes.argmax(1) == labels).sum())
    return correct / len(test)
