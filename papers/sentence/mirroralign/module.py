"""MirrorAlign (Wu et al. 2021): words aligned by two tables of vectors, whose two attention maps mirror each other."""

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.batches import ParallelWords
from common.distributed import gather, global_mean, shards
from common.encoders.word_index import WordIndex
from common.errors import UserError
from common.evaluation.alignment import Links, grow_links
from common.evaluation.scoring import scoring
from common.random import uniform
from common.training.method import Method


class MirrorAlign(Method):
    """A word is to be told from other sentences' words by what it attends to in the translation, in both directions.

    Both maps are softmaxes of one matrix of inner products; the agreement term is the squared difference of the two,
    summed over a pair of sentences.

    Args:
        source_words, target_words: rows of the tables; rarer words share the row of unknown ones.
        dim: of the vectors.
        length: words at which training sentences are cut.
        pooling: what is compared: "residual" adds the mean of a word and its two neighbours to its vector, "mean" is
            the mean alone, "none" the vector.
        negatives: K, the words at the same place in the K sentences before it in the batch.
        candidates: how the negatives are represented, by their "words" alone or "pooled" like the positive.
        shuffled: K more negatives, words of the batch drawn at random, each as often as it occurs.
        scaled: divides the matrix by the root of `dim`.
        directions: "both", or "target" words alone told by what they attend to.
        tie: what is weighted by alpha, "agreement" or, a control that makes the maps as sharp without tying them, the
            quadratic "entropy" of both, sum p (1 - p).
        alpha: its weight, where the contrast is the mean over sentences of a sum over words.
        optimization: the arguments of `Method`.

    Raises:
        UserError: an argument is out of range, or a batch has too few sentences for the negatives.
    """

    contrastive = True

    def __init__(
        self,
        *,
        source_words: int = 4000,
        target_words: int = 5000,
        dim: int = 64,
        length: int = 40,
        pooling: Literal["residual", "mean", "none"] = "residual",
        negatives: int = 8,
        candidates: Literal["words", "pooled"] = "words",
        shuffled: bool = False,
        scaled: bool = False,
        directions: Literal["both", "target"] = "both",
        tie: Literal["agreement", "entropy"] = "agreement",
        alpha: float = 1.0,
        **optimization,
    ) -> None:
        super().__init__(**optimization)
        if negatives < 1 or length < 1:
            raise UserError(f"model.negatives is {negatives} and model.length {length}; both must be at least 1")
        self.indices = WordIndex(source_words), WordIndex(target_words)
        self.tables = nn.ModuleList(nn.Embedding(rows, dim) for rows in (source_words, target_words))
        for table in self.tables:
            nn.init.xavier_uniform_(table.weight)
        self.length, self.pooling, self.negatives = length, pooling, negatives
        self.candidates, self.shuffled, self.directions = candidates, shuffled, directions
        self.scale = dim**-0.5 if scaled else 1.0
        self.tie, self.alpha = tie, alpha

    def setup(self, stage: str) -> None:
        if stage == "fit":
            for index, side in zip(self.indices, zip(*self.trainer.datamodule.parallel(), strict=True), strict=True):
                index.learn(side)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["words"] = [index.words for index in self.indices]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        for index, words in zip(self.indices, checkpoint["words"], strict=True):
            index.words = words

    def training_step(self, batch: ParallelWords, batch_idx: int) -> Tensor:
        ids = [index.ids(side, self.length).to(self.device) for index, side in zip(self.indices, batch, strict=False)]
        vectors, maps = self.attend(*ids)
        losses = self.contrast(1, ids[1], vectors[1], maps[1].mT @ vectors[0], batch.ids)
        if self.directions == "both":
            losses = losses + self.contrast(0, ids[0], vectors[0], maps[0] @ vectors[1], batch.ids)
        tie = {"agreement": disagreement, "entropy": entropy}[self.tie](*maps)
        contrast, tie = global_mean(losses), global_mean(tie)
        return self.log_loss(contrast + self.alpha * tie, contrast=contrast, tie=tie)

    def attend(self, *ids: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """The vectors of both sides, (b, n, d) and (b, m, d), and the maps by source and by target word, (b, n, m)."""
        source, target = (self.pooled(table(side)) for table, side in zip(self.tables, ids, strict=True))
        real = (ids[0] > 0)[:, :, None] & (ids[1] > 0)[:, None]
        scores = (self.scale * source @ target.mT).masked_fill(~real, -9999.0)
        return [source, target], [scores.softmax(dim) * real for dim in (2, 1)]

    def pooled(self, rows: Tensor) -> Tensor:
        """Of words among their neighbours, (b, n, d); the padding behind a sentence is its last word's neighbour."""
        if self.pooling == "none":
            return rows
        mean = F.avg_pool1d(rows.mT, 3, 1, padding=1, count_include_pad=False).mT
        return mean if self.pooling == "mean" else rows + mean

    def contrast(self, side: int, ids: Tensor, vectors: Tensor, summary: Tensor, samples: Tensor) -> Tensor:
        """The logistic loss of each sentence, (b,): summaries with their own words, and with those of others."""
        layout = shards(len(ids), ids.device)
        every, first = gather(ids, layout), layout.start
        if len(every) <= self.negatives:
            raise UserError(f"data.batch_size is {len(every)}; it must be above model.negatives, {self.negatives}")
        real = ids > 0
        rows = self.tables[side](every)
        losses = F.softplus(-(summary * vectors).sum(-1)) * real
        rows = self.pooled(rows) if self.candidates == "pooled" else rows
        # Each place of ours with the same place of all sentences, of which K are kept: one product of matrices.
        logits = summary.transpose(0, 1) @ rows.transpose(0, 1).mT
        own = torch.arange(first, first + len(ids), device=ids.device)
        other = (own[:, None] - torch.arange(1, self.negatives + 1, device=ids.device)) % len(every)
        logits = logits.gather(2, other.expand(len(logits), -1, -1))
        known = real[:, None] & (every[other] > 0)
        losses = losses + (F.softplus(logits).permute(1, 2, 0) * known).sum(1)
        if not self.shuffled:
            return losses.sum(1) / (1 + self.negatives)
        words = rows[every > 0]
        draws = uniform(samples, self.negatives * ids.shape[1], *self.key(f"negatives of side {side}"))
        for draw in (draws * len(words)).long().chunk(self.negatives, dim=1):
            losses = losses + F.softplus((summary * words[draw]).sum(-1)) * real
        return losses.sum(1) / (1 + 2 * self.negatives)

    @scoring()
    def align_words(self, source: list[list[str]], target: list[list[str]]) -> list[Links]:
        found = []
        for start in range(0, len(source), 64):
            sides = [side[start : start + 64] for side in (source, target)]
            ids = [
                index.ids(side, 1 + max(map(len, side))).to(self.device)
                for index, side in zip(self.indices, sides, strict=True)
            ]
            _, maps = self.attend(*ids)
            sizes = zip(*(map(len, side) for side in sides), strict=True)
            found += [grow_links(*(m[:n, :k].cpu() for m in pair)) for (n, k), *pair in zip(sizes, *maps, strict=True)]
        return found


def disagreement(by_source: Tensor, by_target: Tensor) -> Tensor:
    """The squared difference of two maps (b, n, m), summed over each pair of sentences, (b,)."""
    return (by_source - by_target).square().sum(dim=(1, 2))


def entropy(*maps: Tensor) -> Tensor:
    """The quadratic entropy of all words' attention, summed over the maps (b, n, m), (b,)."""
    return sum((m * (1 - m)).sum(dim=(1, 2)) for m in maps)
