"""GradCache (Gao et al. 2021): a dual encoder trained on any batch within the activations of one chunk."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from common.batches import SentenceTriplets
from common.distributed import Exchange
from common.encoders.text import Pooling, TextEncoderName, text_encoder
from common.errors import UserError
from common.losses import HardNegatives, info_nce
from common.training.grad_cache import cached_forward
from common.training.method import Method


class GradCache(Method):
    """Dense passage retrieval: each query must find its passage among those of the batch and all hard negatives.

    Both sides go through `cached_forward`, so the activations are those of one chunk while the negatives, and the
    gradient, are those of the whole batch.

    Args:
        encoder: text encoder to start from, see `text_encoder`.
        weights: folder with the encoder's files, where they are not the repository's own.
        shared: one encoder for queries and passages instead of two.
        dropout: probability of dropping hidden states and attention weights.
        pooling: which vector stands for a text; the paper's is the last state of the first token.
        max_length: tokens at which a training text is cut.
        hard_negatives: whether the batch's hard negatives take part; all of them are candidates of every query.
        normalize: scores cosines instead of dot products.
        temperature: divides the scores.
        chunk_size: queries embedded at a time; null embeds the whole batch at once, without the cache.
        passage_chunk_size: passages embedded at a time; null for as many as queries.
        negatives: "batch", or the query's own "chunk" alone, which is what gradient accumulation over chunks gives.
        optimization: the arguments of `Method`.

    Raises:
        UserError: `negatives` is "chunk" without a `chunk_size`.
    """

    contrastive = True

    def __init__(
        self,
        *,
        encoder: TextEncoderName = "mini-bert",
        weights: str | None = None,
        shared: bool = True,
        dropout: float = 0.1,
        pooling: Pooling = "cls",
        max_length: int = 32,
        hard_negatives: bool = True,
        normalize: bool = False,
        temperature: float = 1.0,
        chunk_size: int | None = None,
        passage_chunk_size: int | None = None,
        negatives: Literal["batch", "chunk"] = "batch",
        **optimization,
    ) -> None:
        super().__init__(**optimization)
        if negatives == "chunk" and chunk_size is None:
            raise UserError("model.negatives is 'chunk'; model.chunk_size must say how large a chunk is")
        self.query_encoder = text_encoder(encoder, pooling, dropout, max_length, weights=weights)
        self.passage_encoder = (
            self.query_encoder if shared else text_encoder(encoder, pooling, dropout, max_length, weights=weights)
        )
        self.hard_negatives = hard_negatives
        self.normalize = normalize
        self.temperature = temperature
        self.chunk_size = chunk_size
        self.passage_chunk_size = passage_chunk_size or chunk_size
        self.negatives = negatives

    def training_step(self, batch: SentenceTriplets, batch_idx: int) -> Tensor:
        passages = [*batch.positive, *(batch.negative if self.hard_negatives else [])]
        query = cached_forward(self.query_encoder, batch.anchor, self.chunk_size)
        passage = cached_forward(self.passage_encoder, passages, self.passage_chunk_size)
        sides = query, *passage.split(len(query))  # positives, then hard negatives if there are any
        if self.negatives == "batch":
            return self.log_loss(self.contrast(*sides))
        # Means of chunks that may be uneven; each chunk for itself, on its own process.
        chunks = zip(*(side.split(self.chunk_size) for side in sides), strict=True)
        parts = [len(chunk[0]) * self.contrast(*chunk, exchange=Exchange.LOCAL) for chunk in chunks]
        return self.log_loss(torch.stack(parts).sum() / len(query))

    def contrast(
        self, query: Tensor, positive: Tensor, negative: Tensor | None = None, exchange: Exchange = Exchange.GATHER
    ) -> Tensor:
        """The mean over the queries of -log softmax of their positive's score among all candidates."""
        if self.normalize:
            query, positive = F.normalize(query, dim=-1), F.normalize(positive, dim=-1)
            negative = None if negative is None else F.normalize(negative, dim=-1)
        hard = None if negative is None else HardNegatives(negative[:, None])
        return info_nce(query, positive, temperature=self.temperature, hard_negatives=hard, exchange=exchange)

    def embed_query(self, texts: list[str]) -> Tensor:
        return self.query_encoder.embed(texts)

    def embed_text(self, texts: list[str]) -> Tensor:
        return self.passage_encoder.embed(texts)
