"""Documents of one topic, whose halves have each a manner of their own: all that they share is known. Generated."""

from typing import Any

import torch
from torch import Tensor, nn

from common.batches import LabelledVectors
from common.benchmark import Benchmark, Metrics, digest
from common.errors import UserError
from common.evaluation.embed import embed_dataset
from common.evaluation.probe import linear_probe_metrics
from common.evaluation.sufficiency import sufficiency_metrics
from common.protocols import EmbedsVectors
from common.random import normal, uniform
from common.sampling.batches import ResumableLoader
from common.table import Table, cut, take

TOPICS, MANNERS, WORDS = 20, 10, 400
"""WORDS is the size of the vocabulary."""
SHARP = 1.5
"""Standard deviation of the logarithm of a word's probability, over words, in a topic and in a manner."""
SIZES = {"train": 12_000, "val": 2000, "test": 2000}
FITTED, OTHERS, LABELLED = 4000, 1000, 200
"""Train documents that say what an embedding tells of the topic; whose second halves stand for any; with labels."""


class Topics(Benchmark):
    """A document has one of 20 topics; each half of it is counted words from the topic and from a manner of its own.

    A word is of the half's manner with the probability `manner`, else of the document's topic. Given the topic the two
    halves are independent, so that how likely each topic is given a half is all that one half tells of the other, and
    known in closed form. A method is given the two halves of a document, which are drawn anew in each epoch, and an
    embedding is asked what it has kept of that.

    10,000 train documents of 12,000, 2,000 for validation, 2,000 for test.

    Args:
        batch_size, seed: as in `Benchmark`; halves are drawn anew in each epoch.
        length: words in a half.
        manner: probability that a word is of the manner; 0 is a plain topic model.
        train_size: documents to train on, drawn by the seed from the 12,000.

    Raises:
        UserError: an argument is out of range.
    """

    name = "topics"
    primary = "sufficiency_kl/loss"

    def __init__(
        self,
        batch_size: int = 256,
        seed: int = 0,
        data_root: str | None = None,
        length: int = 20,
        manner: float = 0.5,
        train_size: int = 10_000,
    ) -> None:
        super().__init__(batch_size, seed, data_root)
        if length < 1:
            raise UserError(f"data.length is {length}; it must be at least 1")
        if not 0 <= manner < 1:
            raise UserError(f"data.manner is {manner}; it must be from 0 to below 1")
        if not 1 <= train_size <= SIZES["train"]:
            raise UserError(f"data.train_size is {train_size}; it must be from 1 to {SIZES['train']:,}")
        self.length, self.manner, self.train_size = length, manner, train_size
        self.splits: dict[str, LabelledVectors] = {}

    def build(self) -> None:
        topics, manners = (
            (SHARP * normal(torch.arange(count), WORDS, 44, kind).double()).softmax(dim=1)
            for kind, count in enumerate((TOPICS, MANNERS))
        )
        words = (1 - self.manner) * topics[:, None] + self.manner * manners
        self.log_words = words.log()
        """Of each word in each topic and manner, float64 (topics, manners, words)."""
        self.steps = words.cumsum(dim=2).flatten(0, 1)
        ids = torch.arange(sum(SIZES.values()))
        labels = ids % TOPICS
        self.splits = cut(LabelledVectors(self.drawn(labels, ids, 0, 0, 0)[0], labels, ids), SIZES)
        order = uniform(self.splits["train"].ids, 1, self.seed, 45).flatten().argsort(stable=True)
        self.train = take(self.splits["train"], order[: self.train_size].sort().values)

    def drawn(self, labels: Tensor, ids: Tensor, *key: int) -> tuple[Tensor, Tensor]:
        """A half of each document of these topics, as counted words, float32 (n, words), and its manner, (n,)."""
        manner = (uniform(ids, 1, 46, *key)[:, 0] * MANNERS).long()
        steps = self.steps.to(ids.device)[labels * MANNERS + manner]
        # The last step may be below 1 by rounding.
        words = torch.searchsorted(steps, uniform(ids, self.length, 47, *key).double(), right=True).clamp(max=WORDS - 1)
        counts = torch.zeros(len(ids), WORDS, device=ids.device)
        return counts.scatter_add_(1, words, torch.ones_like(words, dtype=torch.float32)), manner

    def halves(self, documents: LabelledVectors, half: int) -> tuple[Tensor, Tensor]:
        """The first or the second half of documents of a split, 0 or 1, as `drawn`."""
        return self.drawn(documents.labels, documents.ids, 0, 0, half)

    def posteriors(self, counts: Tensor) -> Tensor:
        """How likely each topic is given a half, float64 (n, topics), of its counted words (n, words)."""
        self.setup()
        logits = torch.einsum("nw,tmw->ntm", counts.double(), self.log_words)
        return logits.logsumexp(dim=2).softmax(dim=1)

    def sizes(self) -> dict[str, int]:
        return SIZES | {"train": self.train_size}

    def train_dataloader(self) -> ResumableLoader:
        """Batches whose topics `on_after_batch_transfer` hides: that halves are of one document is all they tell."""
        self.setup()
        return Table(self.train).loader(self.batch_size, self.seed)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Draws the two halves of each document; the names of splits that are scored pass through."""
        if not isinstance(batch, LabelledVectors):
            return batch
        views = [self.drawn(batch.labels, batch.ids, 1 + self.seed, self.moment(), half)[0] for half in range(2)]
        return LabelledVectors(torch.stack(views), torch.full_like(batch.labels, -1), batch.ids)

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """What the embedding of a half has lost of the other half, and what is read from it with 200 labels.

        Returns:
            `sufficiency_kl/loss` and `sufficiency_chi2/loss`, the lower the better, see `sufficiency_metrics`, by the
            embeddings of 4,000 train documents; `topic_probe200/top1` and `.../log_likelihood` of a logistic regression
            fitted on 200 of them, and `manner_probe200/...`, the same of the half's manner, which the other half does
            not share. An item is a document.

        Raises:
            UserError: the module does not offer `embed_vectors`, or there is no such split.
        """
        self.setup()
        embeds = self.check_request(module, split, EmbedsVectors)
        fitted, asked = take(self.splits["train"], torch.arange(FITTED)), self.splits[split]
        (told, told_manner), (others, _) = self.halves(fitted, 0), self.halves(fitted, 1)
        counts, manner = self.halves(asked, 0)
        rows, codes = (embed_dataset(embeds.embed_vectors, x, 2000, module).cpu() for x in (told, counts))
        known, posteriors = self.posteriors(told), self.posteriors(counts)
        shares = torch.full((TOPICS,), 1 / TOPICS, dtype=torch.float64)
        found = sufficiency_metrics((rows, known), (codes, posteriors), self.posteriors(others[:OTHERS]), shares)
        metrics: Metrics = {f"sufficiency_{name}/loss": value for name, value in found.items()}
        for name, labels, truth in (("topic", fitted.labels, asked.labels), ("manner", told_manner, manner)):
            probe = linear_probe_metrics(rows[:LABELLED], labels[:LABELLED], codes, truth)
            metrics |= {f"{name}_probe{LABELLED}/{measure}": value for measure, value in probe.items()}
        return metrics

    def floor(self) -> dict[str, Metrics]:
        """Nothing is known of a half; and eight random directions of its counted words."""
        return {"nothing": self.evaluate(_Nothing()), "random projection": self.evaluate(_Projection())}

    def example(self) -> str:
        self.setup()
        part = take(self.splits["train"], torch.arange(3))
        rows = zip(part.labels.tolist(), *(self.halves(part, half)[0].tolist() for half in range(2)), strict=True)
        return "\n".join(f"topic {topic}: {_listed(one)} | {_listed(other)}" for topic, one, other in rows)

    def fingerprint(self) -> str:
        """Of what fixes the documents exactly on every machine: the draws and the arguments, not the rounding."""
        settings = (1, self.length, self.manner, self.train_size, TOPICS, MANNERS, WORDS, SHARP, SIZES)
        draws = [uniform(torch.arange(3), 20, key).tolist() for key in (44, 46, 47)]
        return digest((settings, draws))


def _listed(counts: list[float]) -> str:
    """The first ten words of a half by their numbers, each as often as it is there."""
    words = [str(word) for word, count in enumerate(counts) for _ in range(int(count))]
    return " ".join(words[:10]) + " ..."


class _Nothing(nn.Module):
    def embed_vectors(self, x: Tensor) -> Tensor:
        return torch.zeros(len(x), 8)


class _Projection(nn.Module):
    def embed_vectors(self, x: Tensor) -> Tensor:
        return x @ normal(torch.arange(x.shape[1]), 8, 48)
