"""The seven textual similarity tasks as published, with SimCSE's training sets: for full recipes of sentence papers."""

from pathlib import Path
from typing import Literal, NamedTuple

import torch
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn import functional as F

from common.batches import SentenceTriplets
from common.benchmark import Benchmark, Metrics, digest
from common.errors import UserError
from common.evaluation.embed import embed_dataset
from common.lines import read_lines, read_table
from common.protocols import EmbedsText
from common.sampling.batches import ResumableLoader
from common.table import Table
from data.benchmarks.mini.english import numbered
from data.published import beside, published_folder

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
            sentences = numbered([line for line in read_lines(path) if line.strip()])
            return Table(sentences).loader(self.batch_size, self.seed)
        anchor, positive, negative = (list(column) for column in zip(*_triplets(path), strict=True))
        triplets = SentenceTriplets(anchor, positive, negative, torch.arange(len(anchor)))
        return Table(triplets).loader(self.batch_size, self.seed)

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
        self.check_request(module, split, EmbedsText)
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


def _triplets(path: Path) -> list[tuple[str, str, str]]:
    header, *rows = read_table(path)
    if missing := sorted({"sent0", "sent1", "hard_neg"} - set(header)):
        raise UserError(f"{path}:1: there is no column {missing[0]}")
    anchor, positive, negative = (header.index(column) for column in ("sent0", "sent1", "hard_neg"))
    return [(row[anchor], row[positive], row[negative]) for row in rows]


def _spearman(similarity: Tensor, gold: list[float]) -> float:
    return float(spearmanr(similarity.cpu().numpy(), gold).statistic)


def _year(folder: Path, names: tuple[str, ...]) -> Pairs:
    pairs = Pairs([], [], [])
    for name in names:
        files = [folder / f"STS.{kind}.{name}.txt" for kind in ("input", "gs")]
        lines, scores = (list(read_lines(file)) for file in files)
        beside(lines, scores, *files)
        for number, (line, score) in enumerate(zip(lines, scores, strict=True), start=1):
            if score.strip():  # some pairs were never rated
                _add(pairs, [*line.split("\t")[:2], score], (0, 1, 2), f"{files[0]}:{number}")
    return pairs


def _stsb(path: Path) -> Pairs:
    pairs = Pairs([], [], [])
    for number, line in enumerate(read_lines(path), start=1):
        _add(pairs, line.strip().split("\t"), (5, 6, 4), f"{path}:{number}")
    return pairs


def _sick(path: Path) -> Pairs:
    pairs = Pairs([], [], [])
    for number, line in enumerate(read_lines(path), start=1):
        if number > 1:  # the header
            _add(pairs, line.strip().split("\t"), (1, 2, 3), f"{path}:{number}")
    return pairs


def _add(pairs: Pairs, fields: list[str], places: tuple[int, int, int], where: str) -> None:
    """Adds the two sentences and the score that stand in these fields."""
    try:
        first, second, gold = (fields[place].strip() for place in places)
        pairs.gold.append(float(gold))
    except (IndexError, ValueError):
        raise UserError(f"{where}: two sentences and a score are wanted, between tabs") from None
    pairs.first.append(first)
    pairs.second.append(second)
