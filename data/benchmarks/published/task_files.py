"""Queries with documents, and graded pairs, in CoDiEmb's one format: for full recipes."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.batches import TaskTexts
from common.benchmark import Benchmark, Metrics, digest
from common.errors import UserError
from common.evaluation.embed import embed_dataset
from common.evaluation.means import Mean
from common.evaluation.retrieval import best_ranks
from common.evaluation.similarity import spearman
from common.lines import read_lines
from common.protocols import EmbedsText
from common.random import uniform
from common.sampling.batches import ResumableLoader
from common.sampling.tasks import SingleTaskSampler
from common.table import Rows, Table
from data.published import published_folder

FOLDERS = {"ir": "ir", "sts": "sts"}
HELD_OUT = 1000
"""Rows of each task that are scored on "val" and on "test" and not trained on, or a tenth of all."""


class Row(NamedTuple):
    """A line of a file; instructions stand before the texts."""

    query: str
    positives: list[str]
    negatives: list[str]
    """None of a pair."""
    grade: float
    """Of a pair; -1 of a query."""


class TaskFiles(Benchmark):
    """Folders `ir` and `sts` of files of lines, a data set a file, as the authors of CoDiEmb give examples of.

    A batch is of one data set. A query has documents drawn from its lists, others in each epoch, which come again where
    a list is too short. The authors score by C-MTEB; here rows of either task are held out: a query's first document is
    sought among those of the others, and the cosines of pairs are ranked beside their grades.

    Args:
        batch_size: queries in a batch of them.
        seed: as in `Benchmark`.
        data_root: the folder that holds them.
        pair_batch_size: pairs in a batch of them.
        positives, negatives: documents of each query.
    """

    name = "task_files"
    primary = "mean_of_tasks/held_out"
    published = True

    def __init__(
        self,
        batch_size: int = 64,
        seed: int = 0,
        data_root: str | None = None,
        pair_batch_size: int = 32,
        positives: int = 2,
        negatives: int = 4,
    ) -> None:
        super().__init__(batch_size, seed, data_root)
        for name, value in {"pair_batch_size": pair_batch_size, "positives": positives, "negatives": negatives}.items():
            if value < 1:
                raise UserError(f"data.{name} is {value}; it must be at least 1")
        self.pair_batch_size, self.positives, self.negatives = pair_batch_size, positives, negatives
        self.splits: dict[str, list[Row]] = {}

    def _folder(self) -> Path:
        return published_folder(
            self.data_root,
            title="CoDiEmb's training data",
            files=list(FOLDERS.values()),
            where="training/CoDiEmb/data of TencentCloudADP/youtu-embedding, which has examples of 100 lines",
            terms="as each of its sets says",
        )

    def prepare_data(self) -> None:
        self._folder()

    def build(self) -> None:
        folder = self._folder()
        self.splits = {"train": [], "val": [], "test": []}
        self._sizes: list[tuple[int, int]] = []
        """Rows and rows in a batch of each data set that is trained on."""
        for task, batch_size in (("ir", self.batch_size), ("sts", self.pair_batch_size)):
            files = sorted(path for path in (folder / FOLDERS[task]).iterdir() if path.suffix in (".json", ".jsonl"))
            sets = [_read(path, task) for path in files]
            count = sum(map(len, sets))
            if count < 3:
                raise UserError(f"{folder / FOLDERS[task]} holds {count} rows; three are needed")
            step = count // (2 * min(HELD_OUT, max(1, count // 10)))
            place = 0
            for rows in sets:
                kept = []
                for row in rows:
                    # Every step-th is scored, on "val" and "test" in turn.
                    split = ("val", "test")[place // step % 2] if place % step == 0 else "train"
                    (kept if split == "train" else self.splits[split]).append(row)
                    place += 1
                self.splits["train"] += kept
                self._sizes.append((len(kept), batch_size))

    def train_dataloader(self) -> ResumableLoader:
        self.setup()
        order = SingleTaskSampler(*map(list, zip(*self._sizes, strict=True)), self.seed)
        return Table(Rows(torch.arange(len(self.splits["train"]))), self._drawn).loader_over(order)

    def _drawn(self, rows: Rows, seed: int, epoch: int) -> TaskTexts:
        found = [self.splits["train"][at] for at in rows.index.tolist()]
        right, wrong = [], []
        for at, row in zip(rows.index, found, strict=True):
            lists = (row.positives, self.positives), (row.negatives, self.negatives)
            for number, (into, (texts, count)) in enumerate(zip((right, wrong), lists, strict=True)):
                many = texts * -(-count // max(1, len(texts)))
                order = uniform(at[None], len(many), 72, seed, epoch, number).flatten().argsort(stable=True)
                into.append([many[place] for place in order[:count].tolist()] if row.negatives else texts[:1])
        grades = torch.tensor([row.grade for row in found])
        return TaskTexts([row.query for row in found], right, wrong, grades, rows.index)

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """`mrr/held_out` of queries, `spearman/held_out` of pairs, and their mean.

        Raises:
            UserError: the module does not offer `embed_text`, or there is no such split.
        """
        self.setup()
        embeds = self.check_request(module, split, EmbedsText)

        def sides(held: list[Row]) -> list[Tensor]:
            """Of the queries and their first documents, or of both texts of pairs."""
            texts = [row.query for row in held], [row.positives[0] for row in held]
            return [F.normalize(embed_dataset(embeds.embed_text, side, 64, module), dim=1) for side in texts]

        queries = [row for row in self.splits[split] if row.negatives]
        pairs = [row for row in self.splits[split] if not row.negatives]
        ranks = best_ranks(*sides(queries))
        first, second = sides(pairs)
        agreement = spearman((first * second).sum(dim=1).cpu(), torch.tensor([row.grade for row in pairs]))
        found = Mean(ranks.double().reciprocal())
        return {
            "mrr/held_out": found,
            "spearman/held_out": agreement,
            self.primary: (float(found) + float(agreement)) / 2,
        }

    def floor(self) -> dict[str, Metrics]:
        """A random order of the documents, and of the pairs."""
        self.setup()
        count = sum(bool(row.negatives) for row in self.splits["test"])
        chance = sum(1 / rank for rank in range(1, count + 1)) / count
        return {"chance": {"mrr/held_out": chance, "spearman/held_out": 0.0, self.primary: chance / 2}}

    def fingerprint(self) -> str:
        self.setup()
        settings = self.positives, self.negatives, self._sizes
        return digest((settings, {name: list(map(tuple, part)) for name, part in self.splits.items()}))


def _read(path: Path, task: str) -> list[Row]:
    rows = []
    for number, line in enumerate(read_lines(path), 1):
        try:
            rows.append(_row(json.loads(line), task))
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise UserError(f"{path}:{number}: no row of {task}: {type(error).__name__} {error}") from None
    return rows


def _row(held: dict[str, Any], task: str) -> Row:
    if held["task_type"] != task:
        raise ValueError(f"task_type is {held['task_type']!r}")
    query, first = _asked(*held["query"]), held["positives"][0]
    if task == "sts":
        return Row(query, [_asked(*first)], [], float(held["positive_scores"][0]))
    # A query without any has one that says nothing, as released.
    wrong = held.get("negatives") or [["", "", "nothing"]]
    return Row(query, [_told(*one) for one in held["positives"]], [_told(*one) for one in wrong], -1.0)


def _asked(task: str, about: str, text: str) -> str:
    """A query, and both texts of a pair, as the released code writes them for BGE, which brackets them itself."""
    task, about, text = (part.strip("\t\n :") for part in (task, about, text))
    return f"Instruction: {task} Query: {about[:512]}{text}" if task else f"{about[:512]}{text}"


def _told(_: str, about: str, text: str) -> str:
    """A document."""
    about, text = (part.strip("\t\n :") for part in (about, text))
    return f"Passage: {about[:512]}{text}"
