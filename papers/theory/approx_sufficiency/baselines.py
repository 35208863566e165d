"""What a code of contrast is compared with: codes that are to say words, and codes that nobody trains."""

from typing import Literal

import torch
from torch import Tensor, nn

from common.batches import LabelledVectors
from common.distributed import global_mean
from common.errors import UserError
from common.training.method import Method
from data.benchmarks.worlds.topics import MANNERS, TOPICS, Topics
from papers.theory.approx_sufficiency.module import Coder


class WordPrediction(Coder):
    """A decoder that is to say the words of a half from a code: of the half itself, an autoencoder, or of the other.

    Args:
        target: whose words, "own" or "other".
        coder: the arguments of `Coder`.
    """

    def __init__(self, *, target: Literal["own", "other"] = "own", **coder) -> None:
        super().__init__(**coder)
        if target not in ("own", "other"):
            raise UserError(f"model.target is {target!r}; it must be 'own' or 'other'")
        self.target, (width, channels) = target, self.encoder.hidden.weight.shape
        self.decoder = nn.Sequential(nn.Linear(self.code.out_features, width), nn.ReLU(), nn.Linear(width, channels))

    def training_step(self, batch: LabelledVectors, batch_idx: int) -> Tensor:
        one, other = batch.pair()
        counts = torch.cat([one, other] if self.target == "own" else [other, one])
        said = self.decoder(self.embed_vectors(torch.cat([one, other]))).log_softmax(dim=1)
        return self.log_loss(global_mean(-(counts * said).sum(dim=1) / counts.sum(dim=1)))


class GivenCode(Method):
    """A code that nobody trains, of the documents of `Topics`.

    Args:
        kind: the leading principal "components" of the training halves; or the "posterior", the logarithm of how likely
            each topic is, which loses nothing and has as many entries as there are topics.
        channels: words of the vocabulary.
        dim: number of components.
        optimization: the arguments of `Method`.

    Raises:
        UserError: on other data, or if it is to be trained.
    """

    def __init__(
        self,
        *,
        kind: Literal["components", "posterior"] = "components",
        channels: int = 400,
        dim: int = 8,
        **optimization,
    ) -> None:
        super().__init__(**optimization)
        if kind not in ("components", "posterior"):
            raise UserError(f"model.kind is {kind!r}; it must be 'components' or 'posterior'")
        self.kind = kind
        self.register_buffer("directions", torch.zeros(channels, dim if kind == "components" else TOPICS * MANNERS))

    def setup(self, stage: str) -> None:
        if stage != "fit":
            return
        data = self.trainer.datamodule
        if not isinstance(data, Topics):
            raise UserError("GivenCode knows the documents of the benchmark topics alone")
        data.setup()
        if self.kind == "posterior":
            self.directions.copy_(data.log_words.flatten(0, 1).T)
            return
        rows = data.train.views
        vectors = torch.linalg.eigh((rows - rows.mean(dim=0)).double().T.cov()).eigenvectors
        self.directions.copy_(vectors[:, -self.directions.shape[1] :])

    def training_step(self, batch: LabelledVectors, batch_idx: int) -> Tensor:
        raise UserError("trainer.max_steps must be 0: this code is not trained")

    def embed_vectors(self, x: Tensor) -> Tensor:
        found = x @ self.directions
        if self.kind == "components":
            return found
        return found.unflatten(1, (TOPICS, MANNERS)).logsumexp(dim=2).log_softmax(dim=1)
