"""Several views of each sample, contrasted pair by pair."""

from itertools import combinations, product
from typing import Literal

import torch
from torch import Tensor

from common.distributed import Exchange
from common.errors import UserError
from common.losses import examples
from common.losses.info_nce import symmetric_info_nce
from common.losses.registry import Example, Needs, loss


def _full(n: int, seed: int) -> Example:
    views = examples.unit(examples.generator(seed), n, 3)
    return Example({"views": views}, shared={"temperature": examples.number(0.3)})


def _core(n: int, seed: int) -> Example:
    example = _full(n, seed)
    return Example(example.embeddings, shared={**example.shared, "graph": "core"})


@loss(_full, _core, needs=Needs.KEYS)
def multi_view_info_nce(
    views: Tensor,
    *,
    temperature: float | Tensor,
    graph: Literal["full", "core"] = "full",
    exchange: Exchange = Exchange.GATHER,
) -> Tensor:
    """Makes each view of a sample find each of its other views among that view of all samples, in both directions.

    The sum over the pairs of views (a, b) of the graph of L(a, b) + L(b, a), with L as in `info_nce`.

    Args:
        views: (n, v, d), normalized by the caller: row i holds the v views of sample i.
        temperature: number or 0-d tensor (learnable).
        graph: "full", all pairs of views, or "core", the first view with each of the others.
        exchange: which samples a view meets on several processes.

    Returns:
        The mean over the samples of all processes, summed over pairs and directions.

    Raises:
        UserError: fewer than two views, or another graph.

    Relations: with two views twice `symmetric_info_nce`. The negatives are of one view, where `nt_xent` and `sup_con`
    take them from all.

    Source: Tian et al. 2020 (CMC), section 3.3; there each L has its negatives from a memory bank.
    """
    if views.ndim != 3 or views.shape[1] < 2:
        raise UserError(f"views {tuple(views.shape)}: expected (n, v, d), v at least 2")
    if graph not in ("full", "core"):
        raise UserError(f"graph '{graph}': expected 'full' or 'core'")
    pairs = [pair for pair in combinations(views.unbind(dim=1), 2)]
    if graph == "core":
        pairs = pairs[: views.shape[1] - 1]
    terms = [symmetric_info_nce(*pair, temperature=temperature, directions="sum", exchange=exchange) for pair in pairs]
    return torch.stack(terms).sum()


def _sides(n: int, seed: int) -> Example:
    draw = examples.generator(seed)
    embeddings = {"first": examples.unit(draw, n, 3), "second": examples.unit(draw, n, 2)}
    return Example(embeddings, shared={"temperature": examples.number(0.3)})


def _smoothed(n: int, seed: int) -> Example:
    example = _sides(n, seed)
    return Example(example.embeddings, shared={**example.shared, "label_smoothing": 0.1})


@loss(_sides, _smoothed, needs=Needs.KEYS)
def cross_view_info_nce(
    first: Tensor,
    second: Tensor,
    *,
    temperature: float | Tensor,
    label_smoothing: float = 0.0,
    exchange: Exchange = Exchange.GATHER,
) -> Tensor:
    """Makes each view of a sample on one side find each of its views on the other, such as crops and sentences.

    The mean over the pairs of a view on the first side and one on the second of `symmetric_info_nce`. Views of one side
    are never compared with each other.

    Args:
        first, second: (n, v, d) and (n, w, d), normalized by the caller: row i holds the views of sample i.
        temperature, label_smoothing, exchange: as in `info_nce`.

    Returns:
        The mean over the samples of all processes, over pairs and directions.

    Raises:
        UserError: a side that is not of three dimensions, or has no view.

    Relations: with a view on each side `symmetric_info_nce`; `multi_view_info_nce` compares all views with each other.

    Source: Fini et al. 2023 (CLIP rocket) and Kim et al. 2025 (COSMOS), the released losses.
    """
    for name, side in (("first", first), ("second", second)):
        if side.ndim != 3 or not side.shape[1]:
            raise UserError(f"{name} {tuple(side.shape)}: expected (n, v, d), v at least 1")
    terms = [
        symmetric_info_nce(a, b, temperature=temperature, label_smoothing=label_smoothing, exchange=exchange)
        for a, b in product(first.unbind(dim=1), second.unbind(dim=1))
    ]
    return torch.stack(terms).mean()
