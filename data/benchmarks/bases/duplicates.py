"""Groups of things that are nearly the same: reprints among texts, relatives among proteins."""

from collections.abc import Iterable, Sequence

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components


def word_runs(text: str, length: int = 5) -> set[tuple[str, ...]]:
    """Every run of `length` words of the lower-cased text; of a shorter text, all its words as one run."""
    words = text.lower().split()
    return {tuple(words[i : i + length]) for i in range(max(1, len(words) - length + 1))}


def alike(sets: Sequence[Iterable], least: float) -> np.ndarray:
    """The group of each set, so that sets of different groups overlap by less than `least`.

    The overlap is Jaccard's: shared elements over all elements of the two. Groups are chained: two sets that overlap
    little are in one group if a third overlaps with both.

    Args:
        sets: n sets; what they hold only needs to be hashable.
        least: overlap from which on two sets are alike, in (0, 1].

    Returns:
        int32 of shape (n,), numbered from 0.
    """
    column: dict = {}
    columns, ends = [], [0]
    for elements in sets:
        columns += [column.setdefault(element, len(column)) for element in elements]
        ends.append(len(columns))
    held = csr_matrix((np.ones(len(columns), np.int32), columns, ends), shape=(len(ends) - 1, len(column)))
    # A sparse product counts only pairs that share anything, which are few.
    shared = (held @ held.T).tocoo()
    size = np.diff(held.indptr)
    near = shared.data >= least * (size[shared.row] + size[shared.col] - shared.data)
    links = csr_matrix((near[near], (shared.row[near], shared.col[near])), shape=shared.shape)
    return connected_components(links, directed=False)[1]


def first_of_each(groups: np.ndarray) -> list[int]:
    """The position of the first member of each group, in order."""
    return sorted(np.unique(groups, return_index=True)[1].tolist())
