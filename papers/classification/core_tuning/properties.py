"""What the released mining finds, and what the loss becomes at its ends, checked on random batches in float64."""

import torch
from torch import Tensor
from torch.nn import functional as F

from common.losses import focal_sup_con, sup_con
from common.sampling.mining import hardest_of_labels
from papers.classification.core_tuning.mixed import released_pairs

CLASSES = 4


def drawn(seed: int, rows: int = 24) -> tuple[Tensor, Tensor]:
    """Features of at least 0, as behind a ReLU, (24, 10), and labels, of which each occurs."""
    draw = torch.Generator().manual_seed(seed)
    features = torch.randn(rows, 10, generator=draw, dtype=torch.float64).abs()
    labels = torch.arange(rows) % CLASSES
    return features, labels[torch.randperm(rows, generator=draw)]


def released_mining(seed: int) -> float:
    """In how many rows of at least 0 the first of `released_pairs` is not the first row that is not another of the
    class, or the row itself where that is row 0."""
    features, labels = drawn(seed)
    first, _ = released_pairs(features, labels)
    wrong = 0
    for i in range(len(labels)):
        place = next(j for j in range(len(labels)) if j == i or labels[j] != labels[i])
        wrong += int(first[i]) != (i if place == 0 else place)
    return float(wrong)


def described_mining(seed: int) -> dict[str, float]:
    """By how much another row of the class is less similar than the first of `hardest_of_labels`, and one of another
    class more similar than the second; and in how many rows one is of the wrong class."""
    features, labels = drawn(seed)
    first, second = hardest_of_labels(features, labels)
    unit = F.normalize(features, dim=1)
    cosine, same = unit @ unit.T, labels[:, None] == labels
    rows, others = torch.arange(len(labels)), same & ~torch.eye(len(labels), dtype=torch.bool)
    least = cosine.masked_fill(~others, torch.inf).amin(dim=1)
    most = cosine.masked_fill(same, -torch.inf).amax(dim=1)
    return {
        "positive": float((cosine[rows, first] - least).abs().max()),
        "negative": float((cosine[rows, second] - most).abs().max()),
        "classes": float((~others[rows, first]).sum() + same[rows, second].sum()),
    }


def weight_of_one(seed: int) -> float:
    """How far the focal loss is from SupCon's where gamma is 0, by value or gradient."""
    features, labels = drawn(seed)
    leaf = F.normalize(features, dim=1).requires_grad_()
    values = focal_sup_con(leaf, labels, temperature=0.07, gamma=0.0), sup_con(leaf, labels, temperature=0.07)
    gradients = [torch.autograd.grad(value, leaf)[0] for value in values]
    return float(torch.maximum((values[0] - values[1]).abs(), (gradients[0] - gradients[1]).abs().max()).detach())
