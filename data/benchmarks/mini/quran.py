"""Retrieval across languages: the verses of the Quran in ten translations."""

from collections.abc import Sequence
from functools import cache
from itertools import permutations
from typing import Literal

import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from torch import Tensor, nn
from torch.nn import functional as F

from common.batches import ParallelTexts, Translations
from common.benchmark import Benchmark, Metrics, digest
from common.errors import UserError
from common.evaluation.embed import embed_dataset
from common.evaluation.means import Mean, average, both
from common.evaluation.retrieval import best_ranks
from common.protocols import EmbedsText
from common.random import uniform
from common.sampling.batches import ResumableLoader
from common.table import Rows, Table
from data.benchmarks.bases.floors import Scattered
from data.sources.quran import LANGUAGES, QURAN, read_quran

SIZES = {"test": 1000, "val": 300}
"""Verses in the gallery of each scored split, out of whole chapters."""

Verses = dict[int, dict[str, str]]
"""The readings of each verse by language, under its number chapter * 1,000 + verse."""


class Quran(Benchmark):
    """Verses in several languages, split by chapters: 3,830 train, 300 validation, 1,000 test with all ten languages.

    A verse is left out if its text, in any of the languages, is that of another verse, as refrains are; the split that
    is scored keeps the one.

    Args:
        batch_size, seed, data_root: as in `Benchmark`.
        languages: what to read, of ar (the original), bn, en, es, fr, id, ru, sv, tr, ur, zh. The verses that are left
            out are the same for any choice. English is always one of them.
        pairs: "english" trains on pairs of English and another language alone, so that every other pair of languages
            is met only in scoring; "all" trains on all pairs.
        train_size: verses to train on, drawn by the seed from the 3,830; none means all.
        together: so many rows of a batch, from the first on, have the same two languages in the same order.
    """

    name = "quran"
    primary = "recall@1/gallery1000"
    sources = (QURAN,)

    def __init__(
        self,
        batch_size: int = 64,
        seed: int = 0,
        data_root: str | None = None,
        languages: Sequence[str] = ("bn", "en", "es", "fr", "id", "ru", "sv", "tr", "ur", "zh"),
        pairs: Literal["english", "all"] = "english",
        train_size: int | None = None,
        together: int = 1,
    ) -> None:
        super().__init__(batch_size, seed, data_root)
        unknown = isinstance(languages, str) or set(languages) - set(LANGUAGES)
        if unknown or len(set(languages)) < max(2, len(languages)) or "en" not in languages:
            raise UserError(
                f"data.languages is {languages!r}; it must list en and others of {', '.join(LANGUAGES)}, each once"
            )
        if pairs not in ("english", "all"):
            raise UserError(f"data.pairs is {pairs!r}; it must be 'english' or 'all'")
        if train_size is not None and train_size < 1:
            raise UserError(f"data.train_size is {train_size}; it must be at least 1")
        if together < 1:
            raise UserError(f"data.together is {together}; it must be at least 1")
        self.languages = tuple(sorted(languages))
        self.together = together
        self.pairs, self.train_size = pairs, train_size
        self.splits: dict[str, Verses] = {}

    def build(self) -> None:
        verses = [
            (number, {code: readings[code] for code in self.languages})
            for number, readings in _distinct_verses(self.data_root).items()
        ]
        start, splits = 0, {}
        for split, size in SIZES.items():
            splits[split] = dict(verses[start : start + size])
            last = verses[start + size - 1][0] // 1000
            start = max(at for at, (number, _) in enumerate(verses) if number // 1000 == last) + 1
        self.splits = {"train": dict(verses[start:]), **splits}
        numbers = torch.tensor(list(self.splits["train"]))
        if self.train_size is not None:
            if self.train_size > len(numbers):
                raise UserError(f"data.train_size is {self.train_size}; it must be from 1 to {len(numbers):,}")
            chosen = uniform(numbers, 1, self.seed, 12).flatten().argsort(stable=True)[: self.train_size]
            numbers = numbers[chosen.sort().values]
        self.train = {number: self.splits["train"][number] for number in numbers.tolist()}

    def sizes(self) -> dict[str, int]:
        sizes = super().sizes()
        return sizes | {"train": len(self.train)}

    def train_dataloader(self) -> ResumableLoader:
        self.setup()
        numbers = torch.tensor(list(self.train))
        return Table(Rows(numbers), self._translations).loader(self.batch_size, self.seed)

    def _pairs(self) -> list[tuple[str, str]]:
        return [pair for pair in permutations(self.languages, 2) if self.pairs == "all" or "en" in pair]

    def parallel_texts(self) -> ParallelTexts:
        """All that is trained on."""
        self.setup()
        verses = dict(sorted(self.train.items()))
        texts = tuple([verse[code] for verse in verses.values()] for code in self.languages)
        pairs = [[self.languages.index(code) for code in pair] for pair in self._pairs()]
        return ParallelTexts(texts, torch.tensor(pairs), torch.tensor(list(verses)))

    def _translations(self, rows: Rows, seed: int, epoch: int) -> Translations:
        """Verses by their numbers; the two languages of each are others in each epoch."""
        verses = [self.splits["train"][number] for number in rows.index.tolist()]
        pairs = self._pairs()
        draws = uniform(rows.index, 1, seed, epoch, 9).flatten()
        draws = draws[:: self.together].repeat_interleave(self.together)[: len(draws)].tolist()
        sides = list(zip(*(pairs[int(draw * len(pairs))] for draw in draws), strict=True))
        texts = [[verse[code] for verse, code in zip(verses, side, strict=True)] for side in sides]
        codes = [torch.tensor([self.languages.index(code) for code in side]) for side in sides]
        return Translations(*texts, *codes, rows.index)

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """The share of verses whose translation is nearest by cosine among those of all verses of the split.

        Returns:
            `recall@1/galleryN`, the mean over English to each other language and back; `recall@1_L/galleryN` of the
            same for each language L; with three or more languages `recall@1_others/galleryN`, the mean over all ordered
            pairs without English; and `mrr/galleryN`, the mean reciprocal rank over the pairs of the first.

        Raises:
            UserError: the module does not offer `embed_text`, or there is no such split.
        """
        self.setup()
        self.check_request(module, split, EmbedsText)
        verses = self.splits[split].values()
        rows = {
            code: F.normalize(embed_dataset(module.embed_text, [v[code] for v in verses], 256, module), dim=1)
            for code in self.languages
        }
        ranks = {pair: best_ranks(*(rows[code] for code in pair)) for pair in permutations(self.languages, 2)}
        recall = {pair: Mean(found == 1) for pair, found in ranks.items()}
        others = [code for code in self.languages if code != "en"]
        each = {code: both(recall["en", code], recall[code, "en"]) for code in others}
        gallery = f"gallery{len(verses)}"
        metrics = {f"recall@1/{gallery}": average(list(each.values()))}
        metrics |= {f"recall@1_{code}/{gallery}": value for code, value in each.items()}
        foreign = [value for pair, value in recall.items() if "en" not in pair]
        metrics |= {f"recall@1_others/{gallery}": average(foreign)} if foreign else {}
        english = [Mean(found.double().reciprocal()) for pair, found in ranks.items() if "en" in pair]
        return metrics | {f"mrr/{gallery}": average(english)}

    def floor(self) -> dict[str, Metrics]:
        """Random directions, and counted runs of three letters, which names and related languages share."""
        self.setup()
        texts = [text for verse in self.splits["train"].values() for text in verse.values()]
        return {"chance": self.evaluate(Scattered()), "letter trigrams": self.evaluate(Trigrams(texts))}

    def example(self) -> str:
        self.setup()
        verse = next(iter(self.splits["train"].values()))
        return "\n".join(f"{language}: {text}" for language, text in verse.items())

    def fingerprint(self) -> str:
        self.setup()
        return digest((self.pairs, self.splits), *(() if self.train_size is None else (self.train_size,)))


@cache
def _distinct_verses(data_root: str | None) -> Verses:
    """Verses that have a text of their own in every language, chapter by chapter in a fixed random order."""
    found = read_quran(*LANGUAGES, data_root=data_root)
    place = uniform(torch.arange(1, 115), 1, 10).flatten().tolist()
    seen: set[tuple[str, str]] = set()
    verses = {}
    for chapter, verse in sorted(found["en"], key=lambda key: (place[key[0] - 1], key[1])):
        readings = {code: " ".join(found[code][chapter, verse].split()) for code in LANGUAGES}
        texts = {(code, text.lower()) for code, text in readings.items()}
        if not texts & seen:
            verses[chapter * 1000 + verse] = readings
        seen |= texts
    return verses


class Trigrams(nn.Module):
    """TF-IDF over the 2,000 commonest runs of three letters within words of `texts`."""

    def __init__(self, texts: list[str]) -> None:
        super().__init__()
        self.vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 3), max_features=2000).fit(texts)

    def embed_text(self, texts: list[str]) -> Tensor:
        return torch.from_numpy(self.vectorizer.transform(texts).toarray()).float()
