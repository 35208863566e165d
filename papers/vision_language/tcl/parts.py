"""The contrast between a picture or a text and its parts, the local mutual information of TCL."""

import torch
from torch import Tensor
from torch.nn import functional as F

from common.checks import check_ids
from common.distributed import Exchange
from common.errors import UserError
from common.losses.temperature import inverse
from common.scores import Scores


def parts_of_whole(
    whole: Tensor,
    parts: Tensor,
    there: Tensor,
    *,
    ids: Tensor,
    part_ids: Tensor,
    own: slice,
    temperature: float | Tensor,
) -> Tensor:
    """How well each whole knows its own parts from those of others, the mean over its parts, shape (m,).

    Of a part p of the whole w: -log exp(p.w / T) / (exp(p.w / T) + the sum over others' parts q of exp(q.w / T)). The
    other parts of w are on neither side. Source: TCL (Yang et al. 2022), `in_batch_g2l_loss` of the released code.

    Args:
        whole: unit vectors (m, e).
        parts: those of all n samples that it meets, ours among them, (n, k, e).
        there: which of them are no padding, bool (n, k); of each of ours at least one.
        ids, part_ids: of our wholes and of the samples, int64 (m,) and (n,); samples with equal ids are not others.
        own: which of the samples are ours.
        temperature: T.

    Raises:
        UserError: shapes or ids that do not fit, or a temperature that is not above 0.
    """
    if parts.ndim != 3 or there.shape != parts.shape[:2] or len(parts[own]) != len(whole):
        shapes = f"{tuple(whole.shape)}, {tuple(parts.shape)} and {tuple(there.shape)}"
        raise UserError(f"whole, parts and there are {shapes}; expected (m, e), (n, k, e) and (n, k), m of the n ours")
    check_ids("part_ids", part_ids, len(parts))
    scale, count = inverse(temperature), parts.shape[1]
    scores = Scores(whole, parts.flatten(0, 1), scale=scale, exchange=Exchange.LOCAL)
    keys = part_ids.repeat_interleave(count), there.flatten()
    left_out = scores.pairwise(lambda row, key, real: (row == key) | ~real, (ids,), keys)
    others = scores.exclude(left_out).logsumexp(dim=1)
    mine = torch.einsum("me,mke->mk", whole.to(scores.dtype), parts[own].to(scores.dtype)) * scale
    losses = torch.logaddexp(others[:, None], mine) - mine
    return (losses * there[own]).sum(dim=1) / there[own].sum(dim=1)


def pooled(patches: Tensor, regions: int) -> Tensor:
    """The mean of each of regions x regions windows of a square of patches, (n, p, e) to (n, regions^2, e).

    Raises:
        UserError: the patches are no square, or its side is no multiple of the regions.
    """
    side = round(patches.shape[1] ** 0.5)
    if side**2 != patches.shape[1] or side % regions:
        raise UserError(f"model.regions is {regions}; it must divide the side of the {patches.shape[1]} patches")
    grid = patches.transpose(1, 2).unflatten(2, (side, side))
    return F.avg_pool2d(grid, side // regions).flatten(2).transpose(1, 2)
