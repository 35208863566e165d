"""MirrorAlign: its objective against a plain loop, its negatives on several processes, and its links."""

import math

import pytest
import torch
from torch import Tensor

from common.batches import ParallelWords
from common.errors import UserError
from papers.sentence.mirroralign.properties import BATCH, LENGTH, SilentMirrorAlign, drawn, mirror, stationary
from tests.processes import assert_steps_agree

POOLINGS = {"residual": 1.0, "mean": 0.0}


def softplus(x: float) -> float:
    return math.log1p(math.exp(-abs(x))) + max(x, 0.0)


def dot(one: Tensor, other: Tensor) -> float:
    return float(one @ other)


def loop(
    model: SilentMirrorAlign, batch: ParallelWords, alpha: float, candidates: str, pooling: str, both: bool
) -> float:
    """The objective word by word, from the tables alone."""
    ids = [index.ids(side, LENGTH).tolist() for index, side in zip(model.indices, batch[:2], strict=True)]
    tables = [table.weight.detach() for table in model.tables]

    def vector(side: int, b: int, at: int) -> Tensor:
        row, table = ids[side][b], tables[side]
        if pooling == "none":
            return table[row[at]]
        around = row[max(0, at - 1) : at + 2]
        return POOLINGS[pooling] * table[row[at]] + sum(table[word] for word in around) / len(around)

    total = 0.0
    for b in range(BATCH):
        length = [sum(word > 0 for word in ids[side][b]) for side in (0, 1)]
        x, y = ([vector(side, b, at) for at in range(length[side])] for side in (0, 1))
        weight = [[math.exp(dot(one, other)) for other in y] for one in x]
        by_source = [[w / sum(row) for w in row] for row in weight]
        by_target = [[w / sum(row[j] for row in weight) for j, w in enumerate(row)] for row in weight]
        targets = [sum(by_target[i][j] * x[i] for i in range(len(x))) for j in range(len(y))]
        sources = [sum(by_source[i][j] * y[j] for j in range(len(y))) for i in range(len(x))]
        for side, own, summaries in ((1, y, targets), (0, x, sources))[: 1 + both]:
            for at, summary in enumerate(summaries):
                total += softplus(-dot(summary, own[at])) / 3 / BATCH
                for k in (1, 2):
                    other = (b - k) % BATCH
                    if word := ids[side][other][at]:
                        row = tables[side][word] if candidates == "words" else vector(side, other, at)
                        total += softplus(dot(summary, row)) / 3 / BATCH
        pairs = [(i, j) for i in range(len(x)) for j in range(len(y))]
        total += alpha * sum((by_source[i][j] - by_target[i][j]) ** 2 for i, j in pairs) / BATCH
    return total


@pytest.mark.parametrize(
    ("alpha", "candidates", "pooling", "directions"),
    [
        (1.0, "words", "residual", "both"),
        (0.3, "pooled", "residual", "both"),
        (1.0, "words", "none", "target"),
        (0.0, "pooled", "mean", "both"),
    ],
)
def test_the_objective_is_that_of_a_loop(alpha: float, candidates: str, pooling: str, directions: str) -> None:
    options = dict(alpha=alpha, candidates=candidates, pooling=pooling)
    model, batch = drawn(0, **options, directions=directions)
    expected = loop(model, batch, **options, both=directions == "both")
    assert float(model.training_step(batch, 0).detach()) == pytest.approx(expected, rel=1e-12)


def test_the_control_has_the_entropy_of_both_maps() -> None:
    (model, batch), (plain, _) = drawn(1, tie="entropy", alpha=0.5), drawn(1, alpha=0.0)
    maps = model.attend(*(index.ids(side, LENGTH) for index, side in zip(model.indices, batch[:2], strict=True)))[1]
    spread = sum(float(p * (1 - p)) for weights in maps for p in weights.detach().flatten()) / BATCH
    difference = float((model.training_step(batch, 0) - plain.training_step(batch, 0)).detach())
    assert difference == pytest.approx(0.5 * spread, rel=1e-12) and spread > 1


def test_shuffled_negatives_are_words_of_the_batch_as_often_as_they_occur() -> None:
    model, batch = drawn(2, shuffled=True, directions="target", alpha=0.0)
    model.key = lambda purpose: (7, len(purpose))
    # Of vectors that are all alike a draw does not matter, and each word has K negatives more.
    for table in model.tables:
        torch.nn.init.ones_(table.weight)
    ids = model.indices[1].ids(batch.target, LENGTH)
    words, met = int((ids > 0).sum()), sum(int(((ids > 0) & (ids.roll(k, 0) > 0)).sum()) for k in (1, 2))
    # Summaries are of 2 in each of 4 directions, own words too, and negatives of 1.
    expected = (words * softplus(-16.0) + (met + 2 * words) * softplus(8.0)) / 5 / BATCH
    assert float(model.training_step(batch, 0).detach()) == pytest.approx(expected, rel=1e-9)


def test_a_scaled_matrix_is_less_sharp() -> None:
    (model, batch), (scaled, _) = drawn(3), drawn(3, scaled=True)
    ids = [index.ids(side, LENGTH) for index, side in zip(model.indices, batch[:2], strict=True)]
    (_, (sharp, _)), (_, (flat, _)) = model.attend(*ids), scaled.attend(*ids)
    real = sharp[0, 0] > 0
    logits = sharp[0, 0][real].log() / 2  # the root of 4 directions
    torch.testing.assert_close(flat[0, 0][real], logits.softmax(0))


def test_negatives_come_from_the_sentences_of_all_processes() -> None:
    def make() -> SilentMirrorAlign:
        model, _ = drawn(4, shuffled=True)
        model.key = lambda purpose: (7, len(purpose))
        return model

    def rows(share: slice) -> ParallelWords:
        return ParallelWords(*(side[share] for side in drawn(4)[1]))

    assert_steps_agree((0, 2, BATCH), make, rows)


def test_links_are_of_words_that_are_nearest_both_ways() -> None:
    model, _ = drawn(5, pooling="none")
    with torch.no_grad():
        for table in model.tables:
            table.weight[2:] = 5 * torch.eye(12, 4)
            table.weight[6:] = 0
    source, target = [["0", "1", "2"], ["3"]], [["2", "0", "1"], ["3"]]
    assert model.align_words(source, target) == [{(0, 1), (1, 2), (2, 0)}, {(0, 0)}]


def test_links_are_the_same_where_training_is_in_bf16() -> None:
    model, batch = drawn(37)  # whose links are others where scores have three digits
    model.float()
    links = model.align_words(*batch[:2])
    with torch.autocast("cpu", torch.bfloat16):
        assert model.align_words(*batch[:2]) == links


@pytest.mark.parametrize("seed", range(2))
def test_the_languages_may_change_places_and_agreement_is_stationary(seed: int) -> None:
    assert mirror(seed) < 1e-12
    assert stationary(seed) < 1e-12


def test_bad_arguments_are_named() -> None:
    with pytest.raises(UserError, match=r"model.negatives is 0 and model.length 40; both must be at least 1"):
        SilentMirrorAlign(negatives=0)
    model, batch = drawn(0)
    few = ParallelWords(*(side[:2] for side in batch))
    with pytest.raises(UserError, match=r"data.batch_size is 2; it must be above model.negatives, 2"):
        model.training_step(few, 0)
