"""Positives of another class: each anchor is drawn to all samples of a class that goes with it, inside its own gate."""

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from common.checks import check_embeddings, check_ids
from common.distributed import Exchange, gather, shards, sum_over_processes
from common.losses import examples
from common.losses.precision import same_precision
from common.losses.registry import Example, Needs, loss
from common.losses.temperature import inverse
from common.tiled.tiles import current, full_precision, slices

_EPS = 1e-12
"""The least length of a vector that is divided by it, as in `F.normalize`."""
_OUT = -1e30
"""A logit that is left out of a sum: a row of these alone has a gradient of 0, where -inf would give NaN."""


def _subspace(n: int, seed: int) -> Example:
    """With a sample whose partner class is its own, and one whose partner class is not there."""
    draw = examples.generator(seed + 3)
    example = examples.labelled(n, seed)
    partners = torch.randint(3, (n,), generator=draw)
    partners[:2] = torch.tensor([7, 9])
    gates = torch.rand(n, examples.WIDTH, generator=draw, dtype=torch.float64)
    return Example({**example.embeddings, "gates": gates}, {**example.samples, "partners": partners}, example.shared)


def _scaled(n: int, seed: int) -> Example:
    example = _subspace(n, seed)
    return Example(example.embeddings, example.samples, {**example.shared, "renormalize": False})


def _ungated(n: int, seed: int) -> Example:
    example = _subspace(n, seed)
    return Example({"embeddings": example.embeddings["embeddings"]}, example.samples, example.shared)


@loss(_subspace, _scaled, _ungated, needs=Needs.ROWS)
def class_pairs(
    embeddings: Tensor,
    labels: Tensor,
    partners: Tensor,
    *,
    temperature: float | Tensor,
    gates: Tensor | None = None,
    renormalize: bool = True,
    exchange: Exchange = Exchange.GATHER,
) -> Tensor:
    """Draws each sample to all samples of its partner class, against those of neither its own nor its partner class.

    With P(i) the samples whose label is the partner of i, N(i) those of neither that label nor the one of i, and g the
    gates, the mean over all pairs (i, p in P(i)) of
    log[ exp(s_ip / t) + sum_{n in N(i)} exp(s_in / t) ] - s_ip / t, where
    s_ij = cos(g_i * z_i, g_i * z_j), or without `renormalize` <g_i * z_i, g_i * z_j>: on both is the anchor's gate.

    Args:
        embeddings: (n, d), normalized by the caller.
        labels: int (n,).
        partners: int (n,), the partner class of each sample. Where it is its own label, the sample itself is among its
            positives.
        temperature: number or 0-d tensor (learnable).
        gates: (n, d), how open each dimension is for the pair of classes of that sample; None for all ones.
        renormalize: gated vectors are brought to length 1 again. Without it the gate also scales the logits.
        exchange: GATHER or LOCAL, which samples an anchor meets on several processes.

    Returns:
        The mean over the positive pairs of all processes, so that an anchor with many weighs more; 0 if there is none.

    Raises:
        UserError: embeddings and gates of other shapes or types, or labels and partners of other shapes than (n,).

    Relations: without gates and with each label as its own partner it is near `sup_con`, whose denominator also holds
    the other positives.

    Cosines inside a subspace of each anchor's own are no matrix of inner products, and so no `Scores`; strips of it are
    computed once more in the backward pass instead.

    Source: Wu et al. 2024 (Hydra, SimLAP) and the released `disparate_loss` and `multipos_ce_loss`.
    """
    check_embeddings(same_rows=True, **{"embeddings": embeddings} | ({} if gates is None else {"gates": gates}))
    rows = len(embeddings)
    check_ids("labels", labels, rows)
    check_ids("partners", partners, rows)
    layout = shards(rows, embeddings.device, exchange)
    z, opening = same_precision(embeddings, torch.ones_like(embeddings) if gates is None else gates)
    keys, key_labels = gather(z, layout), gather(labels, layout)
    scale, weight = inverse(temperature), opening.square()

    def strip(z: Tensor, weight: Tensor, keys: Tensor, own: Tensor, partner: Tensor) -> Tensor:
        """The sum over the positive pairs of some of the anchors."""
        logits = (weight * z) @ keys.T
        if renormalize and gates is not None:
            squares = (weight * z * z).sum(dim=1, keepdim=True), weight @ keys.square().T
            logits = logits * squares[0].clamp(min=_EPS**2).rsqrt() * squares[1].clamp(min=_EPS**2).rsqrt()
        logits = logits * scale
        positive = partner[:, None] == key_labels
        negative = ~positive & (own[:, None] != key_labels)
        against = logits.masked_fill(~negative, _OUT).logsumexp(dim=1, keepdim=True)
        return -F.logsigmoid(logits - against).masked_fill(~positive, 0.0).sum()

    height = max(1, current(keys.device).rows)
    if rows * len(keys) <= current(keys.device).whole_entries:
        height = max(1, rows)
    totals, counts = [], []
    with full_precision(embeddings.device):
        for part in slices(0, rows, height) or [slice(0, 0)]:
            given = z[part], weight[part], keys, labels[part], partners[part]
            totals.append(strip(*given) if height >= rows else checkpoint(strip, *given, use_reentrant=False))
            counts.append((partners[part, None] == key_labels).sum())
    total, count = torch.stack(totals).sum(), torch.stack(counts).sum()
    if exchange != Exchange.LOCAL:
        total, count = sum_over_processes(total), sum_over_processes(count)
    return total / count.clamp(min=1)
