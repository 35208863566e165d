"""Mixtures of embeddings that are positives or negatives of an anchor, and SupCon's loss with them (SupReMix)."""

from functools import partial
from typing import Literal, NamedTuple, Self

import torch
import torch.distributed as dist
from torch import Tensor

from common.checks import check_embeddings, check_ids
from common.distributed import Exchange, gather, global_mean, world_size
from common.losses.temperature import inverse
from common.scores import Scores

Weight = Literal["none", "linear", "square"]


class Mixtures(NamedTuple):
    """Of each of our n anchors up to p mixtures share * z[first] + (1 - share) * z[second] of rows of the batch."""

    first: Tensor
    """int64, shape (n, p)."""
    second: Tensor
    """int64, shape (n, p)."""
    share: Tensor
    """Of the first, in [0, 1], shape (n, p)."""
    there: Tensor
    """bool, shape (n, p): the others only fill the table."""

    def of(self, values: Tensor) -> Tensor:
        """The mixed values, (n, p), of what each anchor has for each row, (n, rows)."""
        share = self.share.to(values.dtype)
        return share * values.gather(1, self.first) + (1 - share) * values.gather(1, self.second)

    @classmethod
    def negatives(cls, labels: Tensor, own: slice, share: Tensor) -> Self:
        """Each anchor itself mixed with each row of another label ("mix-neg").

        Args:
            labels: of the whole batch, (rows,).
            own: which of them are our anchors.
            share: of the anchor in its mixture with each row, (n, rows).
        """
        rows = torch.arange(len(labels), device=labels.device)
        return cls(rows[own, None].expand_as(share), rows.expand_as(share), share, labels[own, None] != labels)

    @classmethod
    def positives(cls, labels: Tensor, own: slice, window: float) -> Self:
        """Each pair of rows whose labels lie on either side of the anchor's, mixed so that theirs is the anchor's.

        share = (y_k - y_i) / (y_k - y_j) for y_j < y_i < y_k, both less than `window` away ("mix-pos").

        Args:
            labels, own: as in `negatives`.
            window: in labels.
        """
        apart = labels - labels[own, None]
        below, above = (apart < 0) & (-apart < window), (apart > 0) & (apart < window)
        anchor, low = below.nonzero(as_tuple=True)
        pair, high = above[anchor].nonzero(as_tuple=True)
        anchor, low = anchor[pair], low[pair]
        counts = torch.bincount(anchor, minlength=len(apart))
        # The pairs of an anchor stand together: how far each is from its anchor's first is its column.
        column = torch.arange(len(anchor), device=labels.device) - (counts.cumsum(0) - counts)[anchor]
        table = labels.new_zeros(len(apart), int(counts.max()) if len(counts) else 0)
        first, second = (table.index_put((anchor, column), rows) for rows in (low, high))
        down, up = (apart.gather(1, rows).double() for rows in (first, second))
        there = torch.arange(table.shape[1], device=labels.device) < counts[:, None]
        return cls(first, second, torch.where(there, up / (up - down), 1.0), there)


def log_weight(ours: Tensor, theirs: Tensor, *, kind: Weight) -> Tensor:
    """log(|y - y'| + 1), or log((y - y')^2 + 1) for "square": 0 for equal labels ("distance magnifying")."""
    apart = ours - theirs
    return (apart.abs() if kind == "linear" else apart.square()).log1p()


def mixed_sup_con(
    embeddings: Tensor,
    labels: Tensor,
    *,
    temperature: float,
    negatives: Mixtures | None = None,
    positives: Mixtures | None = None,
    weight: Weight = "linear",
    released: bool = False,
) -> Tensor:
    """SupCon's L_out with mixtures, and with a weight for each candidate by how far its label is from the anchor's.

    For each anchor i: log sum over a of w_ia exp(z_i a / t) - mean over p in P_i of z_i p / t. The candidates a are all
    other rows and i's mixtures; P_i are the rows of i's label and its positive mixtures, whose weight is 1. Mixtures
    are constants: the gradient flows through the anchor alone. They are not normalized.

    Args:
        embeddings: (n, d), all views of all samples, normalized by the caller.
        labels: whole numbers along the range of what is told, such as years or intervals, int (n,).
        temperature: t.
        negatives, positives: of our anchors, in rows of the whole batch; None for none.
        weight: see `log_weight`, or "none" for 1.
        released: as the released code computes it, see `as_released`.

    Returns:
        The mean over the anchors of all processes that have a positive.

    Relations: without mixtures and weights it is `sup_con`.

    Source: Wu et al. 2023 (SupReMix), in the form of the released code.
    """
    check_embeddings(embeddings=embeddings)
    check_ids("labels", labels, len(embeddings))
    scores = Scores(embeddings, embeddings, scale=inverse(temperature), exchange=Exchange.GATHER)
    others, measured = scores.exclude(scores.own()), labels.to(scores.dtype)
    total, count = others.positives(labels, labels)
    weigh = partial(log_weight, kind=weight)
    if weight != "none":
        others = others.add(scores.pairwise(weigh, (measured,), (measured,)))
    candidates = others.logsumexp(dim=1)
    mixtures = [found for found in (negatives, positives) if found is not None]
    if mixtures:
        fixed = Scores(embeddings, embeddings.detach(), scale=inverse(temperature), exchange=Exchange.GATHER).matrix()
        every = gather(measured, scores.layout).expand_as(fixed)
        there = torch.cat([found.there for found in mixtures], dim=1)
        logits, about = (torch.cat([found.of(of) for found in mixtures], dim=1) for of in (fixed, every))
        if released:
            logits, about = as_released(logits, about, there, embeddings.sum(dim=1) / temperature, 1 / temperature)
        if positives is not None:
            ours = logits[:, -positives.there.shape[1] :] if positives.there.shape[1] else logits[:, :0]
            total = total + ours.masked_fill(~positives.there, 0.0).sum(dim=1)
            count = count + positives.there.sum(dim=1)
        weighed = logits if weight == "none" else logits + weigh(measured[:, None], about)
        weighed = weighed.masked_fill(~there, -torch.inf)
        # An anchor without a positive may have no candidate either; it does not count, and must have a gradient of 0.
        candidates = candidates.masked_fill(count == 0, 0.0)
        candidates = torch.cat([candidates[:, None], weighed], dim=1).logsumexp(dim=1)
    return global_mean(candidates - total / count.clamp(min=1), where=count > 0)


def as_released(logits: Tensor, labels: Tensor, there: Tensor, sums: Tensor, own: float) -> tuple[Tensor, Tensor]:
    """Logits and labels of mixtures, (n, p), as they enter the released loss.

    Rows and mixtures are shifted each by its own maximum before they stand in one sum, so that the logits of an
    anchor's mixtures rise until the largest is the anchor's product with itself. Vectors of -1, which fill the table of
    those that have less mixtures than others, take part in the maximum; where one is it, the mixtures may sink. And the
    labels are sorted apart from the mixtures, so that the k-th mixture of an anchor, in the order of the rows, has the
    k-th smallest label. That order is another on another number of processes.

    Args:
        logits, labels, there: of the mixtures, negatives before positives.
        sums: of the entries of each anchor, over the temperature, (n,).
        own: what the largest logit becomes.
    """
    count = there.sum(dim=1)
    most = count.max()
    if world_size() > 1:
        dist.all_reduce(most, op=dist.ReduceOp.MAX)
    filled = torch.where(count < most, -sums, -torch.inf)
    top = torch.cat([logits.masked_fill(~there, -torch.inf), filled[:, None]], dim=1).amax(dim=1, keepdim=True)
    ordered = labels.masked_fill(~there, torch.inf).sort(dim=1).values
    return logits + (own - top.detach()), ordered.gather(1, (there.cumsum(dim=1) - 1).clamp(min=0))
