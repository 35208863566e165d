"""NT-Xent whose anchors are weighted by how hard they still find their positive."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from common.distributed import Exchange, global_mean
from common.errors import UserError
from common.losses import examples
from common.losses.nt_xent import odds_against
from common.losses.registry import Example, Needs, loss

_EASY = -40.0
"""Log-odds from which -log P / (1 - P) is 1 to the last bit, in float64 too."""


def _anchor(n: int, seed: int) -> Example:
    example = examples.two_views(n, seed)
    return Example(example.embeddings, shared=example.shared, gradcheck=False)


def _batch(n: int, seed: int) -> Example:
    example = _anchor(n, seed)
    return Example(example.embeddings, shared={**example.shared, "weights": "batch"}, gradcheck=False)


@loss(_anchor, _batch, needs=Needs.KEYS)
def reweighted_nt_xent(
    view_a: Tensor,
    view_b: Tensor,
    *,
    temperature: float | Tensor,
    weights: Literal["anchor", "batch"] = "anchor",
    exchange: Exchange = Exchange.GATHER,
) -> Tensor:
    """NT-Xent divided by 1 - P, the factor by which its gradient fades where the positive is found already.

    With P_i the probability in `nt_xent` of anchor i's positive, mean_i -V_i log P_i. V is a constant for the gradient.

    Args:
        view_a, view_b: (n, d), normalized by the caller; rows i are views of one sample.
        temperature: number or 0-d tensor (learnable).
        weights: "anchor", V_i = 1 / (1 - P_i). "batch", V = 1 / mean_i (1 - P_i) for all anchors alike: the same total
            pull on positives, no anchor weighted against another.
        exchange: which views an anchor meets on several processes.

    Returns:
        The mean over the 2n anchors of all processes; 0 for a single pair, which has no negatives. With "anchor" a
        term is at least 1 and comes near 1, not 0, as its positive gets easy.

    Raises:
        UserError: views of different shapes, other weights, a temperature that is not above 0.

    Relations: with "anchor" its gradient is that of `decoupled_nt_xent`, with "batch" a multiple of that of `nt_xent`.

    Source: Huang et al. 2023 (MACL), as in the released macl.py; "batch" is a control of ours.
    """
    if weights not in ("anchor", "batch"):
        raise UserError(f"weights '{weights}': expected 'anchor' or 'batch'")
    odds = odds_against(view_a, view_b, temperature=temperature, exchange=exchange)
    # A single pair has no negatives, and so no term.
    some = ~odds.detach().isneginf()
    odds = odds.masked_fill(~some, 0.0)
    if weights == "batch":
        faded = global_mean(odds.detach().sigmoid(), some)
        return global_mean(F.softplus(odds), some) / faded.clamp(min=torch.finfo(faded.dtype).tiny)
    # The slope of softplus is 1 - P, so that of a term is 1: written down as such, an underflow of 1 - P costs nothing.
    bounded = odds.detach().clamp(min=_EASY)
    value = F.softplus(bounded) * (1 + torch.exp(-bounded))
    return global_mean(value + (odds - odds.detach()), some)
