"""The seven textual similarity tasks as published, with SimCSE's training sets: for full recipes of sentence papers."""

import csv
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from common.batches import SentenceTriplets
from common.benchmark import Benchmark, Metrics, digest
from common.errors import UserError
from common.evaluation.embed import embed_dataset
from common.protocols import EmbedsText
from common.sampling.batches import GlobalBatchSampler, ResumableLoader
from data.benchmarks.mini.english import Passages
from data.published import published_folder

# Subsets of each year as SentEval distributes them; STS13 lacks SMT, whose licence forbids it.
YEARS = {
    "STS12": ("MSRpar", "MSRvid", "SMTeuroparl", "surprise.OnWN", "surprise.SMTnews"),
    "STS13": ("FNWN", "headlines", "OnWN"),
    "STS14": ("deft-forum", "deft-news", "headlines", "images", "OnWN", "tweet-news"),
    "STS15": ("answers-forums", "answers-students", "belief", "headlines", "images"),
    "STS16": ("answer-answer", "headlines", "plagiarism", "postediting", "question-question"),
}
STSB = {"val": "STS/STSBenchmark/sts-dev.csv", "test": "STS/STSBenchmark/sts-test.csv"}
SICK = "SICK/SICK_test_annotated.txt"
TRAIN = {"wiki": "wiki1m_for_simcse.txt", "nli": "nli_for_simcse.csv"}


class Pairs(NamedTuple):
    """Sentence pairs with the mean similarity that people gave them."""

    first: list[str]
    second: list[str]
    gold: list[float]


class _Triplets(Dataset):
    """Takes a whole list of indices at once and returns a batch."""

    def __init__(self, rows: list[tuple[str, str, str]]) -> None:
        self.rows = rows

    def __getitem__(self, index: list[int]) -> SentenceTriplets:
        anchor, positive, negative = (list(column) for column in zip(*(self.rows[i] for i in index), strict=True))
        return SentenceTriplets(anchor, positive, negative, torch.tensor(index))


class STS(Benchmark):
    """STS12-16, STS benchmark and SICK relatedness in the "all" setting: one correlation over all subsets of a year.

    Args:
        train: "wiki", a million Wikipedia sentences, or "nli", premises with an entailment and a contradiction.
        batch_size, seed: as in `Benchmark`.
        data_root: folder with SentEval's `STS` and `SICK` folders and the training files of SimCSE's authors.
    """

    name = "sts"
    published = True
    primary = "spearman/sts7"

    def __init__(
        self, train: Literal["wiki", "nli"] = "wiki", batch_size: int = 64, seed: int = 0, data_root: str | None = None
    ) -> None:
        super().__init__(batch_size, seed, data_root)
        if train not in TRAIN:
            raise UserError(f"data.train is {train!r}; it must be 'wiki' or 'nli'")
        self.train = train

    def _folder(self) -> Path:
        years = [f"STS/{year}-en-test/STS.{kind}.{name}.txt" for year, names in YEARS.items() for name in names
                 for kind in ("input", "gs")]  # fmt: skip
        return published_folder(
            self.data_root,
            title="STS tasks and SimCSE's training sets",
            files=[TRAIN[self.train], *STSB.values(), SICK, *years],
            where="the download scripts in data/ and SentEval/data/downstream/ of https://github.com/princeton-nlp/SimCSE",
            terms="free for research; SICK is CC BY-NC-SA 3.0",
        )

    def prepare_data(self) -> None:
        self._folder()

    def train_dataloader(self) -> ResumableLoader:
        path = self._folder() / TRAIN[self.train]
        if self.train == "wiki":
            data: Dataset = Passages([line for line in path.read_text("utf-8").splitlines() if line.strip()])
            rows = len(data.texts)
        else:
            with path.open(encoding="utf-8", newline="") as file:
                triplets = [(r["sent0"], r["sent1"], r["hard_neg"]) for r in csv.DictReader(file)]
            data, rows = _Triplets(triplets), len(triplets)
        return ResumableLoader(data, sampler=GlobalBatchSampler(rows, self.batch_size, self.seed), batch_size=None)

    def tasks(self, split: str) -> dict[str, Pairs]:
        """The scored pairs by task; the authors choose their checkpoint on the development set of STS-B alone."""
        folder = self._folder()
        if split == "val":
            return {"stsb-dev": _stsb(folder / STSB["val"])}
        tasks = {year.lower(): _year(folder / "STS" / f"{year}-en-test", names) for year, names in YEARS.items()}
        return {**tasks, "stsb": _stsb(folder / STSB["test"]), "sick-r": _sick(folder / SICK)}

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """Spearman's correlation of cosine and gold score, `spearman/<task>`, and on "test" their mean `spearman/sts7`.

        Raises:
            UserError: the module does not offer `embed_text`, or there is no such split.
        """
        if split not in ("val", "test"):
            raise UserError(f"split is {split!r}; it must be 'val' or 'test'")
        if not isinstance(module, EmbedsText):
            raise UserError(f"benchmark sts needs a module with embed_text; {type(module).__name__} has none")
        metrics = {}
        for task, pairs in self.tasks(split).items():
            first, second = (embed_dataset(module.embed_text, side, 256, module) for side in pairs[:2])
            metrics[f"spearman/{task}"] = _spearman(F.cosine_similarity(first, second), pairs.gold)
        if split == "test":
            metrics[self.primary] = sum(metrics.values()) / len(metrics)
        return metrics

    def floor(self) -> dict[str, Metrics]:
        """A constant similarity ranks nothing."""
        return {"chance": {self.primary: 0.0}}

    def fingerprint(self) -> str:
        train = (self._folder() / TRAIN[self.train]).read_bytes()
        return digest(train, *(task for split in ("val", "test") for task in self.tasks(split).items()))


def _spearman(similarity: Tensor, gold: list[float]) -> float:
    return float(spearmanr(similarity.cpu().numpy(), gold).statistic)


def _year(folder: Path, names: tuple[str, ...]) -> Pairs:
    pairs = Pairs([], [], [])
    for name in names:
        lines = (folder / f"STS.input.{name}.txt").read_text("utf-8").splitlines()
        scores = (folder / f"STS.gs.{name}.txt").read_text("utf-8").splitlines()
        for line, score in zip(lines, scores, strict=True):
            if score.strip():  # some pairs were never rated
                first, second = line.split("\t")[:2]
                _add(pairs, first, second, score)
    return pairs


def _stsb(path: Path) -> Pairs:
    pairs = Pairs([], [], [])
    for line in path.read_text("utf-8").splitlines():
        fields = line.strip().split("\t")
        _add(pairs, fields[5], fields[6], fields[4])
    return pairs


def _sick(path: Path) -> Pairs:
    pairs = Pairs([], [], [])
    for line in path.read_text("utf-8").splitlines()[1:]:
        fields = line.strip().split("\t")
        _add(pairs, fields[1], fields[2], fields[3])
    return pairs


def _add(pairs: Pairs, first: str, second: str, gold: str) -> None:
    pairs.first.append(first.strip())
    pairs.second.append(second.strip())
    pairs.gold.append(float(gold))
