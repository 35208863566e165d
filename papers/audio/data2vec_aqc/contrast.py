"""The parts of data2vec-aqc's contrast: spans to mask, a quantizer, clusters, and negatives that are damped."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.distributed import gather, shards, sum_over_processes
from common.random import uniform


def span_mask(ids: Tensor, frames: int, share: float, span: int, *key: int) -> Tensor:
    """Masks the same number of frames of every row, in spans.

    Spans are placed at random, over one another too, until so many frames are masked as share * frames / span spans
    cover in expectation; the last span is cut. fairseq draws the number of spans, and then unmasks frames at random
    until all rows have as many as the row with the fewest.

    Args:
        ids: global sample ids, shape (n,).
        frames: t of every row, longer than `span`.
        share: frames masked if no two spans met.
        span: frames of a span.
        key: what else the places depend on.

    Returns:
        bool of shape (n, t), the same number of True in every row.
    """
    count = round(frames * (1 - (1 - span / frames) ** (share * frames / span)))
    rank = uniform(ids, frames - span + 1, *key).argsort(1).argsort(1).float()
    # A frame is masked by the first of the spans that cover it.
    first = -F.max_pool1d(F.pad(-rank, (span - 1, span - 1), value=-math.inf), span, stride=1)
    order = first * frames + torch.arange(frames, device=ids.device)
    return torch.zeros_like(first, dtype=torch.bool).scatter_(1, order.topk(count, largest=False).indices, True)


class Quantized(NamedTuple):
    vectors: Tensor
    """Shape (n, m, d)."""
    diversity: Tensor
    """Share of the codes that are not used on average, in [0, 1): (codes - perplexity) / codes."""


class GumbelQuantizer(nn.Module):
    """Chooses one of `codes` vectors in each of `groups` groups, by a Gumbel softmax with hard forward values.

    Source: wav2vec 2.0 (Baevski et al. 2020, section 2), as in fairseq.

    Args:
        inputs: width of what is quantized.
        output: width d of what comes out; the groups divide it.
        codes: in a group.
        groups: whose choices are put side by side.
    """

    def __init__(self, inputs: int, output: int, codes: int = 320, groups: int = 2) -> None:
        super().__init__()
        self.codes, self.groups = codes, groups
        self.choose = nn.Linear(inputs, groups * codes)
        nn.init.normal_(self.choose.weight)
        nn.init.zeros_(self.choose.bias)
        self.book = nn.Parameter(torch.rand(groups, codes, output // groups))

    def forward(self, x: Tensor, temperature: float, noise: Tensor | None = None) -> Quantized:
        """Quantizes (n, m, inputs).

        Args:
            x: features.
            temperature: of the softmax that gradients flow through.
            noise: uniform numbers (n, m * groups * codes); None chooses without chance.
        """
        logits = self.choose(x).unflatten(2, (self.groups, self.codes))
        usage = logits.float().softmax(-1).flatten(0, 1)
        usage = sum_over_processes(usage.sum(0)) / sum_over_processes(usage.new_tensor(float(len(usage))))
        perplexity = (-(usage * (usage + 1e-7).log()).sum(-1)).exp().sum()
        if noise is not None:
            gumbel = -(-noise.clamp(min=1e-7).log()).log()
            logits = (logits + gumbel.view_as(logits)) / temperature
        soft = logits.softmax(-1)
        hard = F.one_hot(soft.argmax(-1), self.codes).to(soft)
        weights = hard if noise is None else hard + soft - soft.detach()
        vectors = torch.einsum("nmgc,gcd->nmgd", weights, self.book).flatten(2)
        total = self.groups * self.codes
        return Quantized(vectors, (total - perplexity) / total)


@torch.no_grad()
def cosine_clusters(rows: Tensor, count: int, *key: int, iterations: int = 20) -> Tensor:
    """k-means by the cosine, started from rows drawn at random.

    Args:
        rows: shape (n, d).
        count: clusters, at most n.
        key: what the start depends on.
        iterations: at most so many; it stops when no row changes its cluster.

    Returns:
        The cluster of each row, int64 of shape (n,).
    """
    rows = F.normalize(rows.float(), dim=1)
    start = uniform(torch.arange(len(rows), device=rows.device), 1, *key).flatten().argsort()[:count]
    centres, labels = rows[start], None
    for _ in range(iterations):
        nearest = (rows @ centres.T).argmax(1)
        if labels is not None and torch.equal(nearest, labels):
            break
        labels = nearest
        sums = torch.zeros_like(centres).index_add_(0, labels, rows)
        # A cluster without members stays where it is.
        centres = torch.where(sums.any(1, keepdim=True), F.normalize(sums, dim=1), centres)
    return labels


def clusters_of_all(clean: Tensor, augmented: Tensor, count: int, *key: int) -> tuple[Tensor, Tensor]:
    """The clusters of our rows, found among those of both views and all processes.

    Args:
        clean, augmented: quantized vectors of the two views, both (n, m, d).
        count: clusters.
        key: as in `cosine_clusters`.

    Returns:
        Two int64 tensors of shape (n, m).
    """
    n, m, _ = clean.shape
    layout = shards(n, clean.device)
    both = torch.cat([gather(side.detach(), layout).flatten(0, 1) for side in (clean, augmented)])
    labels = cosine_clusters(both, count, *key).view(2, layout.total, m)
    return labels[0, layout.own], labels[1, layout.own]


def draw_negatives(ids: Tensor, frames: int, count: int, *key: int) -> Tensor:
    """For each of the masked frames of a row, `count` others of that row, drawn with replacement: (n, m, count)."""
    other = (uniform(ids, frames * count, *key) * (frames - 1)).long().view(len(ids), frames, count)
    # Counted without the frame itself.
    return other + (other >= torch.arange(frames, device=ids.device)[:, None])


def damped_cross_entropy(
    query: Tensor,
    key: Tensor,
    negatives: Tensor,
    clusters: Tensor | None = None,
    *,
    temperature: float = 0.1,
    scale: float = 0.3,
) -> Tensor:
    """Makes each query find its key among some of its row's keys; those of the key's cluster count less.

    -log[ exp(s_ii) / (exp(s_ii) + sum_j exp(w_ij s_ij)) ], s the cosine over the temperature, w_ij = scale where j is
    in the cluster of i, else 1. A negative equal to the positive is no candidate. As w multiplies the logit, it lowers
    similar negatives and raises dissimilar ones.

    Args:
        query: (n, m, d).
        key: (n, m, d); key i of a row is the positive of query i.
        negatives: places of other keys in the same row, int64 (n, m, k).
        clusters: of the keys, (n, m); None damps nothing.
        temperature: divides the cosines.
        scale: of the damped logits.

    Returns:
        The loss of each query, (n, m).

    Source: Lodagala et al. 2023, section 2.3; before it ccc-wav2vec 2.0 (Lodagala et al. 2022).
    """
    # All cosines of a row in one product; only equal vectors have equal numbers.
    similarity = F.normalize(query, dim=-1) @ F.normalize(key, dim=-1).transpose(1, 2) / temperature
    alike = key.detach().flatten(0, 1).unique(dim=0, return_inverse=True)[1].view(key.shape[:2])
    row = torch.arange(len(key), device=key.device)[:, None, None]
    positive, logits = similarity.diagonal(dim1=1, dim2=2)[..., None], similarity.gather(2, negatives)
    if clusters is not None:
        same = clusters[row, negatives] == clusters[:, :, None]
        logits = torch.where(same, scale * logits, logits)
    logits = logits.masked_fill(alike[row, negatives] == alike[:, :, None], -math.inf)
    return torch.cat([positive, logits], dim=2).logsumexp(2) - positive[..., 0]
