"""DiffCSE (Chuang et al. 2022): SimCSE, and a discriminator that needs the sentence's vector to find replaced words."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.batches import Sentences
from common.checks import check_number
from common.distributed import global_mean, global_ratio
from common.encoders.heads import normalized_mlp
from common.encoders.pooling import Tokens
from common.encoders.replaced import ConditionalDiscriminator, Drawn, Edited, FrozenGenerator
from common.encoders.text import TextEncoder
from common.random import uniform
from common.sampling.masking import IGNORED, hide_tokens_by_sample
from papers.sentence.simcse.module import SimCSE


class DiffCSE(SimCSE):
    """Unsupervised SimCSE + weight * replaced-token detection, conditioned on the vector of the unedited sentence.

    Both copies of a sentence are edited, each under draws of its own. `embed_text` returns what stands below the head.

    Args:
        encoder: as in `SimCSE`, one of `ARCHITECTURES`; discriminator and encoder start from the same weights.
        layers, weights, dropout, max_length: as in `SimCSE`, of the encoder and the discriminator.
        generator: the frozen masked LM, with the encoder's vocabulary; by default the encoder as it was.
        generator_weights: folder with its files, where they are not the repository's own.
        weight: of the detection (lambda); with 0 neither generator nor discriminator is built.
        masked: share of the tokens that are hidden from the generator.
        head: what stands between the vector and both losses: the released "batchnorm" (two linear layers, each under
            batch normalization, over both copies at once), or "none".
        edits: every token but the first is the generator's "likeliest", hidden or not, as released; or the hidden ones
            alone are "drawn" from it, as in the paper.
        reduction: the mean over the "positions" of the padded batch, as released, or the sum over a sentence's tokens
            and the mean over "sentences", as in the paper.
        detach: the detection does not reach the encoder, a control.
        labels: "permuted" within each sentence, a control: as much gradient without content.
        others: the arguments of `SimCSE` and `Method`.
    """

    def __init__(
        self,
        *,
        encoder: str = "mini-bert",
        layers: int | None = None,
        weights: str | None = None,
        dropout: float = 0.1,
        max_length: int = 32,
        generator: str | None = None,
        generator_weights: str | None = None,
        weight: float = 0.005,
        masked: float = 0.3,
        head: Literal["batchnorm", "none"] = "batchnorm",
        edits: Literal["likeliest", "drawn"] = "likeliest",
        reduction: Literal["positions", "sentences"] = "positions",
        detach: bool = False,
        labels: Literal["true", "permuted"] = "true",
        **others,
    ) -> None:
        given = {"encoder": encoder, "layers": layers, "weights": weights, "dropout": dropout, "max_length": max_length}
        super().__init__(head=False, **given, **others)
        check_number("model.weight", weight, least=0)
        check_number("model.masked", masked, least=0, most=1)
        width = self.encoder.width
        if head == "batchnorm":
            self.head = nn.Sequential(*normalized_mlp(width, 2 * width, width), nn.BatchNorm1d(width, affine=False))
            for linear in (part for part in self.head if isinstance(part, nn.Linear)):
                nn.init.normal_(linear.weight, std=0.02)  # as BERT's weights are, in the released code
        self.weight, self.masked, self.edits = weight, masked, edits
        self.reduction, self.detach, self.labels = reduction, detach, labels
        if weight:
            self.generator = FrozenGenerator(generator or encoder, generator_weights or weights, dropout, max_length)
            pooling = self.encoder.pooling
            self.discriminator = ConditionalDiscriminator(
                TextEncoder.named(encoder, pooling, dropout, max_length, layers, weights)
            )

    def training_step(self, batch: Sentences, batch_idx: int) -> Tensor:
        tokens = self.encoder.tokenize(batch.twice())
        vectors = self.head(self.encoder.vectors(tokens))
        contrast = self.contrast(*vectors.chunk(2))
        if not self.weight:
            return self.log_loss(contrast)
        edited = self.edit(tokens, batch.ids)
        detection = self.detect(edited, vectors.detach() if self.detach else vectors, batch.ids)
        replaced = edited.replaced.sum() / tokens.mask.sum()
        return self.log_loss(
            contrast + self.weight * detection, contrast=contrast, detection=detection, replaced=replaced
        )

    def edit(self, tokens: Tokens, ids: Tensor) -> Edited:
        """Both copies of the sentences, of which the generator saw each with other tokens hidden."""
        copies = [Tokens(*copy) for copy in zip(*(field.chunk(2) for field in tokens), strict=True)]
        hidden = [
            hide_tokens_by_sample(copy, self.masked, self.encoder, ids, *self.key("masks"), at)
            for at, copy in enumerate(copies)
        ]
        visible = tokens._replace(ids=torch.cat([seen.ids for seen, _ in hidden]))
        if self.edits == "likeliest":
            return self.generator(tokens, visible)
        draws = [uniform(ids, tokens.ids.shape[1], *self.key("edits"), at) for at in range(2)]
        where = torch.cat([targets for _, targets in hidden]) != IGNORED
        return self.generator(tokens, visible, Drawn(where, torch.cat(draws)))

    def detect(self, edited: Edited, vectors: Tensor, ids: Tensor) -> Tensor:
        """The discriminator's cross-entropy, given the vectors of the unedited sentences, (2n, d)."""
        targets = edited.replaced
        if self.labels == "permuted":
            draws = uniform(ids, targets.shape[1], *self.key("permutation")).repeat(2, 1)
            targets = targets.gather(1, order_within(draws, edited.tokens.mask))
        losses = F.cross_entropy(self.discriminator(edited.tokens, vectors).transpose(1, 2), targets, reduction="none")
        if self.reduction == "positions":
            return global_ratio(losses.sum(), losses.numel())
        return global_mean((losses * edited.tokens.mask).sum(dim=1))


def order_within(draws: Tensor, mask: Tensor) -> Tensor:
    """The places of each row in which those between its first and its last token are in the order of the draws.

    Args:
        draws: in [0, 1), (n, t).
        mask: 1 at tokens and 0 at the padding behind them, (n, t).
    """
    inner = mask.roll(-1, dims=1) * mask
    inner[:, 0] = inner[:, -1] = 0
    ends = torch.where(torch.arange(mask.shape[1], device=mask.device) == 0, -1.0, 2.0)
    return torch.where(inner.bool(), draws, ends).argsort(dim=1, stable=True)
