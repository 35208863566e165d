"""Whitening (Su et al. 2021): a pre-trained encoder's vectors with their mean taken off and equal spread every way."""

from itertools import islice

import torch
from torch import Tensor

from common.batches import Sentences
from common.encoders.text import Pooling, TextEncoderName, text_encoder
from common.errors import UserError
from common.training.method import Method


class Whitening(Method):
    """x -> (x - m) U S^(-1/2), with mean m and covariance U S U^T of the training sentences (algorithm 1).

    Nothing is trained: the recipe says `max_steps: 0`, and the statistics are taken when a fit begins. Before that the
    vectors are the encoder's own.

    Args:
        encoder: the text encoder, see `text_encoder`.
        weights: folder with the encoder's files, where they are not the repository's own.
        pooling: which vector stands for the sentence; the paper's is "first_last".
        spread: whether the spread is made equal; without it the mean alone is taken off.
        dimensions: keeps so many directions, those of the largest spread; all by default.
        batches: training batches that the statistics are taken from.
        optimization: the arguments of `Method`, which have nothing to do here.

    Raises:
        UserError: `dimensions` is not from 1 to the encoder's width, or `batches` is below 1.
    """

    def __init__(
        self,
        *,
        encoder: TextEncoderName = "mini-bert",
        weights: str | None = None,
        pooling: Pooling = "first_last",
        spread: bool = True,
        dimensions: int | None = None,
        batches: int = 32,
        **optimization,
    ) -> None:
        super().__init__(**optimization)
        self.encoder = text_encoder(encoder, pooling, weights=weights)
        width = self.encoder.width
        if dimensions is not None and not 1 <= dimensions <= width:
            raise UserError(f"model.dimensions is {dimensions}; it must be from 1 to {width}, the encoder's width")
        if batches < 1:
            raise UserError(f"model.batches is {batches}; it must be at least 1")
        self.spread = spread
        self.batches = batches
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("map", torch.eye(width)[:, :dimensions])

    def training_step(self, batch: Sentences, batch_idx: int) -> Tensor:
        raise UserError("Whitening trains nothing; trainer.max_steps must be 0")

    def on_fit_start(self) -> None:
        texts = [
            text for batch in islice(self.trainer.datamodule.train_dataloader(), self.batches) for text in batch.text
        ]
        self.take_statistics(self.encoder.embed(texts))

    def take_statistics(self, rows: Tensor) -> None:
        """Mean and map of the vectors `rows` of shape (n, d)."""
        self.mean = rows.mean(dim=0)
        values, axes = torch.linalg.eigh(torch.cov(rows.double().T, correction=0))
        order = values.argsort(descending=True)[: self.map.shape[1]]
        # A direction without spread would be blown up to noise.
        scale = values[order].clamp(min=1e-6 * float(values.max())).rsqrt()
        if self.spread:
            self.map = (axes[:, order] * scale).float()
        elif len(order) < len(values):
            self.map = axes[:, order].float()

    def embed_text(self, texts: list[str]) -> Tensor:
        return (self.encoder.embed(texts) - self.mean) @ self.map
