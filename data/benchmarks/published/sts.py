"""The seven textual similarity tasks as published, with training sets: for full recipes of sentence papers."""

import json
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import torch
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn import functional as F

from common.batches import GradedPairs, SentenceParts, SentenceTriplets
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
Spans = Literal["partition", "adjacent", "overlapping", "subsuming"]
"""How the two parts of a sentence lie to each other in the files of CompCSE's authors."""
STSB = {"val": "STS/STSBenchmark/sts-dev.csv", "test": "STS/STSBenchmark/sts-test.csv"}
SICK = "SICK/SICK_test_annotated.txt"
TRAIN = {
    **{"wiki": "wiki1m_for_simcse.txt", "nli": "nli_for_simcse.csv"},
    **{span: f"{span}_data_for_cse_v1.json" for span in get_args(Spans)},
}
PAIRS = ("STS/STSBenchmark/sts-train.csv", "SICK/SICK_train.txt", "SICK/SICK_trial.txt")
"""What "pairs" has beside all that is scored."""


class Pairs(NamedTuple):
    """Sentence pairs with the mean similarity that people gave them."""

    first: list[str]
    second: list[str]
    gold: list[float]


class STS(Benchmark):
    """STS12-16, STS benchmark and SICK relatedness in the "all" setting: one correlation over all subsets of a year.

    Args:
        train: "wiki", a million Wikipedia sentences; "nli", premises with an entailment and a contradiction;
            "partition", "adjacent", "overlapping" or "subsuming", Wikipedia sentences with two of their spans; or
            "pairs", all pairs of STS benchmark and SICK and the scored ones of each year, each once and without its
            score: so they were trained on by Trans-Encoder's authors.
        batch_size, seed: as in `Benchmark`.
        data_root: folder with SentEval's `STS` and `SICK` folders and the training files of SimCSE's or CompCSE's
            authors.
    """

    name = "sts"
    published = True
    primary = "spearman/sts7"

    def __init__(
        self,
        train: Literal["wiki", "nli", "pairs"] | Spans = "wiki",
        batch_size: int = 64,
        seed: int = 0,
        data_root: str | None = None,
    ) -> None:
        super().__init__(batch_size, seed, data_root)
        if train not in (kinds := [*TRAIN, "pairs"]):
            raise UserError(f"data.train is {train!r}; it must be one of {', '.join(kinds)}")
        self.train = train

    def _folder(self) -> Path:
        years = [f"STS/{year}-en-test/STS.{kind}.{name}.txt" for year, names in YEARS.items() for name in names
                 for kind in ("input", "gs")]  # fmt: skip
        return published_folder(
            self.data_root,
            title="STS tasks and training sets",
            files=[*self._training_files(), *STSB.values(), SICK, *years],
            where="the download scripts in data/ and SentEval/data/downstream/ of https://github.com/princeton-nlp/SimCSE"
            + ("" if self.train in ("wiki", "nli", "pairs") else " and https://github.com/perceptiveshawty/CompCSE"),
            terms="free for research; SICK is CC BY-NC-SA 3.0",
        )

    def _training_files(self) -> tuple[str, ...]:
        return PAIRS if self.train == "pairs" else (TRAIN[self.train],)

    def prepare_data(self) -> None:
        self._folder()

    def train_dataloader(self) -> ResumableLoader:
        if self.train == "pairs":
            return Table(self._unlabelled()).loader(self.batch_size, self.seed)
        path = self._folder() / TRAIN[self.train]
        if self.train in get_args(Spans):
            return Table(_parts(path)).loader(self.batch_size, self.seed)
        if self.train == "wiki":
            sentences = numbered([line for line in read_lines(path) if line.strip()])
            return Table(sentences).loader(self.batch_size, self.seed)
        anchor, positive, negative = (list(column) for column in zip(*_triplets(path), strict=True))
        triplets = SentenceTriplets(anchor, positive, negative, torch.arange(len(anchor)))
        return Table(triplets).loader(self.batch_size, self.seed)

    def _unlabelled(self) -> GradedPairs:
        """The pairs of the test tasks, then all others; of those whose texts make up one text the first alone."""
        folder = self._folder()
        sts, *sick = (folder / name for name in PAIRS)
        parts = [*self.tasks("test").values(), *self.tasks("val").values(), _stsb(sts), *map(_sick, sick)]
        known: dict[str, tuple[str, str]] = {}
        for part in parts:
            for pair in zip(part.first, part.second, strict=True):
                known.setdefault("".join(pair), pair)
        first, second = map(list, zip(*known.values(), strict=True))
        return GradedPairs(first, second, torch.full((len(first),), -1.0), torch.arange(len(first)))

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
        train = [(self._folder() / name).read_bytes() for name in self._training_files()]
        return digest(*train, *(task for split in ("val", "test") for task in self.tasks(split).items()))


def _triplets(path: Path) -> list[tuple[str, str, str]]:
    header, *rows = read_table(path)
    if missing := sorted({"sent0", "sent1", "hard_neg"} - set(header)):
        raise UserError(f"{path}:1: there is no column {missing[0]}")
    anchor, positive, negative = (header.index(column) for column in ("sent0", "sent1", "hard_neg"))
    return [(row[anchor], row[positive], row[negative]) for row in rows]


def _parts(path: Path) -> SentenceParts:
    """The first three columns of a JSON object a line, a sentence and two spans; for null there is a blank."""
    rows = []
    for number, line in enumerate(read_lines(path), start=1):
        if line.strip():
            try:
                text, left, right = [value or " " for value in json.loads(line).values()][:3]
            except (ValueError, AttributeError):
                raise UserError(f"{path}:{number}: a JSON object with a sentence and two parts is wanted") from None
            rows.append((text, left, right))
    return SentenceParts(*map(list, zip(*rows, strict=True)), torch.arange(len(rows)))


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
