"""data2vec-aqc's contrast: negatives of the same row, and damped where they are of the positive's cluster."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from common.random import uniform


def draw_negatives(ids: Tensor, frames: int, count: int, *key: int) -> Tensor:
    """For each of the masked frames of a row, `count` others of that row, drawn with replacement: (n, m, count)."""
    other = (uniform(ids, frames * count, *key) * (frames - 1)).long().view(len(ids), frames, count)
    # Counted without the frame itself.
    return other + (other >= torch.arange(frames, device=ids.device)[:, None])


def damped_cross_entropy(
    query: Tensor,
    key: Tensor,
    codes: Tensor,
    negatives: Tensor,
    clusters: Tensor | None = None,
    *,
    temperature: float = 0.1,
    scale: float = 0.3,
) -> Tensor:
    """Makes each query find its key among some of its row's keys; those of the key's cluster count less.

    -log[ exp(s_ii) / (exp(s_ii) + sum_j exp(w_ij s_ij)) ], s the cosine over the temperature, w_ij = scale where j is
    in the cluster of i, else 1. A negative of the positive's codes is no candidate. As w multiplies the logit, it
    lowers similar negatives and raises dissimilar ones.

    Args:
        query: (n, m, d).
        key: (n, m, d); key i of a row is the positive of query i.
        codes: what each key was quantized to, (n, m, groups). They are compared, not the keys: rows of a product need
            not be equal to the bit where those of its factor are.
        negatives: places of other keys in the same row, int64 (n, m, k).
        clusters: of the keys, (n, m); None damps nothing.
        temperature: divides the cosines.
        scale: of the damped logits.

    Returns:
        The loss of each query, (n, m).

    Source: Lodagala et al. 2023, section 2.3; before it ccc-wav2vec 2.0 (Lodagala et al. 2022).
    """
    # All cosines of a row in one product.
    similarity = F.normalize(query, dim=-1) @ F.normalize(key, dim=-1).transpose(1, 2) / temperature
    row = torch.arange(len(key), device=key.device)[:, None, None]
    positive, logits = similarity.diagonal(dim1=1, dim2=2)[..., None], similarity.gather(2, negatives)
    if clusters is not None:
        same = clusters[row, negatives] == clusters[:, :, None]
        logits = torch.where(same, scale * logits, logits)
    logits = logits.masked_fill((codes[row, negatives] == codes[:, :, None]).all(3), -math.inf)
    return torch.cat([positive, logits], dim=2).logsumexp(2) - positive[..., 0]
