"""Positives by label within one set of embeddings."""

from typing import Literal

import torch
from torch import Tensor

from common.checks import check_embeddings, check_ids
from common.distributed import Exchange, global_mean
from common.errors import UserError
from common.losses import examples
from common.losses.registry import Example, Needs, loss
from common.losses.temperature import inverse
from common.scores import Scores


def _inside(n: int, seed: int) -> Example:
    example = examples.labelled(n, seed)
    return Example(example.embeddings, example.samples, {**example.shared, "positives": "in"})


@loss(examples.labelled, _inside, needs=Needs.KEYS)
def sup_con(
    embeddings: Tensor,
    labels: Tensor,
    *,
    temperature: float | Tensor,
    positives: Literal["out", "in"] = "out",
    exchange: Exchange = Exchange.GATHER,
) -> Tensor:
    """Draws together all embeddings of one label, against all others in the batch.

    With A(i) all indices but i and P(i) those of them with the label of i, for each anchor
    "out": log sum_{a in A(i)} exp(z_i z_a / t) - mean_{p in P(i)} z_i z_p / t,
    "in":  log sum_{a in A(i)} exp(z_i z_a / t) - log mean_{p in P(i)} exp(z_i z_p / t).

    Args:
        embeddings: (n, d), all views of all samples, normalized by the caller.
        labels: int (n,); views of one sample share their label.
        temperature: number or 0-d tensor (learnable).
        positives: where the sum over positives stands, outside the logarithm (the better one in the paper) or inside.
        exchange: which embeddings an anchor meets on several processes.

    Returns:
        The mean over the anchors of all processes that have a positive; 0 if none has. The authors' code multiplies by
        temperature / 0.07; this does not.

    Raises:
        UserError: as many labels as embeddings are needed; `positives` is neither "out" nor "in".

    Relations: with a label for each sample and two views it is `nt_xent`; `info_nce` with `ids` does the same between
    two sets.

    Source: Khosla et al. 2020 (SupCon), eq. 2 and 3.
    """
    check_embeddings(embeddings=embeddings)
    check_ids("labels", labels, len(embeddings))
    if positives not in ("out", "in"):
        raise UserError(f"positives '{positives}': expected 'out' or 'in'")
    scores = Scores(embeddings, embeddings, scale=inverse(temperature), exchange=exchange)
    others = scores.exclude(scores.own())
    if positives == "out":
        value, count = others.cross_entropy(labels, labels)
    else:
        count = others.positives(labels, labels).count
        among_positives = others.exclude(scores.pairwise(torch.ne, (labels,), (labels,))).logsumexp(dim=1)
        value = others.logsumexp(dim=1) - among_positives + count.clamp(min=1).to(scores.dtype).log()
    return global_mean(value, where=count > 0)
