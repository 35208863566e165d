"""Word alignment against links that people drew."""

from collections.abc import Sequence

import torch
from torch import Tensor

from common.benchmark import Metrics
from common.errors import UserError
from common.evaluation.means import Mean, ratio
from common.evaluation.scoring import finite

Links = set[tuple[int, int]]
"""Pairs of a word of the source sentence and a word of the target sentence, both counted from 0."""


def alignment_metrics(
    predicted: Sequence[Links], sure: Sequence[Links], possible: Sequence[Links] | None = None
) -> Metrics:
    """Precision, recall and error rate of the links of all sentences together (Och and Ney 2003, section 5).

    precision = |A n P| / |A|, recall = |A n S| / |S|, AER = 1 - (|A n S| + |A n P|) / (|A| + |S|).

    Args:
        predicted: A, the links of each sentence pair.
        sure: S, the links that a good alignment has.
        possible: P, the links that it may have besides; by default none, and then 1 - AER is the F1.

    Returns:
        `precision`, `recall`, `aer` and `one_minus_aer`, ratios over the sentences. Without a link, precision is 0.

    Raises:
        UserError: there is no sure link, or not as many sentences everywhere.
    """
    if not len(predicted) == len(sure) == len(sure if possible is None else possible):
        raise UserError(
            f"alignment of {len(predicted)} sentences against links of {len(sure)}: expected as many of each"
        )
    if not any(sure):
        raise UserError("alignment_metrics needs at least one sure link; there is none to recall")
    allowed = sure if possible is None else [s | p for s, p in zip(sure, possible, strict=True)]
    found, wanted = [len(a) for a in predicted], [len(s) for s in sure]
    hits = [len(a & s) for a, s in zip(predicted, sure, strict=True)]
    harmless = [len(a & p) for a, p in zip(predicted, allowed, strict=True)]
    agreement = ratio(
        [h + p for h, p in zip(hits, harmless, strict=True)], [a + s for a, s in zip(found, wanted, strict=True)]
    )
    return {
        "precision": ratio(harmless, found) if any(found) else 0.0,
        "recall": ratio(hits, wanted),
        "aer": Mean(1 - agreement.items, 1 - agreement),
        "one_minus_aer": agreement,
    }


def grow_links(by_source: Tensor, by_target: Tensor, *, final: bool = True) -> Links:
    """Joins the links of two directions: what both propose, and more of what one does as long as words are free.

    Each source word proposes its best target word, each target word its best source word. Links that both propose are
    accepted. Then, again and again, the best proposal that touches an accepted link (eight neighbours) and has a word
    without a link; and in the end, best first, proposals with a word that still has none. A link is as good as the
    larger of its two scores. Source: grow-diag-final of Koehn, Och and Marcu (2003), best first.

    Args:
        by_source: scores of the target words for each source word, at least 0, shape (n, m). Where a source word's
            scores are all 0 it proposes nothing.
        by_target: scores of the source words for each target word, likewise (n, m).
        final: without it the links are those that have grown.

    Raises:
        UserError: the shapes differ, or scores are not finite.
    """
    if by_source.ndim != 2 or by_source.shape != by_target.shape:
        raise UserError(f"maps {tuple(by_source.shape)} and {tuple(by_target.shape)}: expected (n, m) of both")
    if not by_source.numel():
        return set()
    best = finite("scores of links", torch.maximum(by_source, by_target)).tolist()
    (value, at), (worth, there) = by_source.max(dim=1), by_target.max(dim=0)
    first = {(i, j) for i, (j, v) in enumerate(zip(at.tolist(), value.tolist(), strict=True)) if v > 0}
    second = {(i, j) for j, (i, v) in enumerate(zip(there.tolist(), worth.tolist(), strict=True)) if v > 0}
    links = first & second
    # Of proposals that tie, the one that stands first in the sentence.
    waiting = sorted((first | second) - links, key=lambda link: (-best[link[0]][link[1]], link))
    rows, columns = {i for i, _ in links}, {j for _, j in links}

    def free(i: int, j: int) -> bool:
        return i not in rows or j not in columns

    def touches(i: int, j: int) -> bool:
        return any((i + down, j + right) in links for down in (-1, 0, 1) for right in (-1, 0, 1))

    def accept(i: int, j: int) -> None:
        links.add((i, j))
        rows.add(i)
        columns.add(j)
        waiting.remove((i, j))

    while grown := next((link for link in waiting if free(*link) and touches(*link)), None):
        accept(*grown)
    for link in [*waiting] if final else []:
        if free(*link):
            accept(*link)
    return links
