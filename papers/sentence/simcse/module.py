"""SimCSE (Gao et al. 2021): a sentence is its own positive under another dropout mask."""

from typing import Any, ClassVar, Literal

from torch import Tensor, nn
from torch.nn import functional as F

from common.batches import Sentences, SentenceTriplets
from common.encoders.text import Pooling, TextEncoderName, text_encoder
from common.losses import HardNegatives, info_nce
from common.training.method import Method
from common.training.rng import capture, replay


class SimCSE(Method):
    """Unsupervised SimCSE (eq. 4): two passes of a sentence, two dropout masks, in-batch negatives, one direction.

    The linear layer and tanh on top are for training only; `embed_text` returns what stands below them.

    Args:
        encoder: text encoder to start from, see `text_encoder`.
        layers: keeps only the lowest so many layers of it.
        weights: folder with the encoder's files, where they are not the repository's own.
        dropout: probability of dropping hidden states and attention weights.
        masks: "independent" masks for the two copies, or the "same" mask for both, the paper's ablation.
        temperature: divides the cosine similarities.
        pooling: which vector stands for the sentence; the paper's is the last state of the first token.
        max_length: tokens at which a training sentence is cut.
        head: whether the loss compares what stands above the head. Without one it shapes what is embedded itself, and
            nothing that tells sentences apart but not their meanings, such as their style, is left below.
        optimization: the arguments of `Method`.
    """

    contrastive = True
    added_later: ClassVar[dict[str, Any]] = {"head": True}

    def __init__(
        self,
        *,
        encoder: TextEncoderName = "mini-bert",
        layers: int | None = None,
        weights: str | None = None,
        dropout: float = 0.1,
        masks: Literal["independent", "same"] = "independent",
        temperature: float = 0.05,
        pooling: Pooling = "cls",
        max_length: int = 32,
        head: bool = True,
        **optimization,
    ) -> None:
        super().__init__(**optimization)
        self.encoder = text_encoder(encoder, pooling, dropout, max_length, layers, weights)
        self.head: nn.Module = nn.Identity()
        if head:
            # As in the released code: the shape of BERT's pooler, but drawn afresh, as BERT's weights are.
            dense = nn.Linear(self.encoder.width, self.encoder.width)
            nn.init.normal_(dense.weight, std=0.02)
            nn.init.zeros_(dense.bias)
            self.head = nn.Sequential(dense, nn.Tanh())
        self.masks = masks
        self.temperature = temperature

    def training_step(self, batch: Sentences, batch_idx: int) -> Tensor:
        if self.masks == "independent":
            query, key = self.head(self.encoder(batch.twice())).chunk(2)
        else:
            state = capture(self.device)
            query = self.head(self.encoder(batch.text))
            with replay(state):
                key = self.head(self.encoder(batch.text))
        return self.log_loss(self.contrast(query, key))

    def contrast(self, query: Tensor, key: Tensor, negative: Tensor | None = None) -> Tensor:
        """InfoNCE of the cosines; every row's hard negative is a candidate of every query (eq. 5)."""
        query, key = F.normalize(query, dim=-1), F.normalize(key, dim=-1)
        hard = None if negative is None else HardNegatives(F.normalize(negative, dim=-1)[:, None])
        return info_nce(query, key, temperature=self.temperature, hard_negatives=hard)

    def contrast_triplets(self, batch: SentenceTriplets, hard_negatives: bool) -> Tensor:
        """`contrast` of anchors and positives, with the batch's negatives or without."""
        texts = [*batch.anchor, *batch.positive, *(batch.negative if hard_negatives else [])]
        return self.contrast(*self.head(self.encoder(texts)).split(len(batch.anchor)))

    def embed_text(self, texts: list[str]) -> Tensor:
        return self.encoder.embed(texts)


class SupervisedSimCSE(SimCSE):
    """Supervised SimCSE (eq. 5): a paraphrase is the positive, a contradiction the hard negative; the head stays on.

    Args:
        hard_negatives: whether the contradictions take part.
        others: the arguments of `SimCSE` and `Method`.
    """

    def __init__(self, *, hard_negatives: bool = True, **others) -> None:
        super().__init__(**others)
        self.hard_negatives = hard_negatives

    def training_step(self, batch: SentenceTriplets, batch_idx: int) -> Tensor:
        return self.log_loss(self.contrast_triplets(batch, self.hard_negatives))

    def embed_text(self, texts: list[str]) -> Tensor:
        return self.head(self.encoder.embed(texts).to(self.device))
