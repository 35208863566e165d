"""Sentences of five roles in a generated language: how many of their concepts are equal, in other words?"""

from operator import attrgetter
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.batches import GradedPairs, SentenceParts, Sentences, SentenceTriplets, Translations
from common.benchmark import Benchmark, Metrics, digest
from common.encoders.static import StaticVectors
from common.errors import UserError
from common.evaluation.embed import embed_dataset, evaluating
from common.evaluation.means import Mean
from common.evaluation.similarity import margins, spearman
from common.protocols import EmbedsText, ScoresTextPairs
from common.random import uniform
from common.sampling.batches import ResumableLoader
from common.table import Table, joined, take
from data.benchmarks.bases.floors import BagOfWords, Scattered
from data.benchmarks.bases.rated import RatedPairs, graded_examples, pairs_of, rated_metrics
from data.slot_language import DOMAINS, ROLES, Language, Said, phrases

GRADES = len(ROLES) + 1
PAIRS = {"val": 1000, "test": 2400}
"""Scored pairs, as many of each grade from 0 to 5, the number of equal concepts (of 1,000 up to one more)."""
TRIPLES = {"val": 500, "test": 1000}
"""Scored sentences, each with a paraphrase and five sentences of which one concept is another."""
TRAIN = 20_000
KINDS = ("sentences", "neighbours", "pairs", "triplets", "parts", "translations")
SHORTEST = 4
"""Words of the shorter part, which is a phrase of two roles, and of a part that is cut elsewhere at the least."""
_VERSION = 1
_PARTS = {"val": 0, "test": 1, "sentences": 2, "pairs": 3, "triplets": 4, "translations": 5}
_DRAWS, _TOPIC, _KEPT, _MISSED, _DRAWN, _CUT = 62, 0, 1, 2, 3, 4
"""Key of what is drawn here and not in the language: whether a pair has one topic, what it keeps; the role that a
triplet misses; what is trained on; where a sentence is cut."""


class Triples(NamedTuple):
    """Sentences with a paraphrase and with near misses."""

    anchor: Said
    positive: Said
    """The same concepts, all in other words."""
    negatives: list[Said]
    """For each role, the anchor's own words but for one of another concept in that role."""


def pairs(language: Language, ids: Tensor, *key: int) -> tuple[Said, Said, Tensor]:
    """Two sentences for each id without a word in common, and their number of equal concepts, id mod 6, int64 (n,).

    What is not equal was drawn anew, from the topic of the first or, as often, from another.
    """
    topics, others = language.topics(ids, *key, 0), language.topics(ids, *key, 1)
    one_topic = uniform(ids, 1, _DRAWS, _TOPIC, *key) < 0.5
    concepts = language.concepts(topics, ids, *key, 0)
    changed = language.concepts(others.where(~one_topic, topics), ids, *key, 1, unlike=concepts)
    grades = ids % GRADES
    kept = uniform(ids, len(ROLES), _DRAWS, _KEPT, *key).argsort(dim=1).argsort(dim=1) < grades[:, None]
    first = language.worded(concepts, ids, *key, 0)
    return first, language.worded(changed.where(~kept, concepts), ids, *key, 1, unlike=first.words), grades


def triples(language: Language, ids: Tensor, *key: int) -> Triples:
    """A sentence for each id with what it is told from."""
    topics = language.topics(ids, *key, 0)
    concepts = language.concepts(topics, ids, *key, 0)
    anchor = language.worded(concepts, ids, *key, 0)
    positive = language.worded(concepts, ids, *key, 1, unlike=anchor.words)
    changed = language.concepts(topics, ids, *key, 1, unlike=concepts)
    other = language.worded(changed, ids, *key, 2, unlike=anchor.words)
    negatives = []
    for role in range(len(ROLES)):
        here = torch.arange(len(ROLES)) == role
        words = other.words.where(here, anchor.words)
        negatives.append(Said(changed.where(here, concepts), words, language.styles(ids, *key, 3 + role)))
    return Triples(anchor, positive, negatives)


def neighbours(language: Language, ids: Tensor, *key: int) -> tuple[Said, Said]:
    """Two sentences for each id that have a topic in common, as those of a text have, and nothing else."""
    topics = language.topics(ids, *key, 0)
    first, second = (language.worded(language.concepts(topics, ids, *key, at), ids, *key, at) for at in range(2))
    return first, second


def translations(language: Language, ids: Tensor, *key: int) -> tuple[Said, Said]:
    """Two sentences for each id of the same concepts, without a word in common, each in a style of its own."""
    concepts = language.concepts(language.topics(ids, *key, 0), ids, *key, 0)
    first = language.worded(concepts, ids, *key, 0)
    return first, language.worded(concepts, ids, *key, 1, unlike=first.words)


def cut_elsewhere(text: str, draw: float) -> tuple[str, str]:
    """A sentence cut between two words that are not its border, neither part shorter than the shorter phrase.

    Args:
        draw: chooses among the places, in [0, 1).
    """
    words, border = text.split(), len(phrases(text)[0].split())
    places = [at for at in range(SHORTEST, len(words) - SHORTEST + 1) if at != border]
    at = places[int(draw * len(places))]
    return " ".join(words[:at]), " ".join(words[at:])


Rows = Sentences | GradedPairs | SentenceTriplets | SentenceParts | Translations


class World:
    """What is said in one domain: the scored parts, and what is trained on, which says nothing that is scored."""

    def __init__(self, domain: str) -> None:
        self.language = Language(domain)
        self.rated: dict[str, RatedPairs] = {}
        self.triples: dict[str, list[list[str]]] = {}
        """Anchors, positives, and negatives by the role of the other concept."""
        self.meant: dict[str, list[int]] = {}
        """The concepts of each text that is scored: what an oracle knows."""
        self._scored = [torch.empty(0, dtype=torch.long)] * 2
        """Meanings and wordings of them."""
        for split in PAIRS:
            *sides, grades = pairs(self.language, _candidates(PAIRS[split]), _PARTS[split], 0)
            rows = _in_turn(self._new(*sides), grades)[: PAIRS[split]]
            texts = self._score(rows, *sides)
            self.rated[split] = pairs_of(list(zip(*texts, grades[rows].tolist(), strict=True)))
            found = triples(self.language, _candidates(TRIPLES[split]), _PARTS[split], 1)
            sides = [found.anchor, found.positive, *found.negatives]
            rows = self._new(*sides)[: TRIPLES[split]]
            self.triples[split] = self._score(rows, *sides)

    def _new(self, *sides: Said) -> Tensor:
        """The rows whose meanings and words are not those of another row or of what is scored, int64 (m,)."""
        new = torch.ones(len(sides[0].style), dtype=torch.bool)
        for scored, of in zip(self._scored, (_meaning, _wording), strict=True):
            codes = torch.stack([of(side) for side in sides], dim=1)
            values, at = codes.unique(return_inverse=True)
            row = torch.arange(len(codes))[:, None].expand_as(at)
            first = torch.full((len(values),), len(codes)).scatter_reduce(0, at.flatten(), row.flatten(), "amin")
            new &= ((first[at] == row) & ~torch.isin(codes, scored)).all(dim=1)
        return new.nonzero().flatten()

    def _texts(self, rows: Tensor, *sides: Said) -> list[list[str]]:
        return [self.language.texts(take(side, rows)) for side in sides]

    def _score(self, rows: Tensor, *sides: Said) -> list[list[str]]:
        """The texts of these rows, which from now on are scored."""
        texts = self._texts(rows, *sides)
        for side, of_side in zip(sides, texts, strict=True):
            codes = side.meaning[rows], side.wording[rows]
            self._scored = [torch.cat(both) for both in zip(self._scored, codes, strict=True)]
            self.meant |= dict(zip(of_side, side.concepts[rows].tolist(), strict=True))
        return texts

    def sentences(self) -> list[str]:
        """Sentences to train on, two of a topic one after the other."""
        sides = neighbours(self.language, _candidates(TRAIN // 2), _PARTS["sentences"])
        texts = self._texts(self._new(*sides)[: TRAIN // 2], *sides)
        return [text for both in zip(*texts, strict=True) for text in both]

    def rows(self, kind: str) -> Rows:
        """All that there is of a kind of training, as `SlotSentences` says; ids are positions."""
        ids = torch.arange(TRAIN)
        if kind == "pairs":
            *sides, grades = pairs(self.language, _candidates(TRAIN), _PARTS[kind])
            rows = self._new(*sides)[:TRAIN]
            first, second = self._texts(rows, *sides)
            return GradedPairs(first, second, grades[rows].float(), ids)
        if kind == "translations":
            sides = translations(self.language, _candidates(TRAIN), _PARTS[kind])
            source, target = self._texts(self._new(*sides)[:TRAIN], *sides)
            return Translations(source, target, torch.zeros_like(ids), torch.ones_like(ids), ids)
        if kind == "triplets":
            candidates = _candidates(TRAIN)
            found = triples(self.language, candidates, _PARTS[kind])
            role = (uniform(candidates, 1, _DRAWS, _MISSED)[:, 0] * len(ROLES)).long()
            missed = Said(*(torch.stack(side)[role, candidates] for side in zip(*found.negatives, strict=True)))
            sides = found.anchor, found.positive, missed
            return SentenceTriplets(*self._texts(self._new(*sides)[:TRAIN], *sides), ids)
        texts = self.sentences()
        if kind == "neighbours":
            texts += [f"{one} [SEP] {other}" for one, other in zip(texts[::2], texts[1::2], strict=True)]
        return Sentences(texts, torch.arange(len(texts)))

    def scored_pairs(self) -> GradedPairs:
        """The test pairs; ids are those behind all of "pairs"."""
        rated = self.rated["test"]
        first, second = ([rated.texts[at] for at in side.tolist()] for side in (rated.first, rated.second))
        return GradedPairs(first, second, rated.human.float(), TRAIN + torch.arange(len(first)))


_meaning, _wording = attrgetter("meaning"), attrgetter("wording")


def _candidates(count: int) -> Tensor:
    """Ids to draw so many rows from: some say again what another says, and are left out."""
    return torch.arange(count * 5 // 4)


def _in_turn(rows: Tensor, grades: Tensor) -> Tensor:
    """The rows in the order in which each grade has its turn."""
    turn = F.one_hot(grades[rows], GRADES).cumsum(dim=0).gather(1, grades[rows, None])[:, 0]
    return rows[(turn * GRADES + grades[rows]).argsort(stable=True)]


def counted(texts: list[str]) -> dict[str, nn.Module]:
    """What embeds the language without learning, from all its texts: the floors of whatever is scored on it."""
    return {
        "chance": Scattered(),
        "bag of words": BagOfWords(texts),
        # So wide as is best on validation pairs.
        "mean word vector": StaticVectors(texts, 16),
        "weighted and centred": StaticVectors(texts, 96, weighted=True),
    }


class SlotSentences(Benchmark):
    """Who does what, where and when, in words of which half mean two things: 10,000 train sentences of 20,000 drawn;
    1,000 val, 2,400 test pairs, graded by how many of their five concepts are equal.

    A role has 40 concepts, a concept three words: one of its own and two that another concept of the role has too, so
    that only what else is said tells which is meant. Concepts are log-linear in the topic of a sentence. Four styles
    have an order of the roles, function words and a length of their own, and say nothing of the meaning. Equal concepts
    are always in other words, so that counting words is at chance; half of the pairs share a topic, whatever their
    grade. No meaning and no five words stand in two scored pairs or triples, nor in what is scored and what is
    trained on.

    Args:
        batch_size, seed, data_root: as in `Benchmark`.
        train: "sentences", for methods without labels; "neighbours", all of the sentences, each alone and in a text
            with another of its topic, with [SEP] between the two, for masked language models; "pairs" of all grades;
            "triplets": a sentence, its concepts in other words, and as a hard negative its own words but for one of
            another concept; "parts", the sentences with their two parts; or "translations", pairs that say the same
            five concepts all in other words, for methods that read two languages: order, function words and length of
            either side are those of a style of its own.
        train_size: sentences, pairs or triplets to train on, drawn by the seed from 20,000.
        graded: pairs come with their grades, in place of -1.
        learnt: which domains are trained on, "home" or "both", as many rows of either; the second has other content
            words.
        away: scores the pairs of the second domain too.
        cut: where a sentence is parted, at the "border" of its two phrases or anywhere "else", the shorter part as long
            as the shorter phrase at least.
        transductive: the test pairs, without their grades, are trained on too.

    Raises:
        UserError: an argument is out of range, or does not go with the kind of training.
    """

    name = "slots"
    primary = "spearman/slots"
    added_later: ClassVar[dict[str, Any]] = {"cut": "border", "transductive": False}

    def __init__(
        self,
        batch_size: int = 64,
        seed: int = 0,
        data_root: str | None = None,
        train: Literal["sentences", "neighbours", "pairs", "triplets", "parts", "translations"] = "sentences",
        train_size: int = 10_000,
        graded: bool = False,
        learnt: Literal["home", "both"] = "home",
        away: bool = False,
        cut: Literal["border", "else"] = "border",
        transductive: bool = False,
    ) -> None:
        super().__init__(batch_size, seed, data_root)
        if train not in KINDS:
            raise UserError(f"data.train is {train!r}; it must be one of {', '.join(KINDS)}")
        if not 1 <= train_size <= TRAIN:
            raise UserError(f"data.train_size is {train_size}; it must be from 1 to {TRAIN:,}")
        if graded and train != "pairs":
            raise UserError(f"data.graded goes with pairs; data.train is {train!r}")
        if learnt not in ("home", "both"):
            raise UserError(f"data.learnt is {learnt!r}; it must be 'home' or 'both'")
        self.train, self.train_size, self.graded = train, train_size, graded
        if cut not in ("border", "else"):
            raise UserError(f"data.cut is {cut!r}; it must be 'border' or 'else'")
        if cut == "else" and train != "parts":
            raise UserError(f"data.cut goes with parts; data.train is {train!r}")
        if transductive and (train != "pairs" or graded):
            raise UserError("data.transductive goes with pairs that are not graded")
        self.learnt, self.away = learnt, away
        self.cut, self.transductive = cut, transductive

    def build(self) -> None:
        learnt = DOMAINS if self.learnt == "both" else DOMAINS[:1]
        self.worlds = {domain: World(domain) for domain in (DOMAINS if self.away else learnt)}
        parts = [self._told(self.worlds[domain].rows(self.train)) for domain in learnt]
        parts = [part._replace(ids=part.ids + at * len(part.ids)) for at, part in enumerate(parts)]
        self.pool = joined(*parts)
        scored = {split: rated.texts for split, rated in self.worlds["home"].rated.items()}
        self.splits = {split: Sentences(texts, torch.arange(len(texts))) for split, texts in scored.items()}
        self.splits["train"] = self.pool if self.train == "neighbours" else joined(*map(self._drawn, parts))
        if self.transductive:
            scored_pairs = self._told(self.worlds["home"].scored_pairs())
            scored_pairs = scored_pairs._replace(ids=scored_pairs.ids + TRAIN * (len(learnt) - 1))
            self.pool, self.splits["train"] = (joined(one, scored_pairs) for one in (self.pool, self.splits["train"]))

    def _told(self, part: Rows) -> Rows:
        """The rows as they are trained on."""
        if self.train == "parts":
            places = uniform(part.ids, 1, _DRAWS, _CUT)[:, 0].tolist()
            cuts = [
                phrases(text) if self.cut == "border" else cut_elsewhere(text, place)
                for text, place in zip(part.text, places, strict=True)
            ]
            left, right = map(list, zip(*cuts, strict=True))
            return SentenceParts(part.text, left, right, part.ids)
        hidden = isinstance(part, GradedPairs) and not self.graded
        return part._replace(grades=torch.full_like(part.grades, -1)) if hidden else part

    def _drawn(self, part: Rows) -> Rows:
        order = uniform(part.ids, 1, _DRAWS, _DRAWN, self.seed).flatten().argsort(stable=True)
        return take(part, order[: self.train_size].sort().values)

    def train_dataloader(self) -> ResumableLoader:
        self.setup()
        return Table(self.splits["train"]).loader(self.batch_size, self.seed)

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """Cosines of the pairs against their grades, and how much nearer a paraphrase is than a near miss.

        Returns:
            `spearman/slots`, `alignment/slots` and `uniformity/slots`, see `rated_metrics`; `margin/slots`, the mean
            over the sentences of cos(h, h+) - max cos(h, h-) with the five h- in which one concept is another, and
            `margin/who` and so on, the mean of cos(h, h+) - cos(h, h-) with that of one role. With `away` also
            `spearman/away`, `alignment/away` and `uniformity/away`; of a module that scores pairs also
            `spearman_pair/slots`, the rank correlation of its scores.

        Raises:
            UserError: the module does not offer `embed_text`, or there is no such split.
        """
        self.setup()
        embeds = self.check_request(module, split, EmbedsText)

        def rows(texts: list[str]) -> Tensor:
            return F.normalize(embed_dataset(embeds.embed_text, texts, 256, module), dim=1)

        home = self.worlds["home"]
        metrics = rated_metrics(rows(home.rated[split].texts), home.rated[split], self.name)
        anchor, positive, *negatives = map(rows, home.triples[split])
        found = margins(anchor, positive, torch.stack(negatives, dim=1))
        metrics["margin/slots"] = Mean(found.min(dim=1).values)
        metrics |= {f"margin/{role}": Mean(found[:, at]) for at, role in enumerate(ROLES)}
        if isinstance(module, ScoresTextPairs):
            rated = home.rated[split]
            sides = ([rated.texts[at] for at in side.tolist()] for side in (rated.first, rated.second))
            with evaluating(module):
                scores = module.score_text_pairs(*sides)
            metrics["spearman_pair/slots"] = spearman(scores.float().cpu(), rated.human)
        if self.away:
            away = self.worlds["away"].rated[split]
            metrics |= rated_metrics(rows(away.texts), away, "away")
        return metrics

    def floor(self) -> dict[str, Metrics]:
        """A random direction for each text, counted words, and words by the company they keep."""
        self.setup()
        texts = [text for world in self.worlds.values() for text in world.sentences()]
        return {name: self.evaluate(module) for name, module in counted(texts).items()}

    def sizes(self) -> dict[str, int]:
        self.setup()
        return {"train": len(self.splits["train"].ids)} | PAIRS

    def example(self) -> str:
        """A test pair of each grade."""
        self.setup()
        return graded_examples(self.worlds["home"].rated["test"], [f"{grade} of 5" for grade in range(6)])

    def fingerprint(self) -> str:
        self.setup()
        settings = _VERSION, self.train, self.train_size, self.graded, self.learnt, self.away
        scored = [
            part
            for world in self.worlds.values()
            for split, rated in world.rated.items()
            for part in (rated.texts, rated.first, rated.second, rated.human.long(), world.triples[split])
        ]
        return digest(settings, *(column for column in self.pool if isinstance(column, list)), *scored)
