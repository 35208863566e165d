"""Triplet loss on a labelled batch, with the triplets mined in the batch."""

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from common.checks import check_embeddings, check_ids, check_number
from common.distributed import Exchange, gather, global_mean, shards
from common.errors import UserError
from common.losses import examples
from common.losses.precision import at_least_float32, centred
from common.losses.registry import Example, Needs, loss
from common.scores import Scores
from common.tiled.tiles import full_precision, slices

_ROWS = 128  # anchors mined at a time in the semi-hard search


def _pairs_of_classes(n: int, seed: int) -> Example:
    """Classes of four, so that the number of pairs grows with the batch; one sample stands alone."""
    draw = examples.generator(seed)
    labels = torch.arange(n) % max(2, n // 4)
    labels[0] = -1
    return Example({"embeddings": examples.unit(draw, n)}, {"labels": labels}, {"margin": 0.5})


def _semi_hard(n: int, seed: int) -> Example:
    example = _pairs_of_classes(n, seed)
    return Example(example.embeddings, example.samples, {"margin": 0.5, "mining": "semi_hard", "squared": True})


def _soft(n: int, seed: int) -> Example:
    example = _pairs_of_classes(n, seed)
    return Example(example.embeddings, example.samples, {"margin": None})


class Triplets(NamedTuple):
    """Anchors as positions among our rows, positives and negatives as positions in the whole batch; all (k,)."""

    anchor: Tensor
    positive: Tensor
    negative: Tensor


@loss(_pairs_of_classes, _soft, _semi_hard, needs=Needs.ROWS)
def triplet(
    embeddings: Tensor,
    labels: Tensor,
    *,
    margin: float | None,
    mining: Literal["batch_hard", "semi_hard"] = "batch_hard",
    squared: bool = False,
    exchange: Exchange = Exchange.GATHER,
) -> Tensor:
    """Puts an anchor nearer to its class than to any other, by a margin.

    mean over triplets (a, p, n) of [ d(a, p) - d(a, n) + m ]_+, d the Euclidean distance; softplus(d(a, p) - d(a, n))
    if the margin is None. Which triplets:

    * batch_hard: one for each anchor, its farthest positive and its nearest negative.
    * semi_hard: one for each positive pair: the nearest negative that is farther than the positive, or, where all are
      nearer, the farthest one.

    Args:
        embeddings: (n, d), normalized or not.
        labels: int (n,). An anchor without positive or without negative makes no triplet.
        margin: in units of d, at least 0, or None for the soft margin.
        mining: "batch_hard" or "semi_hard".
        squared: d is the squared distance, as in FaceNet.
        exchange: which embeddings an anchor meets on several processes; not RING.

    Returns:
        The mean over the triplets of all processes, the ones at 0 included; 0 where there is none.

    Raises:
        UserError: an unknown way of mining, a margin below 0, or labels that do not fit the embeddings.

    Relations: the soft margin with one negative is the cross-entropy of -d; `pairwise_hinge` is batch_hard for pairs of
    two modalities. Memory is linear in the number of triplets.

    Source: Schroff et al. 2015 (FaceNet), section 3; Hermans et al. 2017 (batch hard and the soft margin), section 2.
    """
    check_number("margin", margin, least=0)
    check_embeddings(embeddings=embeddings)
    check_ids("labels", labels, len(embeddings))
    layout = shards(len(embeddings), embeddings.device, exchange)
    embeddings = centred(at_least_float32(embeddings), layout.total, exchange)
    everyone, all_labels = gather(embeddings, layout), gather(labels, layout)
    if mining == "batch_hard":
        found = _batch_hard(embeddings.detach(), labels, exchange)
    elif mining == "semi_hard":
        found = _semi_hard_triplets(embeddings.detach(), labels, everyone.detach(), all_labels, layout.start)
    else:
        raise UserError(f"triplet: mining '{mining}': expected 'batch_hard' or 'semi_hard'")
    anchor = embeddings[found.anchor]
    pull = _distance(anchor - everyone[found.positive], squared)
    difference = pull - _distance(anchor - everyone[found.negative], squared)
    cost = F.softplus(difference) if margin is None else torch.relu(difference + margin)
    # The mask takes all; it is there because a plain mean over no triplet at all would be NaN.
    return global_mean(cost, where=torch.ones_like(cost, dtype=torch.bool))


def _distance(difference: Tensor, squared: bool) -> Tensor:
    return difference.square().sum(dim=1) if squared else torch.linalg.vector_norm(difference, dim=1)


@torch.no_grad()
def _batch_hard(embeddings: Tensor, labels: Tensor, exchange: Exchange) -> Triplets:
    # For one anchor, the order of -d^2 is that of 2 <a, x> - |x|^2, an inner product of longer vectors.
    one = torch.ones_like(embeddings[:, :1])
    key = torch.cat([embeddings, -embeddings.square().sum(dim=1, keepdim=True)], dim=1)
    near = Scores(torch.cat([2 * embeddings, one], dim=1), key, exchange=exchange)
    far = Scores(torch.cat([-2 * embeddings, -one], dim=1), key, exchange=exchange)
    closeness, negative = near.exclude(near.equal(labels, labels)).topk(1)
    remoteness, positive = far.exclude(far.own()).exclude(far.pairwise(torch.ne, (labels,), (labels,))).topk(1)
    valid = (closeness.isfinite() & remoteness.isfinite()).squeeze(1)
    return Triplets(valid.nonzero().squeeze(1), positive[valid, 0], negative[valid, 0])


@torch.no_grad()
def _semi_hard_triplets(
    embeddings: Tensor, labels: Tensor, everyone: Tensor, all_labels: Tensor, start: int
) -> Triplets:
    none = torch.zeros(0, dtype=torch.int64, device=labels.device)
    parts = [(none, none, none)]  # of a process without rows
    for rows in slices(0, len(embeddings), _ROWS):
        with full_precision(embeddings.device):
            distance = torch.cdist(embeddings[rows], everyone)
        same = labels[rows, None] == all_labels
        itself = torch.arange(start + rows.start, start + rows.stop, device=same.device)
        pairs = same.clone()
        pairs[torch.arange(len(pairs)), itself] = False
        anchor, positive = (pairs & ~same.all(dim=1, keepdim=True)).nonzero(as_tuple=True)
        ordered, order = distance.masked_fill(same, torch.inf).sort(dim=1)
        # How many negatives of the anchor are no farther than the positive; the next one, or the last one, is ours.
        nearer = torch.searchsorted(ordered, distance.masked_fill(~pairs, 0.0), right=True)[anchor, positive]
        last = (~same).sum(dim=1)[anchor] - 1
        parts.append((anchor + rows.start, positive, order[anchor, torch.minimum(nearer, last)]))
    return Triplets(*(torch.cat(column) for column in zip(*parts, strict=True)))
