"""Skip-gram with negative sampling (Mikolov et al. 2013), and word vectors by counting the same pairs."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.batches import WordPairs
from common.checks import check_number
from common.distributed import sum_over_processes
from common.encoders.static import ppmi_svd_of_counts
from common.errors import UserError
from common.sampling.noise import UnigramNoise
from common.training.method import Method


class SkipGram(Method):
    """-log s(u v) - sum over k words v' of noise of log s(-u v'), s the logistic function, summed over the pairs.

    A word beside another is told from noise by a vector u of its own and by the other's v. Losses of a batch are
    summed, so that the learning rate is that of a pair, as where pairs come one after the other.

    Args:
        words: of the vocabulary.
        dim: of the vectors.
        negatives: words of noise for each pair, see `UnigramNoise`; one that is the pair's own is passed over.
        tables: 2, each word has a vector as u and one as v, the first of which is its embedding; or 1 for both.
        optimization: the arguments of `Method`.

    Raises:
        UserError: an argument is out of range; `words` is not that of the data.
    """

    def __init__(
        self, *, words: int, dim: int = 100, negatives: int = 5, tables: Literal[1, 2] = 2, **optimization
    ) -> None:
        super().__init__(**optimization)
        check_number("model.dim", dim, least=2)
        check_number("model.negatives", negatives, least=1)
        if tables not in (1, 2):
            raise UserError(f"model.tables is {tables!r}; it must be 1 or 2")
        self.noise, self.negatives = UnigramNoise(words), negatives
        self.vectors = nn.Embedding(words, dim)
        self.contexts = nn.Embedding(words, dim) if tables == 2 else None
        self.begin()

    def begin(self) -> None:
        """The first values of the vectors: small, and 0 as contexts."""
        nn.init.uniform_(self.vectors.weight, -0.5 / self.vectors.embedding_dim, 0.5 / self.vectors.embedding_dim)
        if self.contexts is not None:
            nn.init.zeros_(self.contexts.weight)

    def on_fit_start(self) -> None:
        super().on_fit_start()
        if self.trainer.datamodule is not None:
            self.noise.count(self.trainer.datamodule.word_counts())

    def training_step(self, batch: WordPairs, batch_idx: int) -> Tensor:
        noise = self.noise.draw(batch.ids, self.negatives, *self.key("noise"))
        terms = self.contrast(batch.neighbour, batch.centre, noise)
        return self.log_loss(sum_over_processes(terms.sum()))

    def contrast(self, neighbour: Tensor, centre: Tensor, noise: Tensor) -> Tensor:
        """The loss of each pair, (n,), given the positions of its words, (n,), and of its noise, (n, k)."""
        near, far = self.products(neighbour, centre, noise)
        return -F.logsigmoid(near) - (F.logsigmoid(-far) * (noise != centre[:, None])).sum(dim=1)

    def products(self, neighbour: Tensor, centre: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """u v of each pair, (n,), and u v' with its noise, (n, k)."""
        contexts = self.vectors if self.contexts is None else self.contexts
        u, v = self.vectors(neighbour), contexts(torch.cat([centre[:, None], noise], dim=1))
        found = (u[:, None] * v).sum(dim=2)
        return found[:, 0], found[:, 1:]

    def embed_symbols(self) -> Tensor:
        return self.vectors.weight


class PpmiSvd(Method):
    """Words by the largest singular directions of their positive pointwise mutual information: nothing is trained.

    Args:
        words: of the vocabulary.
        dim: of the vectors.
        optimization: the arguments of `Method`, which have nothing to do here.

    Source: Levy, Goldberg and Dagan 2015; see `ppmi_svd_of_counts`.
    """

    def __init__(self, *, words: int, dim: int = 100, **optimization) -> None:
        super().__init__(**optimization)
        self.register_buffer("vectors", torch.zeros(words, dim))

    def on_fit_start(self) -> None:
        super().on_fit_start()
        self.vectors = ppmi_svd_of_counts(self.trainer.datamodule.cooccurrences(), self.vectors.shape[1])

    def training_step(self, batch: WordPairs, batch_idx: int) -> Tensor:
        raise UserError("trainer.max_steps must be 0: PpmiSvd trains nothing")

    def embed_symbols(self) -> Tensor:
        return self.vectors
