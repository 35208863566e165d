"""IBM model 1: its counts against a plain loop, and what is learnt from a handful of sentences."""

from collections import defaultdict

import pytest
import torch

from common.errors import UserError
from papers.sentence.ibm_model1.module import EMPTY, IBMModel1, TranslationTable

BOOK = [
    (["das", "haus"], ["the", "house"]),
    (["das", "buch"], ["the", "book"]),
    (["ein", "buch"], ["a", "book"]),
]


def loop(sentences: list[tuple[list[int], list[int]]], steps: int, empty: bool) -> dict[tuple[int, int], float]:
    """Figure 4.3 of Koehn (2010): t(word | origin), from equal chances."""
    chances: dict[tuple[int, int], float] = defaultdict(lambda: 1.0)
    for _ in range(steps):
        count: dict[tuple[int, int], float] = defaultdict(float)
        total: dict[int, float] = defaultdict(float)
        for left, right in sentences:
            origins = [EMPTY, *left] if empty else left
            for word in right:
                whole = sum(chances[origin, word] for origin in origins)
                for origin in origins:
                    count[origin, word] += chances[origin, word] / whole
                    total[origin] += chances[origin, word] / whole
        chances = defaultdict(float, {key: value / total[key[0]] for key, value in count.items()})
    return chances


@pytest.mark.parametrize("empty", [True, False])
@pytest.mark.parametrize("steps", [1, 4])
def test_the_chances_are_those_of_a_loop(empty: bool, steps: int) -> None:
    draw = torch.Generator().manual_seed(0)
    sentences = [
        tuple(
            torch.randint(2, 9, (int(n),), generator=draw).tolist() for n in torch.randint(1, 6, (2,), generator=draw)
        )
        for _ in range(12)
    ]  # a word may stand twice in a sentence
    sentences += [([], [3]), ([4], []), ([], [])]
    table = TranslationTable(empty)
    table.fit(sentences, 9, steps)
    expected = loop(sentences, steps, empty)
    found = {divmod(pair, 9): chance for pair, chance in zip(table.pairs.tolist(), table.chances.tolist(), strict=True)}
    assert found.keys() == expected.keys()
    assert found == pytest.approx(expected, rel=1e-12)


def test_a_word_that_is_rather_from_nothing_has_no_origin() -> None:
    table = TranslationTable(empty=True)
    table.pairs, table.words = torch.tensor([0 * 9 + 3, 2 * 9 + 3, 2 * 9 + 4]), torch.tensor(9)
    table.chances = torch.tensor([0.6, 0.4, 0.5], dtype=torch.float64)
    assert table.posterior([2, 5], [3, 4, 8]).tolist() == [[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    table.chances[0] = 0.1
    assert table.posterior([2, 5], [3, 4, 8])[0].tolist() == pytest.approx([0.8, 1.0, 0.0])


def test_two_directions_find_the_words_of_three_sentences() -> None:
    model = IBMModel1(steps=10, empty=False)
    model.count(BOOK)
    assert model.align_words([["ein", "haus"], ["neu"]], [["a", "house"], ["a"]]) == [{(0, 0), (1, 1)}, set()]


@pytest.mark.parametrize("empty", [True, False])
def test_a_sentence_without_words_has_no_links(empty: bool) -> None:
    model = IBMModel1(steps=2, empty=empty)
    model.count([*BOOK, ([], ["the"]), (["das"], [])])
    assert model.align_words([[], ["das"], []], [["the"], [], []]) == [set()] * 3


def test_there_must_be_a_step() -> None:
    with pytest.raises(UserError, match=r"model.steps is 0; it must be at least 1"):
        IBMModel1(steps=0)
