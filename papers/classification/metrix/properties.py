"""What follows from the form of the loss, checked on random batches in float64."""

import torch
from torch import Tensor
from torch.nn import functional as F

from common.losses import contrastive_margin, multi_similarity
from papers.classification.metrix.mixed import mixed_contrastive, mixed_multi_similarity

MARGIN = 1.2
HARDNESS = {"pull": 2.0, "push": 50.0, "base": 0.5}


def vectors(seed: int, count: int = 24) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(count, 8, generator=draw, dtype=torch.float64), dim=1)


def clean_ends(seed: int) -> float:
    """The largest difference at a share of 1 and of 0 from the clean losses of the pairs that are then left.

    A batch of one class has positives alone, one of as many classes as examples negatives alone. With each anchor and
    each other example in place of a mixture, the mixed losses at 1 and at 0 are the clean ones of these two batches.
    """
    z = vectors(seed)
    anchor, other = (~torch.eye(len(z), dtype=torch.bool)).nonzero(as_tuple=True)
    off = 0.0
    for share, labels in ((1.0, torch.zeros(len(z), dtype=torch.long)), (0.0, torch.arange(len(z)))):
        pairs = z[anchor], z[other], torch.full((len(anchor),), share, dtype=z.dtype)
        contrast = mixed_contrastive(*pairs, margin=MARGIN) - contrastive_margin(z, labels, margin=MARGIN)
        soft = mixed_multi_similarity(*pairs, anchor, **HARDNESS) - multi_similarity(z, labels, **HARDNESS)
        off = max(off, abs(float(contrast)), abs(float(soft)))
    return off


def linear(seed: int) -> float:
    """How far the contrastive loss of single mixed examples is from the mean, by the share, of its two ends."""
    one, other = vectors(seed).chunk(2)

    def loss(row: int, share: float) -> float:
        pair = one[row : row + 1], other[row : row + 1]
        return float(mixed_contrastive(*pair, torch.tensor([share], dtype=torch.float64), margin=MARGIN))

    shares = torch.linspace(0.05, 0.95, len(one)).tolist()
    ends = [(loss(row, 1.0), loss(row, 0.0)) for row in range(len(one))]
    return max(abs(loss(row, y) - y * ends[row][0] - (1 - y) * ends[row][1]) for row, y in enumerate(shares))
