"""The base of benchmarks of described motions: batches to train on, and the four retrieval protocols of TMR."""

from abc import abstractmethod
from typing import ClassVar, NamedTuple

import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge
from torch import Tensor, nn
from torch.nn import functional as F

from common.batches import CaptionedMotions
from common.benchmark import Benchmark, Metrics, digest
from common.encoders.sequence import Sequences
from common.evaluation.embed import embed_dataset
from common.evaluation.knn import knn_accuracy
from common.evaluation.probe import linear_probe_accuracy
from common.evaluation.retrieval import best_ranks, rank_metrics, similar
from common.protocols import EmbedsMotion, EmbedsText
from common.random import uniform
from common.sampling.batches import ResumableLoader
from common.table import Rows, Table
from data.benchmarks.bases.captions import Grammar
from data.benchmarks.bases.floors import Scattered

RECALLS = (1, 2, 3, 5, 10)
THRESHOLD = 0.95
"""Similarity, in [0, 1], from which another's caption is as good as one's own."""
SMALL_BATCH = 32


class Described(NamedTuple):
    """`n` samples with `m` descriptions. Descriptions of one sample may be of different parts of its motion."""

    motion: list[Tensor]
    """What each description is about: normalized frames, float of shape (t_i, c); m tensors."""
    text: list[str]
    """The descriptions; those of a sample stand together, and the first is the one that is scored."""
    meaning: Tensor
    """Unit vectors, shape (m, e)."""
    start: Tensor
    """The descriptions of sample i are start[i] to start[i + 1], int64 of shape (n + 1,)."""
    ids: Tensor
    """Global sample ids, int64 of shape (n,)."""
    labels: Tensor | None
    """Class of each sample where there are classes, int64 of shape (n,)."""

    def scored_motions(self) -> list[Tensor]:
        return [self.motion[i] for i in self.start[:-1].tolist()]

    def scored_texts(self) -> list[str]:
        return [self.text[i] for i in self.start[:-1].tolist()]


class CaptionedMotion(Benchmark):
    """Learns from described motions; finds motions by text and text by motion, and tells activities apart.

    The protocols are those of TMR (Petrovich et al. 2023, section 4.1). Scores are cosines. Equal scores count against
    the method, where the authors take the middle of the tied ranks.
    """

    primary = f"text_to_motion/recall@1/threshold{THRESHOLD}"
    grammar: ClassVar[Grammar]
    version: ClassVar[int]
    """Of what makes motions and captions out of the source, see `Benchmark.origin`."""
    dissimilar: ClassVar[int]
    """Pairs in the subset of dissimilar captions."""

    def __init__(self, batch_size: int = 64, seed: int = 0, data_root: str | None = None) -> None:
        super().__init__(batch_size, seed, data_root)
        self.splits: dict[str, Described] = {}

    @abstractmethod
    def load(self) -> dict[str, Described]:
        """Reads the source and returns its fixed "train", "val" and "test" splits."""

    def build(self) -> None:
        self.splits = self.load()

    def train_dataloader(self) -> ResumableLoader:
        self.setup()
        rows = torch.arange(len(self.splits["train"].ids))
        return Table(Rows(rows), self._captioned).loader(self.batch_size, self.seed)

    def _captioned(self, rows: Rows, seed: int, epoch: int) -> CaptionedMotions:
        """Samples of the train split; each epoch draws one of a sample's descriptions."""
        part, index = self.splits["train"], rows.index
        first, count = part.start[index], part.start[index + 1] - part.start[index]
        draw = uniform(part.ids[index], 1, seed, epoch).flatten()
        chosen = first + (draw * count).long()
        padded = Sequences.padded([part.motion[i] for i in chosen.tolist()])
        text = [part.text[i] for i in chosen.tolist()]
        return CaptionedMotions(padded.values, padded.real.sum(1), text, part.meaning[chosen], part.ids[index])

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """Scores the activity, and retrieval if the module embeds text too.

        Returns:
            `{direction}/{metric}/{protocol}` for the metrics of `rank_metrics`, the direction text_to_motion or
            motion_to_text, and the protocols
            `all`: a query's own partner in the whole split;
            `threshold0.95`: any whose caption is that similar to the query's is right, too;
            `dissimilar{n}`: among n pairs whose captions say different things;
            `batches32`: among 32 random pairs, the mean over the batches of the split.
            Where there are classes, `knn20_cosine/top1` and `probe_linear/top1`, both fitted on the train split.

        Raises:
            UserError: the module does not offer `embed_motion`, or there is no such split.
        """
        self.setup()
        embed_motion = self.check_request(module, split, EmbedsMotion).embed_motion
        part = self.splits[split]
        motion = embed_dataset(embed_motion, part.scored_motions(), 256, module)
        metrics: Metrics = {}
        if isinstance(module, EmbedsText):
            text = embed_dataset(module.embed_text, part.scored_texts(), 256, module)
            metrics |= self._retrieval(F.normalize(text, dim=1), F.normalize(motion, dim=1), split)
        train = self.splits["train"]
        if train.labels is not None and part.labels is not None:
            fitted = embed_dataset(embed_motion, train.scored_motions(), 256, module).cpu(), train.labels
            metrics["knn20_cosine/top1"] = knn_accuracy(*fitted, motion.cpu(), part.labels, k=20)
            metrics["probe_linear/top1"] = linear_probe_accuracy(*fitted, motion.cpu(), part.labels)
        return metrics

    def _retrieval(self, text: Tensor, motion: Tensor, split: str) -> Metrics:
        part = self.splits[split]
        meaning = part.meaning[part.start[:-1]].to(text.device)
        # A similarity in [0, 1] is (1 + cosine) / 2.
        alike = similar(meaning, meaning, 2 * THRESHOLD - 1)
        few = self.dissimilar_subset(split)
        shuffled = uniform(part.ids, 1, SMALL_BATCH).flatten().argsort(stable=True)
        batches = [rows for rows in shuffled.split(SMALL_BATCH) if len(rows) == SMALL_BATCH]
        metrics: Metrics = {}
        for direction, query, key in (("text_to_motion", text, motion), ("motion_to_text", motion, text)):
            small = [best_ranks(query[rows], key[rows]) for rows in batches]
            medians = [rank_metrics(ranks)["median_rank"] for ranks in small]
            found = {
                "all": rank_metrics(best_ranks(query, key), RECALLS),
                f"threshold{THRESHOLD}": rank_metrics(best_ranks(query, key, alike), RECALLS),
                f"dissimilar{len(few)}": rank_metrics(best_ranks(query[few], key[few]), RECALLS),
                f"batches{SMALL_BATCH}": rank_metrics(torch.cat(small), RECALLS)
                | {"median_rank": sum(medians) / len(medians)},
            }
            for protocol, values in found.items():
                metrics |= {f"{direction}/{name}/{protocol}": value for name, value in values.items()}
        return metrics

    def dissimilar_subset(self, split: str) -> Tensor:
        """Positions of `dissimilar` samples, each as far as can be in meaning from those chosen before it."""
        part = self.splits[split]
        meaning = part.meaning[part.start[:-1]].double()
        chosen, nearest = [0], meaning @ meaning[0]
        while len(chosen) < min(self.dissimilar, len(meaning)):
            # The first of those that are equally far, whichever of them rounding puts in front.
            chosen.append(int((nearest <= nearest.min() + 1e-6).nonzero()[0]))
            nearest = torch.maximum(nearest, meaning @ meaning[chosen[-1]])
        return torch.tensor(chosen)

    def floor(self) -> dict[str, Metrics]:
        """Chance (the mean of ten random embeddings), channel statistics, and a linear map of them to counted words."""
        self.setup()
        scattered = [self.evaluate(ScatteredMotion(draw)) for draw in range(10)]
        return {
            "chance": {name: sum(one[name] for one in scattered) / len(scattered) for name in scattered[0]},
            "channel statistics": self.evaluate(ChannelStatistics()),
            "linear map of channel statistics to words": self.evaluate(LinearMap(self.splits["train"])),
        }

    def example(self) -> str:
        self.setup()
        test = self.splits["test"]
        return "\n".join(f"{len(test.motion[i])} frames: {test.text[i]}" for i in test.start[:4].tolist())

    def sizes(self) -> dict[str, int]:
        self.setup()
        return {split: len(self.splits[split].ids) for split in ("train", "val", "test")}

    def fingerprint(self) -> str:
        """Captions tell what was measured in the motions, so the grammar stands for them and not what they say."""
        self.setup()
        parts = self.splits.values()
        origin = self.origin(self.version, *(motion for part in parts for motion in part.motion))
        return digest(origin, self.grammar, *(x for part in parts for x in (part.start, part.ids, part.labels)))


class ScatteredMotion(Scattered):
    """A random direction for every motion, too."""

    def embed_motion(self, motions: list[Tensor]) -> Tensor:
        # By content, as a motion knows neither its id nor its place.
        return self.embed_text([motion.numpy().tobytes().hex() for motion in motions])


class ChannelStatistics(nn.Module):
    """Embeds a motion as the mean and the deviation of each channel."""

    def embed_motion(self, motions: list[Tensor]) -> Tensor:
        return torch.stack([torch.cat([motion.mean(0), motion.std(0)]) for motion in motions])


class LinearMap(ChannelStatistics):
    """Ridge regression of a text's TF-IDF from the channel statistics of the motion that it describes."""

    def __init__(self, train: Described) -> None:
        super().__init__()
        self.words = TfidfVectorizer(ngram_range=(1, 2), max_features=2_000, sublinear_tf=True).fit(train.text)
        self.map = Ridge(1.0).fit(
            super().embed_motion(train.motion).numpy(), self.words.transform(train.text).toarray()
        )

    def embed_motion(self, motions: list[Tensor]) -> Tensor:
        return torch.from_numpy(self.map.predict(super().embed_motion(motions).numpy())).float()

    def embed_text(self, texts: list[str]) -> Tensor:
        return torch.from_numpy(self.words.transform(texts).toarray()).float()
