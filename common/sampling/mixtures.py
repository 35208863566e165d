"""Pairs in random order, and positives made of two pairs each."""

from collections.abc import Sequence

from torch import Tensor

from common.random import uniform

Pair = tuple[str, str]


def swapped_pairs(first: Sequence[str], second: Sequence[str], ids: Tensor, *key: int) -> tuple[list[str], list[str]]:
    """Pairs of texts, half of them in the other order.

    Args:
        first, second: the sides of n pairs.
        ids: global sample id of each, shape (n,).
        key: what else the order depends on, such as seed and step.
    """
    turns = (uniform(ids, 1, *key)[:, 0] < 0.5).tolist()
    pairs = [(b, a) if turn else (a, b) for a, b, turn in zip(first, second, turns, strict=True)]
    return [a for a, _ in pairs], [b for _, b in pairs]


def mixed_pairs(first: Sequence[Pair], second: Sequence[Pair], ids: Tensor, *key: int) -> tuple[list[Pair], list[Pair]]:
    """Joins translation pairs two by two: both sentences of a side in random order, the sides in random order.

    Source: the mixup contrast of InfoXLM (Chi et al. 2021), whose released code draws one of eight modes.

    Args:
        first, second: n pairs of a sentence and its translation each, of the same two languages row by row.
        ids: global sample id of each joint pair, shape (n,).
        key: what else the order depends on, such as seed and step.

    Returns:
        The two sentences of each joint query, and those of its translation.
    """
    left: list[Pair] = []
    right: list[Pair] = []
    draws = (uniform(ids, 3, *key) < 0.5).tolist()
    for (source, target), (more_source, more_target), (turn, turn_too, swap) in zip(first, second, draws, strict=True):
        one = (more_source, source) if turn else (source, more_source)
        other = (more_target, target) if turn_too else (target, more_target)
        left.append(other if swap else one)
        right.append(one if swap else other)
    return left, right
