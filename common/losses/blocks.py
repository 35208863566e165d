"""An anchor, a block of samples like it, and blocks of other samples: contrast of the means of blocks."""

import math
from typing import Literal

import torch
from torch import Tensor

from common.checks import check_embeddings, check_floating
from common.distributed import Exchange, global_mean
from common.errors import UserError
from common.losses import examples
from common.losses.precision import same_precision
from common.losses.registry import Example, Needs, loss
from common.scores import Scores


def _pairs(n: int, seed: int) -> Example:
    draw = examples.generator(seed)
    return Example({"anchor": 2 * examples.unit(draw, n), "positives": 2 * examples.unit(draw, n, 1)})


def _blocks(n: int, seed: int) -> Example:
    draw = examples.generator(seed)
    embeddings = {"anchor": 2 * examples.unit(draw, n), "positives": 2 * examples.unit(draw, n, 3)}
    return Example(embeddings, shared={"negatives": 3})


def _hinge(n: int, seed: int) -> Example:
    return Example(_blocks(n, seed).embeddings, shared={"negatives": 2, "form": "hinge"})


@loss(_pairs, _blocks, _hinge, needs=Needs.ROWS)
def block_contrast(
    anchor: Tensor,
    positives: Tensor,
    *,
    negatives: int = 1,
    form: Literal["logistic", "hinge"] = "logistic",
    exchange: Exchange = Exchange.GATHER,
) -> Tensor:
    """Makes an anchor's product with the mean of its own block exceed those with the means of other blocks.

    With m_i the mean of the block of sample i and v_ik = x_i (m_i - m_(i+k)), k = 1 to K and i + k counted around the
    batch, mean_i l(v_i1, ..., v_iK), where
    "logistic": l(v) = log2(1 + sum_k exp(-v_k)),
    "hinge": l(v) = max(0, 1 + max_k(-v_k)).
    Both are 1 where one negative is no farther than the positive, which bounds on an error rate rest on.

    Args:
        anchor: (n, d), not normalized: neither has the loss a temperature.
        positives: (n, b, d), b samples like each anchor; their mean is the block of that anchor.
        negatives: K, how many other blocks an anchor meets, those of the samples behind it; all where there are fewer.
            They are random if the samples stand in a random order, and of the anchor's own class as often as by chance.
        form: of l.
        exchange: GATHER or LOCAL, which blocks an anchor meets on several processes.

    Returns:
        The mean over the anchors of all processes.

    Raises:
        UserError: embeddings of other shapes or types, no negative, or an unknown form.

    Relations: with all others for negatives the logistic form is `info_nce` of anchors and blocks at temperature 1, in
    bits. Memory is linear in n K d.

    Source: Arora et al. 2019, section 2 for b = 1, section 6.1 for K > 1, section 6.3 for blocks.
    """
    if positives.ndim != 3 or not positives.shape[1]:
        raise UserError(f"positives {tuple(positives.shape)}: expected (n, b, d), b at least 1")
    check_floating(anchor=anchor, positives=positives)
    anchor, blocks = same_precision(anchor, positives)
    blocks = blocks.mean(dim=1)
    check_embeddings(same_rows=True, anchor=anchor, positives=blocks)
    if negatives < 1:
        raise UserError(f"negatives is {negatives}; it must be at least 1")
    scores = Scores(anchor, blocks, exchange=exchange)
    total, start = max(1, scores.layout.total), scores.layout.start
    met = torch.arange(min(negatives, total - 1) + 1, device=anchor.device)
    row = torch.arange(start, start + len(anchor), device=anchor.device)
    found = scores.pairs((row[:, None] + met) % total)
    own = found[:, :1]
    gaps = found[:, 1:] - own
    if form == "logistic":
        values = torch.cat([torch.zeros_like(own), gaps], dim=1).logsumexp(dim=1) / math.log(2)
    elif form == "hinge":
        values = 1 + torch.cat([torch.full_like(own, -1.0), gaps], dim=1).amax(dim=1)
    else:
        raise UserError(f"form '{form}': expected 'logistic' or 'hinge'")
    return global_mean(values)
