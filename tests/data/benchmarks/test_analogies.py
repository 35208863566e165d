"""Planted analogies, windows over a text, and the published layout in small."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from common.errors import UserError
from common.table import Rows
from data.benchmarks.bases.windows import WindowedText
from data.benchmarks.published.wikipedia_analogies import WikipediaAnalogies
from data.benchmarks.worlds import planted_analogies
from data.benchmarks.worlds.planted_analogies import CONTEXTS, PAIRS, PlantedAnalogies
from data.sources.gensim import read_analogies


class Has(nn.Module):
    def __init__(self, rows: Tensor) -> None:
        super().__init__()
        self.rows = rows

    def embed_symbols(self) -> Tensor:
        return self.rows


@pytest.fixture(scope="module")
def planted() -> PlantedAnalogies:
    benchmark = PlantedAnalogies()
    benchmark.setup()
    return benchmark


def test_a_token_is_a_pair_in_both_orders(planted: PlantedAnalogies) -> None:
    batch = next(iter(planted.train_dataloader()))
    assert len(batch.ids) == 2 * 2048 == len(batch.ids.unique())
    assert batch.neighbour[:2048].equal(batch.centre[2048:]) and batch.centre[:2048].equal(batch.neighbour[2048:])
    assert (batch.neighbour[:2048] < 50 * PAIRS * 2).all() and (batch.centre[:2048] >= 50 * PAIRS * 2).all()
    assert len(planted.vocabulary) == len(planted.word_counts()) == 100 * PAIRS + CONTEXTS
    assert int(planted.word_counts().sum()) == 2 * planted.tokens


def test_pairs_name_the_same_base_on_either_side(planted: PlantedAnalogies) -> None:
    for split, count in (("val", 10), ("test", 40)):
        relations = planted.relations[split]
        assert len(relations) == count
        for name, pairs in relations.items():
            words = [[planted.vocabulary[word] for word in pair] for pair in pairs.tolist()]
            assert all(a[:-1] == b[:-1] and a.startswith(f"r{name}p") and a[-1] + b[-1] == "ab" for a, b in words)
    assert not relations.keys() & planted.relations["val"].keys()


def test_what_is_shared_makes_the_lines_parallel(planted: PlantedAnalogies) -> None:
    """Of the counts as they are, of as many of them elsewhere, and with nothing of the sides."""
    elsewhere = PlantedAnalogies(shared="elsewhere")
    found = {}
    for name, benchmark in (("pair", planted), ("elsewhere", elsewhere)):
        floors = benchmark.floor()
        found[name] = float(floors["PPMI-SVD"][benchmark.primary])
        assert float(floors["chance"][benchmark.primary]) == pytest.approx(0.5, abs=0.02)
    assert 0.85 < found["pair"] < 0.96 and found["elsewhere"] == pytest.approx(0.5, abs=0.03)
    assert (planted.fingerprint()[:8], elsewhere.fingerprint()[:8]) == ("45b0f24e", "6aa667c8")
    assert int(elsewhere.counts[:2000].sum()) == int(planted.counts[:2000].sum())
    assert elsewhere.counts[:2000].equal(planted.counts[:2000]), "words come as often"


def test_the_seed_draws_the_tokens(planted: PlantedAnalogies) -> None:
    other = PlantedAnalogies(seed=1)
    other.setup()
    assert other.fingerprint() == planted.fingerprint() and not other.word.equal(planted.word)
    assert other.relations["test"]["3"].equal(planted.relations["test"]["3"])


def test_company_is_drawn_by_the_mixture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without noise and attributes both words of a pair have one company, and with attributes alone a side has."""

    def company(attribute: float) -> Tensor:
        monkeypatch.setattr(planted_analogies, "NOISE", 0.0)
        monkeypatch.setattr(planted_analogies, "ATTRIBUTE", attribute)
        benchmark = PlantedAnalogies(tokens=400_000)
        return torch.from_numpy(benchmark.cooccurrences().toarray())[: 100 * PAIRS]

    def cosine(counts: Tensor, a: int, b: int) -> float:
        return float(torch.cosine_similarity(counts[a], counts[b], dim=0))

    second = 50 * PAIRS
    base, sides = company(0.0), company(1.0)
    assert cosine(base, 0, second) > 0.8 > 0.5 > cosine(base, 0, 1)
    assert cosine(sides, 0, 1) > 0.8 > 0.5 > cosine(sides, 0, second)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tokens": 0}, "data.tokens is 0"),
        ({"shared": "none"}, "data.shared is 'none'; it must be 'pair' or 'elsewhere'"),
    ],
)
def test_what_is_out_of_range_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        PlantedAnalogies(**arguments)


def test_a_table_of_another_size_is_refused(planted: PlantedAnalogies) -> None:
    with pytest.raises(UserError, match="embed_symbols returned 3 rows; planted_analogies has 2400 words"):
        planted.evaluate(Has(torch.zeros(3, 2)))


LETTERS = "abcdefghijklmnop"


class Alphabet(WindowedText):
    """Lines of letters, and two relations of neighbours in the alphabet."""

    name = "alphabet"

    def lines(self) -> Iterable[Sequence[str]]:
        return [list(LETTERS), [*LETTERS, "rare"], ["a"] * 4]

    def asked(self) -> dict[str, list[tuple[str, str]]]:
        return {
            "next": list(zip(LETTERS[:8], LETTERS[8:], strict=True)),
            "few": [("a", "b")],
            "back": [*zip(LETTERS[8:], LETTERS[:8], strict=True), ("a", "rare")],
        }


def test_windows_stay_on_their_line_and_count_what_is_near_more() -> None:
    text = Alphabet(min_count=2, window=3, sample=None)
    text.setup()
    assert text.vocabulary == list(LETTERS) and text.counts.tolist() == [6] + [2] * 15
    assert list(text.relations["val"]) == ["back"] and list(text.relations["test"]) == ["next"]
    assert len(text.relations["val"]["back"]) == 8, "without the pair of a rare word"
    found: Counter[tuple[int, int]] = Counter()
    epochs = 3000
    for epoch in range(epochs):
        batch = text.windows(Rows(torch.arange(len(text.tokens))), 0, epoch)
        found.update(zip(batch.neighbour.tolist(), batch.centre.tolist(), strict=True))
        assert len(batch.ids.unique()) == len(batch.ids)
    expected = text.cooccurrences().toarray()
    assert expected[3].tolist() == pytest.approx([2 / 3, 4 / 3, 2, 0, 2, 4 / 3, 2 / 3] + [0] * 9)
    for a in range(16):
        for b in range(16):
            assert found[a, b] / epochs == pytest.approx(expected[a, b], abs=0.08)
    assert not found[15, 0], "one line ends and another begins"


def test_frequent_words_are_thinned_out_by_the_seed() -> None:
    class Long(Alphabet):
        def lines(self) -> Iterable[Sequence[str]]:
            return [list(LETTERS)] * 50 + [["a"] * 3200]

    texts = [Long(min_count=2, sample=0.01, seed=seed) for seed in (0, 0, 1)]
    for text in texts:
        text.setup()
    assert texts[0].tokens.equal(texts[1].tokens) and not texts[0].tokens.equal(texts[2].tokens)
    # "a" is 3,250 of 4,000 words: 0.0123 of it is sqrt(0.0123) + 0.0123 of it kept.
    share = 0.01 / (3250 / 4000)
    assert int((texts[0].tokens == 0).sum()) == pytest.approx(3250 * (share**0.5 + share), rel=0.15)
    assert int((texts[0].tokens == 1).sum()) == pytest.approx(50 * min(1, (0.01 * 80) ** 0.5 + 0.8), abs=1)
    assert int(texts[0].counts[0]) == 3250, "noise is by all words"


def test_nothing_to_score_is_refused() -> None:
    with pytest.raises(UserError, match="alphabet has 0 relations with 8 pairs"):
        Alphabet(min_count=3).setup()


def test_the_published_layout(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(" ".join(LETTERS) + "\n" + " ".join(LETTERS[::-1]) + "\n")
    for number, pairs in enumerate([(LETTERS[:8], LETTERS[8:]), (LETTERS[8:], LETTERS[:8])]):
        folder = tmp_path / "BATS_3.0" / f"{number}_kind"
        folder.mkdir(parents=True)
        lines = [f"{a.upper()}\t{b}/other" for a, b in zip(*pairs, strict=True)]
        (folder / f"R{number} [of it].txt").write_text("\n".join([*lines, "q\tq", lines[0]]) + "\n")
    wiki = WikipediaAnalogies(data_root=str(tmp_path), min_count=1, sample=None, batch_size=4)
    wiki.prepare_data()
    wiki.setup()
    assert list(wiki.relations["test"]) == ["R0 [of it]"] and len(wiki.relations["test"]["R0 [of it]"]) == 8
    first = wiki.relations["test"]["R0 [of it]"][0].tolist()
    assert [wiki.vocabulary[word] for word in first] == ["a", "i"]
    assert wiki.sizes() == {"train": 32, "val": 8, "test": 8}
    (folder / "bad.txt").write_text("one two three\n")
    with pytest.raises(UserError, match=r"bad.txt:1: a word and its answers are wanted"):
        wiki.asked()
    with pytest.raises(UserError, match=r"get it from the README of https://github\.com/narutatsuri/cwm"):
        WikipediaAnalogies(data_root=str(tmp_path / "none")).prepare_data()


def test_questions_of_word2vec() -> None:
    relations = read_analogies()
    assert len(relations) == 14 and relations["capital-common-countries"][:2] == [
        ("athens", "greece"),
        ("baghdad", "iraq"),
    ]
    assert ("king", "queen") in relations["family"] and len(relations["gram8-plural"]) == 37
