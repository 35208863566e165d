"""Parallel text: Greek and English word by word, the Quran in ten languages."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from common.errors import UserError
from data.benchmarks.bases.bible import split_of
from data.benchmarks.bases.floors import Scattered
from data.benchmarks.mini.greek import Greek
from data.benchmarks.mini.quran import Quran
from data.sources.bible_alignments import BIBLE_ALIGNMENTS
from data.sources.quran import QURAN


@pytest.fixture(scope="module", autouse=True)
def sources(fetched: Callable[..., None]) -> None:
    fetched(BIBLE_ALIGNMENTS, QURAN)


@pytest.fixture(scope="module")
def greek() -> Greek:
    benchmark = Greek()
    benchmark.setup()
    return benchmark


@pytest.fixture(scope="module")
def quran() -> Quran:
    benchmark = Quran()
    benchmark.setup()
    return benchmark


class Links(nn.Module):
    """Draws the links that it is given."""

    def __init__(self, links: list[set[tuple[int, int]]]) -> None:
        super().__init__()
        self.links = links

    def align_words(self, source: list[list[str]], target: list[list[str]]) -> list[set[tuple[int, int]]]:
        return self.links


def test_greek_verses(greek: Greek) -> None:
    assert {split: len(found.source) for split, found in greek.splits.items()} == {
        "train": 6394, "val": 148, "test": 1306
    }  # fmt: skip
    seen: dict[str, str] = {}
    for split, verses in greek.splits.items():
        for source, target, links, number in zip(*verses, strict=True):
            assert split_of(number) == split
            assert links and all(0 <= s < len(source) and 0 <= t < len(target) for s, t in links)
            assert seen.setdefault(" ".join(target), split) == split
            assert all(any(map(str.isalnum, word)) for word in target)
    john = greek.splits["test"]
    at = john.numbers.index(43_001_001)
    assert john.source[at][:5] == ["ἐν", "ἀρχή", "εἰμί", "ὁ", "λόγος"]
    assert john.target[at][:5] == ["in", "the", "beginning", "was", "the"]
    assert {(0, 0), (1, 2), (4, 5)} <= john.links[at]


def test_greek_protocol(greek: Greek) -> None:
    gold = greek.splits["test"].links
    assert greek.evaluate(Links(gold))[greek.primary] == 1.0
    assert greek.evaluate(Links([set() for _ in gold]))["aer/verses"] == 1.0
    floor = greek.floor()
    assert floor["diagonal"].keys() == floor["Dice"].keys()
    assert floor["diagonal"][greek.primary] == pytest.approx(0.253, abs=1e-3)
    assert floor["Dice"][greek.primary] == pytest.approx(0.437, abs=1e-3)
    (batch, *_) = Greek(batch_size=8).train_dataloader()
    train = greek.splits["train"]
    assert batch.source == [train.source[train.numbers.index(int(i))] for i in batch.ids]
    assert batch.target == [train.target[train.numbers.index(int(i))] for i in batch.ids]


def test_greek_words_and_lemmas_have_the_same_verses(greek: Greek) -> None:
    words = Greek(greek="words", seed=4)
    words.setup()
    for split, verses in words.splits.items():
        assert verses.numbers == greek.splits[split].numbers and verses.links == greek.splits[split].links
    assert words.splits["val"].source != greek.splits["val"].source
    assert greek.fingerprint()[:8] == "de6f4d17" and words.fingerprint()[:8] == "13a26b07"


def test_the_seed_draws_the_verses_to_train_on(greek: Greek, quran: Quran) -> None:
    for kind, whole in ((Greek, greek), (Quran, quran)):
        one, other, again = (kind(train_size=100, seed=seed) for seed in (1, 2, 1))
        drawn = [{*map(int, next(iter(data.train_dataloader())).ids)} for data in (one, other, again)]
        assert all(data.sizes() == whole.sizes() | {"train": 100} for data in (one, other))
        assert one.fingerprint() == other.fingerprint() != whole.fingerprint()
        assert drawn[0] == drawn[2] != drawn[1]
        with pytest.raises(UserError, match=r"data.train_size is 9999; it must be from 1 to \d,\d\d\d"):
            kind(train_size=9999).setup()
    pairs = [*Greek(train_size=100, seed=1).parallel()]
    assert len(pairs) == 100 and pairs[0] in [*greek.parallel()]


class Polyglot(nn.Module):
    """Knows what is said, whatever the language, or in the languages it was taught."""

    def __init__(self, benchmark: Quran, languages: tuple[str, ...]) -> None:
        super().__init__()
        self.said = {
            verse[code]: str(number)
            for part in benchmark.splits.values() for number, verse in part.items() for code in languages
        }  # fmt: skip

    def embed_text(self, texts: list[str]) -> Tensor:
        return Scattered().embed_text([self.said.get(text, text) for text in texts])


class Constant(nn.Module):
    def embed_text(self, texts: list[str]) -> Tensor:
        return torch.ones(len(texts), 4)


def test_quran_chapters_stay_whole_and_no_verse_stands_twice(quran: Quran) -> None:
    assert {split: len(found) for split, found in quran.splits.items()} == {"train": 3830, "test": 1000, "val": 300}
    chapters = {split: {number // 1000 for number in found} for split, found in quran.splits.items()}
    assert chapters["train"].isdisjoint(chapters["val"] | chapters["test"])
    assert chapters["val"].isdisjoint(chapters["test"])
    for code in quran.languages:
        texts = [verse[code].lower() for found in quran.splits.values() for verse in found.values()]
        assert len(set(texts)) == len(texts)


def test_quran_protocol(quran: Quran) -> None:
    found = quran.evaluate(Polyglot(quran, quran.languages))
    assert found == dict.fromkeys(found, 1.0) and len(found) == 12 and quran.primary in found
    taught = quran.evaluate(Polyglot(quran, ("en", "fr")))
    assert taught["recall@1_fr/gallery1000"] == 1.0 and taught["recall@1_es/gallery1000"] < 0.01
    assert taught[quran.primary] == pytest.approx(1 / 9, abs=0.01)
    worst = quran.evaluate(Constant(), "val")
    assert worst.pop("mrr/gallery300") == pytest.approx(1 / 300) and set(worst.values()) == {0.0}


def test_quran_floors() -> None:
    few = Quran(languages=["en", "es", "fr"])
    floor = few.floor()
    assert floor["chance"].keys() == floor["letter trigrams"].keys()
    assert floor["chance"][few.primary] < 0.01
    assert 0.04 < floor["letter trigrams"][few.primary] < 0.12


def test_quran_batches(quran: Quran) -> None:
    loader = Quran(batch_size=64).train_dataloader()
    batch = next(iter(loader))
    for source, target, first, second, number in zip(*batch, strict=True):
        verse = quran.splits["train"][int(number)]
        assert source == verse[quran.languages[first]] and target == verse[quran.languages[second]]
        assert "en" in (quran.languages[first], quran.languages[second]) and first != second
    loader.order.set_epoch(1)
    again = next(iter(loader))
    assert set(again.ids.tolist()) != set(batch.ids.tolist())
    free = next(iter(Quran(batch_size=64, pairs="all").train_dataloader()))
    english = quran.languages.index("en")
    assert ((free.source_language != english) & (free.target_language != english)).any()
    assert len(free.source_language.unique()) == 10


def test_quran_fingerprint(quran: Quran) -> None:
    assert quran.fingerprint()[:8] == "5b7c9d0e"
    two = Quran(languages=["en", "ar"], seed=2)
    two.setup()
    assert list(two.splits["test"]) == list(quran.splits["test"]) and two.fingerprint() != quran.fingerprint()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Greek(greek="roots"), "data.greek is 'roots'; it must be 'lemmas' or 'words'"),
        (lambda: Quran(languages=["fr", "es"]), r"data.languages is \['fr', 'es'\]; it must list en and others of ar"),
        (lambda: Quran(languages=["en", "de"]), "each once"),
        (lambda: Quran(languages=["en"]), "each once"),
        (lambda: Quran(pairs="none"), "data.pairs is 'none'"),
        (lambda: Quran().evaluate(nn.Linear(1, 1)), "needs a module with embed_text; Linear has none"),
        (lambda: Greek().evaluate(nn.Linear(1, 1)), "needs a module with align_words; Linear has none"),
    ],
)
def test_bad_requests_are_named(make: Callable, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()


def test_texts_of_the_quran_stand_beside_their_ids(quran: Quran) -> None:
    found = quran.parallel_texts()
    assert found.ids.equal(found.ids.sort().values) and len(found.ids) == 3830 and len(found.texts) == 10
    english = quran.languages.index("en")
    assert len(found.pairs) == 18 and (found.pairs == english).any(dim=1).all()
    batch = next(iter(quran.train_dataloader()))
    at = torch.searchsorted(found.ids, batch.ids)
    for side, language in ((batch.source, batch.source_language), (batch.target, batch.target_language)):
        assert side == [found.texts[code][row] for code, row in zip(language.tolist(), at.tolist(), strict=True)]


def test_a_second_place_is_half_a_find(quran: Quran) -> None:
    """Verses in pairs that are alike: each is first or second, in all languages alike."""
    rank = torch.arange(300) // 2
    number = {text: at for at, verse in enumerate(quran.splits["val"].values()) for text in verse.values()}
    twins = Rows(lambda text: torch.eye(150)[rank[number[text]]])
    found = quran.evaluate(twins, "val")
    assert found["recall@1/gallery300"] == 0 and found["mrr/gallery300"] == pytest.approx(0.5)
    assert found["mrr/gallery300"].items.tolist() == pytest.approx([0.5] * 300)


class Rows(nn.Module):
    """A row of a text's own."""

    def __init__(self, row: Callable[[str], Tensor]) -> None:
        super().__init__()
        self.row = row

    def embed_text(self, texts: list[str]) -> Tensor:
        return torch.stack(list(map(self.row, texts)))
