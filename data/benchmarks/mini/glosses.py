"""What words mean, said in a line: sentence similarity that a dictionary's own order grades."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from common.batches import SentenceTriplets
from common.benchmark import Benchmark, Metrics, digest
from common.errors import UserError
from common.evaluation.embed import embed_dataset
from common.protocols import EmbedsText
from common.random import uniform
from common.sampling.batches import ResumableLoader
from common.table import Table
from data.benchmarks.bases.floors import BagOfWords
from data.benchmarks.bases.rated import RatedPairs, graded_examples, pairs_of, rated_metrics
from data.benchmarks.mini.english import numbered
from data.sources.wordnet import WORDNET, Key, read_wordnet

WORDS = (4, 25)
"""Fewest and most words of a gloss."""
PAIRS = {"val": 250, "test": 600}
"""Scored pairs of each grade."""
GRADES = ("elsewhere", "same field", "sisters", "one above the other")
"""From 0 to 3: meanings of different lexicographers' files, of one file, of one direct hypernym, and a meaning with
its direct hypernym."""


class Gloss(NamedTuple):
    """A definition and where its meaning stands."""

    text: str
    hypernyms: frozenset[Key]
    field: tuple[str, int]
    """Noun or verb, and the lexicographers' file: animals, acts, verbs of motion ..."""


Dictionary = dict[Key, Gloss]


class Triplets(NamedTuple):
    """A gloss, that of its hypernym, and one of the same field."""

    anchor: list[str]
    positive: list[str]
    negative: list[str]


class Glosses(Benchmark):
    """Learns from the glosses of WordNet's nouns and verbs; scores pairs of others, graded by how near their meanings
    stand in it: 59,441 train, 1,000 val, 2,400 test pairs.

    Definitions of 4 to 25 words, without their examples; one that several meanings share is left out. A meaning belongs
    to one split, by a hash of its place in WordNet, and to one scored pair at most.

    Args:
        batch_size, seed, data_root: as in `Benchmark`.
        train: "glosses", for methods without labels, or "triplets": a gloss, that of a direct hypernym as its
            positive, and as a hard negative one of the same field, which is neither above, below nor beside it.
    """

    name = "glosses"
    primary = "spearman/glosses"
    sources = (WORDNET,)

    def __init__(
        self,
        batch_size: int = 64,
        seed: int = 0,
        data_root: str | None = None,
        train: Literal["glosses", "triplets"] = "glosses",
    ) -> None:
        super().__init__(batch_size, seed, data_root)
        if train not in ("glosses", "triplets"):
            raise UserError(f"data.train is {train!r}; it must be 'glosses' or 'triplets'")
        self.train = train
        self.splits: dict[str, Dictionary] = {}

    def build(self) -> None:
        self.splits = split(read_glosses(self.data_root))
        self.rated = {part: graded_pairs(self.splits[part], count) for part, count in PAIRS.items()}

    def sentences(self) -> list[str]:
        """What methods without labels train on."""
        self.setup()
        return [gloss.text for gloss in self.splits["train"].values()]

    def triplets(self) -> Triplets:
        """What methods with labels train on: every gloss of the train split whose hypernym's is there too, once."""
        self.setup()
        train = self.splits["train"]
        of_field = by(train, lambda gloss: [gloss.field])
        found = Triplets([], [], [])
        draws = uniform(torch.tensor([offset for _, offset in train]), 1, 0).flatten().tolist()
        for key, draw in zip(train, draws, strict=True):
            gloss = train[key]
            above = next((other for other in sorted(gloss.hypernyms) if other in train), None)
            field = of_field[gloss.field]
            start = int(draw * len(field))
            apart = (other for other in (*field[start:], *field[:start]) if grade(train, key, other) == 1)
            if above is not None and (other := next(apart, None)) is not None:
                for column, chosen in zip(found, (key, above, other), strict=True):
                    column.append(train[chosen].text)
        return found

    def train_dataloader(self) -> ResumableLoader:
        if self.train != "triplets":
            return Table(numbered(self.sentences())).loader(self.batch_size, self.seed)
        triplets = self.triplets()
        rows = SentenceTriplets(*triplets, torch.arange(len(triplets.anchor)))
        return Table(rows).loader(self.batch_size, self.seed)

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """Cosines of the pairs against their grades.

        Returns:
            `spearman/glosses`, `alignment/glosses` and `uniformity/glosses`, see `rated_metrics`.

        Raises:
            UserError: the module does not offer `embed_text`, or there is no such split.
        """
        self.setup()
        self.check_request(module, split, EmbedsText)
        pairs = self.rated[split]
        rows = F.normalize(embed_dataset(module.embed_text, pairs.texts, 256, module), dim=1)
        return rated_metrics(rows, pairs, self.name)

    def floor(self) -> dict[str, Metrics]:
        """Chance (random directions in many dimensions), and counted words."""
        words = self.evaluate(BagOfWords(self.sentences()))
        chance = {self.primary: 0.0, "alignment/glosses": 2.0, "uniformity/glosses": -4.0}
        return {"chance": chance, "bag of words": words}

    def sizes(self) -> dict[str, int]:
        self.setup()
        return {"train": len(self.splits["train"])} | {part: len(pairs.human) for part, pairs in self.rated.items()}

    def example(self) -> str:
        """A scored pair of each grade."""
        self.setup()
        return graded_examples(self.rated["test"], GRADES)

    def fingerprint(self) -> str:
        train = self.triplets() if self.train == "triplets" else self.sentences()
        return digest(train, *(pairs.texts for pairs in self.rated.values()), *(
            tensor for pairs in self.rated.values() for tensor in (pairs.first, pairs.second, pairs.human.long())
        ))  # fmt: skip


def read_glosses(data_root: str | None = None) -> Dictionary:
    """The definitions of 4 to 25 words that no other meaning has."""
    found: Dictionary = {}
    owners: dict[str, Key] = {}
    shared = set()
    for key, meaning in read_wordnet(data_root).items():
        text = meaning.gloss.partition('; "')[0].strip()
        if not WORDS[0] <= len(text.split()) <= WORDS[1] or '"' in text:  # where a quotation is no example
            continue
        shared |= {key, owners[text]} if text in owners else set()
        owners[text] = key
        found[key] = Gloss(text, frozenset(meaning.hypernyms), (key[0], meaning.file))
    return {key: gloss for key, gloss in found.items() if key not in shared}


def split(glosses: Dictionary) -> dict[str, Dictionary]:
    """A fifth for the test, a tenth for validation, in an order by chance; the rest in that of WordNet."""

    def place(key: Key) -> str:
        return hashlib.sha256(f"glosses {key[0]}{key[1]:08}".encode()).hexdigest()

    places = {key: place(key) for key in glosses}
    parts = {key: int(places[key], 16) % 20 for key in glosses}
    drawn = sorted(glosses, key=places.__getitem__)
    return {
        "train": {key: gloss for key, gloss in glosses.items() if parts[key] > 5},
        "val": {key: glosses[key] for key in drawn if parts[key] in (4, 5)},
        "test": {key: glosses[key] for key in drawn if parts[key] < 4},
    }


def grade(glosses: Dictionary, one: Key, other: Key) -> int:
    """How near two meanings stand, as in `GRADES`."""
    first, second = glosses[one], glosses[other]
    if one in second.hypernyms or other in first.hypernyms:
        return 3
    return 2 if first.hypernyms & second.hypernyms else int(first.field == second.field)


def graded_pairs(glosses: Dictionary, count: int) -> RatedPairs:
    """So many pairs of each grade, no meaning twice: the rarest relation is served first, each time in the order given.

    Raises:
        UserError: there are too few meanings for as many pairs.
    """
    below = by(glosses, lambda gloss: gloss.hypernyms)
    of_field = by(glosses, lambda gloss: [gloss.field])

    def candidates(key: Key, wanted: int) -> Iterable[Key]:
        gloss = glosses[key]
        if wanted == 3:
            return (above for above in sorted(gloss.hypernyms) if above in glosses)
        if wanted == 2:
            return (sister for above in sorted(gloss.hypernyms) for sister in below[above])
        return of_field[gloss.field] if wanted == 1 else glosses

    used: set[Key] = set()
    rated: list[tuple[str, str, float]] = []
    for wanted in (3, 2, 1, 0):
        for _, (one, other) in zip(range(count), _matches(glosses, wanted, candidates, used), strict=False):
            used |= {one, other}
            rated.append((glosses[one].text, glosses[other].text, float(wanted)))
        if (found := len(rated) - count * (3 - wanted)) < count:
            raise UserError(f"WordNet gives {found} of {count} pairs of glosses '{GRADES[wanted]}'")
    return pairs_of(rated)


def _matches(
    glosses: Dictionary, wanted: int, candidates: Callable[[Key, int], Iterable[Key]], used: set[Key]
) -> Iterator[tuple[Key, Key]]:
    """Pairs of that grade of meanings that are not used, as the caller uses one after the other."""
    for key in glosses:
        if key not in used:
            free = (other for other in candidates(key, wanted) if other not in used and other != key)
            other = next((other for other in free if grade(glosses, key, other) == wanted), None)
            if other is not None:
                yield key, other


def by(glosses: Dictionary, places: Callable[[Gloss], Iterable]) -> dict:
    """The meanings at each of the places that a gloss belongs to, in the order given."""
    found: dict = {}
    for key, gloss in glosses.items():
        for place in places(gloss):
            found.setdefault(place, []).append(key)
    return found
