"""The base of benchmarks of text retrieval: each query has one document that answers it."""

from abc import abstractmethod
from typing import ClassVar

from torch import nn
from torch.nn import functional as F

from common.batches import TextPairs
from common.benchmark import Benchmark, Metrics, digest
from common.errors import UserError
from common.evaluation.embed import embed_dataset
from common.evaluation.retrieval import pooled_auc, ranking_metrics, retrieval_metrics
from common.protocols import EmbedsQuery, EmbedsText
from common.sampling.batches import ResumableLoader
from common.table import Table
from data.benchmarks.bases.floors import BagOfWords, Scattered
from data.benchmarks.bases.texts import first_words
from data.sources.base import Source

_AT_ONCE = 256
"""Texts that a module embeds in one call."""


class TextRetrieval(Benchmark):
    """Learns from the pairs of the train split; asks each query of a scored split for its document among all of them.

    Args:
        batch_size, seed, data_root: as in `Benchmark`.
        words: documents are cut after so many words, counted between blanks.
    """

    sources: ClassVar[tuple[Source, ...]]

    def __init__(self, batch_size: int = 64, seed: int = 0, data_root: str | None = None, words: int = 64) -> None:
        super().__init__(batch_size, seed, data_root)
        if words < 1:
            raise UserError(f"data.words is {words}; it must be at least 1")
        self.words = words
        self.splits: dict[str, TextPairs] = {}

    @abstractmethod
    def load(self) -> dict[str, TextPairs]:
        """Reads the sources and returns the fixed "train", "val" and "test" splits, uncut."""

    def build(self) -> None:
        for split, pairs in self.load().items():
            self.splits[split] = pairs._replace(document=[first_words(text, self.words) for text in pairs.document])

    def train_dataloader(self) -> ResumableLoader:
        self.setup()
        return Table(self.splits["train"]).loader(self.batch_size, self.seed)

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """Cosines of queries and documents; queries go through `embed_query` where a module has it.

        Returns:
            `ndcg@10`, `recall@1`, `recall@10`, `mrr` and `median_rank`, each with `/galleryN` of the N documents; and
            `auc_top100/galleryN`: whether one threshold serves all queries, against each one's 100 best wrong answers.

        Raises:
            UserError: the module does not offer `embed_text`, or there is no such split.
        """
        self.setup()
        embed_text = self.check_request(module, split, EmbedsText).embed_text
        pairs = self.splits[split]
        embed_query = module.embed_query if isinstance(module, EmbedsQuery) else embed_text
        query = F.normalize(embed_dataset(embed_query, pairs.query, _AT_ONCE, module), dim=1)
        key = F.normalize(embed_dataset(embed_text, pairs.document, _AT_ONCE, module), dim=1)
        name = f"ndcg@10/gallery{len(key)}"
        return {
            name: ranking_metrics(query, key)[name],
            **retrieval_metrics(query, key, at=(1, 10)),
            f"auc_top100/gallery{len(key)}": pooled_auc(query, key, hardest=100),
        }

    def floor(self) -> dict[str, Metrics]:
        """Random directions, and the 10,000 commonest words counted."""
        self.setup()
        words = BagOfWords([*self.splits["train"].query, *self.splits["train"].document])
        return {"chance": self.evaluate(Scattered()), "bag of words": self.evaluate(words)}

    def example(self) -> str:
        self.setup()
        train = self.splits["train"]
        return "\n".join(f"{train.query[i]}\n    {' '.join(train.document[i].split())}" for i in range(3))

    def fingerprint(self) -> str:
        self.setup()
        return digest(*((pairs.query, pairs.document, pairs.ids.tolist()) for pairs in self.splits.values()))
