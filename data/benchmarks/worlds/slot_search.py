"""Two tasks in the language of slots: sentences are sought by who does what, and pairs graded by what they share."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.batches import TaskTexts
from common.benchmark import Benchmark, Metrics, digest
from common.errors import UserError
from common.evaluation.embed import embed_dataset
from common.evaluation.retrieval import ranking_metrics, same_id
from common.protocols import EmbedsText
from common.random import uniform
from common.sampling.batches import GlobalBatchSampler, ResumableLoader
from common.sampling.tasks import MixedTaskSampler, SingleTaskSampler
from common.table import Table, cut, joined, take
from data.benchmarks.bases.rated import graded_examples, rated_metrics
from data.benchmarks.worlds.slots import GRADES, World, counted, pairs
from data.slot_language import BORDER, CONCEPTS, ROLES, Language, Said, who_does_what

QUERIES = {"val": 200, "test": 500}
"""Scored queries, each with `ANSWERS` and as many near misses as it has roles in the gallery."""
ANSWERS = 2
TASKS = ("queries", "pairs")
TRAIN = 6_000
"""Queries, and pairs, to draw from."""
_VERSION = 1
_PARTS = {"val": 5, "test": 6, "train": 7, "pairs": 8}
_DRAWN = 9
"""Key of what is trained on, beside the keys of `slots`."""


class Search(NamedTuple):
    """Sentences that queries are made of, and what is right and wrong for them."""

    query: Said
    answers: list[Said]
    """Who does what is the same, all in other words; where and when is whatever goes with the topic."""
    misses: list[Said]
    """For each of these roles, as an answer but for another concept in it."""


def searches(language: Language, ids: Tensor, *key: int) -> Search:
    """A query for each id."""
    topics = language.topics(ids, *key, 0)
    concepts = language.concepts(topics, ids, *key, 0)
    wrong = language.concepts(topics, ids, *key, 1, unlike=concepts)
    query = language.worded(concepts, ids, *key, 0)
    roles = torch.arange(len(ROLES))

    def document(number: int, missed: int = -1) -> Said:
        there = language.concepts(topics, ids, *key, number)
        said = wrong.where(roles == missed, concepts.where(roles < BORDER, there))
        return language.worded(said, ids, *key, number, unlike=query.words)

    answers = [document(2 + number) for number in range(ANSWERS)]
    return Search(query, answers, [document(2 + ANSWERS + role, role) for role in range(BORDER)])


class Scored(NamedTuple):
    """The queries and the gallery of a split, with what each says of who does what as a number."""

    queries: list[str]
    documents: list[str]
    asked: Tensor
    """int64, (n,)."""
    told: Tensor
    """int64, (m,)."""


class SearchWorld(World):
    """The world of `slots`, whose pairs are scored as there, with queries; what is trained on is neither."""

    def __init__(self) -> None:
        super().__init__("home")
        self.asked = torch.empty(0, dtype=torch.long)
        self.queries = {split: self._scored_queries(split) for split in QUERIES}

    def _found(self, part: str, count: int) -> tuple[Tensor, list[Said]]:
        """Rows that are new, and query, answers and misses of all candidates."""
        # Some candidates say again what another says, and some ask what was asked.
        found = searches(self.language, torch.arange(count * 3 // 2), _PARTS[part])
        sides = [found.query, *found.answers, *found.misses]
        rows = self._new(*sides)
        rows = rows[~torch.isin(_who_does_what(found.query)[rows], self.asked)][:count]
        if len(rows) < count:
            raise ArithmeticError(f"{len(rows)} of {count} queries are new")
        return rows, sides

    def _scored_queries(self, split: str) -> Scored:
        rows, sides = self._found(split, QUERIES[split])
        codes = [_who_does_what(side)[rows] for side in sides]
        self.asked = torch.cat([self.asked, codes[0]])
        texts, *documents = self._score(rows, *sides)
        queries = list(map(who_does_what, texts))
        return Scored(queries, [text for side in documents for text in side], codes[0], torch.cat(codes[1:]))

    def training(self) -> TaskTexts:
        """All queries and all pairs that there are to train on, one after the other; ids are positions."""
        rows, sides = self._found("train", TRAIN)
        query, *documents = self._texts(rows, *sides)
        documents = list(map(list, zip(*documents, strict=True)))
        right, wrong = ([row[part] for row in documents] for part in (slice(ANSWERS), slice(ANSWERS, None)))
        asked = TaskTexts(
            list(map(who_does_what, query)), right, wrong, torch.full((TRAIN,), -1.0), torch.arange(TRAIN)
        )
        *sides, grades = pairs(self.language, torch.arange(TRAIN * 5 // 4), _PARTS["pairs"])
        rows = self._new(*sides)[:TRAIN]
        first, second = self._texts(rows, *sides)
        shares = grades[rows] / (GRADES - 1)
        told = TaskTexts(first, [[text] for text in second], [[] for _ in second], shares, TRAIN + torch.arange(TRAIN))
        return joined(asked, told)


def _who_does_what(said: Said) -> Tensor:
    """One number for the concepts of these roles, int64 (n,)."""
    return (said.concepts[:, :BORDER] * CONCEPTS ** torch.arange(BORDER)).sum(dim=1)


class SlotSearch(Benchmark):
    """Retrieval and similarity in one generated language: 500 test queries in a gallery of 2,500; 2,400 graded pairs.

    The sentences are those of `slots`. A query is the phrase of a sentence that tells who does what. Right are two
    sentences with these three concepts, all in other words, and wherever and whenever goes with the topic; near
    misses, hard negatives in training, differ from that in one of the three. The pairs are graded by how many of all
    five concepts are equal, so that where and when counts for the one task and not for the other. What is trained on
    holds no meaning that is scored, and asks for nothing that is asked for there.

    Args:
        batch_size: queries in a batch of them.
        seed, data_root: as in `Benchmark`.
        pair_batch_size: pairs in a batch of them.
        train_size: queries to train on, drawn by the seed from 6,000.
        train_pairs: graded pairs to train on, drawn likewise.
        tasks: "both", or the "queries" or the "pairs" alone.
        batches: of a "single" task, all in random order; or "mixed", half a batch of the one and half of the other.

    Raises:
        UserError: an argument is out of range.
    """

    name = "slot_search"
    primary = "mean_of_tasks/slot_search"

    def __init__(
        self,
        batch_size: int = 32,
        seed: int = 0,
        data_root: str | None = None,
        pair_batch_size: int = 32,
        train_size: int = 3_200,
        train_pairs: int = 3_200,
        tasks: Literal["both", "queries", "pairs"] = "both",
        batches: Literal["single", "mixed"] = "single",
    ) -> None:
        super().__init__(batch_size, seed, data_root)
        for name, value in {"train_size": train_size, "train_pairs": train_pairs}.items():
            if not 1 <= value <= TRAIN:
                raise UserError(f"data.{name} is {value}; it must be from 1 to {TRAIN:,}")
        if tasks not in ("both", "queries", "pairs"):
            raise UserError(f"data.tasks is {tasks!r}; it must be 'both', 'queries' or 'pairs'")
        if batches not in ("single", "mixed"):
            raise UserError(f"data.batches is {batches!r}; it must be 'single' or 'mixed'")
        if batches == "mixed" and (tasks != "both" or min(batch_size, pair_batch_size) < 2):
            raise UserError("data.batches is 'mixed'; it needs both tasks, and batches of at least 2 of each")
        self.train_size, self.train_pairs, self.tasks, self.batches = train_size, train_pairs, tasks, batches
        trained = TASKS if tasks == "both" else (tasks,)
        rows, together = (
            {"queries": train_size, "pairs": train_pairs},
            {"queries": batch_size, "pairs": pair_batch_size},
        )
        self._rows = {task: rows[task] for task in trained}
        self._together = {task: together[task] for task in trained}
        """Of each task that is trained on, rows and rows in a batch."""

    def build(self) -> None:
        self.world = SearchWorld()
        self.pool = self.world.training()
        parts = cut(self.pool, dict.fromkeys(TASKS, TRAIN))
        drawn = [self._drawn(parts[task], size) for task, size in self._rows.items()]
        self.splits = {"train": joined(*drawn), **self.world.queries}

    def _drawn(self, part: TaskTexts, size: int) -> TaskTexts:
        order = uniform(part.ids, 1, _DRAWN, self.seed).flatten().argsort(stable=True)
        return take(part, order[:size].sort().values)

    def order(self) -> GlobalBatchSampler:
        """The batches, by positions among what is trained on."""
        if self.batches == "mixed":
            return MixedTaskSampler(
                list(self._rows.values()), [size // 2 for size in self._together.values()], self.seed
            )
        return SingleTaskSampler(list(self._rows.values()), list(self._together.values()), self.seed)

    def train_dataloader(self) -> ResumableLoader:
        self.setup()
        return Table(self.splits["train"]).loader_over(self.order())

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """How well the cosines of pairs agree with their grades, and how high right sentences stand for a query.

        Returns:
            `spearman`, `alignment` and `uniformity` as `rated_metrics` has them, of pairs; `ndcg@10` and `map` of the
            queries in the gallery; `mean_of_tasks`, of `spearman` and `ndcg@10`; each with `/slot_search`.

        Raises:
            UserError: the module does not offer `embed_text`, or there is no such split.
        """
        self.setup()
        embeds = self.check_request(module, split, EmbedsText)

        def rows(texts: list[str]) -> Tensor:
            return F.normalize(embed_dataset(embeds.embed_text, texts, 256, module), dim=1)

        rated, scored = self.world.rated[split], self.world.queries[split]
        metrics = rated_metrics(rows(rated.texts), rated, self.name)
        query, document = rows(scored.queries), rows(scored.documents)
        right = same_id(scored.asked.to(query.device), scored.told.to(query.device))
        found = ranking_metrics(query, document, right)
        metrics |= {f"{name.split('/')[0]}/{self.name}": value for name, value in found.items()}
        both = float(metrics[f"spearman/{self.name}"]), float(metrics[f"ndcg@10/{self.name}"])
        return metrics | {self.primary: sum(both) / 2}

    def floor(self) -> dict[str, Metrics]:
        """A random direction for each text, counted words, and words by the company they keep."""
        self.setup()
        floors = counted(self.world.sentences())
        return {name: self.evaluate(module) for name, module in floors.items()}

    def sizes(self) -> dict[str, int]:
        self.setup()
        return {"train": len(self.splits["train"].ids)} | QUERIES

    def example(self) -> str:
        """A query with an answer and a near miss, and a test pair of each grade."""
        self.setup()
        scored = self.world.queries["test"]
        said = dict(zip(("query", "right", "wrong"), (scored.queries, scored.documents, scored.documents), strict=True))
        first = {"query": 0, "right": 0, "wrong": ANSWERS * len(scored.queries)}
        lines = [f"{name}: {texts[first[name]]}" for name, texts in said.items()]
        grades = [f"{grade} of {len(ROLES)}" for grade in range(GRADES)]
        return "\n".join([*lines, graded_examples(self.world.rated["test"], grades)])

    def fingerprint(self) -> str:
        self.setup()
        settings = _VERSION, self.train_size, self.train_pairs, self.tasks
        scored = [
            part
            for split in QUERIES
            for rated, found in [(self.world.rated[split], self.world.queries[split])]
            for part in (rated.texts, rated.first, rated.second, rated.human.long(), *found)
        ]
        trained = self.pool._replace(grades=(self.pool.grades * (GRADES - 1)).round().long())
        return digest(settings, *trained, *scored)
