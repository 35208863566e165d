"""RCML (Qiao et al. 2025): two items are compared under a relation in words, which attends to the tokens of both."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from common.batches import ImageText
from common.checks import check_number
from common.distributed import Exchange, Shards, gather, shards, sum_over_processes
from common.encoders.image import to_float
from common.encoders.patches import PatchEncoderName, patch_encoder
from common.encoders.word_fusion import WordReader
from common.errors import UserError
from common.random import uniform
from common.scores import Scores
from common.training.method import Method
from papers.vision_language.rcml.conditioning import Attention, Concatenated, ConditioningName, Gated

LINKED = "linked in some respect"
"""What stands for every relation where none is told."""


class RCML(Method):
    """Linked items are drawn together under the words of their link, across modalities and within each (eq. 1 and 2).

    A pair is an item with itself, under one text for all, or two items under what links them. Negatives are the items
    that nothing links with the anchor, each under the anchor's relation.

    Args:
        image_encoder, image_size, channels: see `patch_encoder`.
        width: d of all states and vectors, where the image encoder has no width of its own.
        max_length: words at which a text is cut.
        conditioning: "attention", RCML; "concatenated", CLIP whose captions have the relation behind them; "gated", a
            control, see `Gated`.
        relations: "told" in words; "untold", one text stands for all; "none", there are only pairs of an item with
            itself.
        beta: of the attention's logits, see `Attention`.
        temperature: fixed.
        within: weight of the terms within a modality, lambda.
        decoupled: as the equation is printed, without the positive in the denominator.
        optimization: the arguments of `Method`.

    Raises:
        UserError: an argument is out of range; in training, batches without links or without words for them.
    """

    contrastive = True

    def __init__(
        self,
        *,
        image_encoder: PatchEncoderName = "small_convnet",
        image_size: int = 48,
        channels: int = 32,
        width: int = 64,
        max_length: int = 40,
        conditioning: ConditioningName = "attention",
        relations: Literal["told", "untold", "none"] = "told",
        beta: float = 0.6,
        temperature: float = 0.1,
        within: float = 0.5,
        decoupled: bool = False,
        **optimization,
    ) -> None:
        super().__init__(**optimization)
        if relations not in ("told", "untold", "none"):
            raise UserError(f"model.relations is {relations!r}; it must be 'told', 'untold' or 'none'")
        check_number("model.beta", beta, least=0, most=1)
        check_number("model.within", within, least=0)
        self.image = patch_encoder(image_encoder, image_size, width, channels)
        self.text = WordReader(width=self.image.width, layers=1, length=max_length)
        self.conditioning: Attention | Gated | Concatenated
        match conditioning:
            case "attention":
                self.conditioning = Attention(width=self.image.width, beta=beta)
            case "gated":
                self.conditioning = Gated(width=self.image.width)
            case "concatenated":
                self.conditioning = Concatenated(width=self.image.width)
            case _:
                raise UserError(f"model.conditioning is {conditioning!r}; it must be attention, gated or concatenated")
        self.relations, self.temperature, self.within, self.decoupled = relations, temperature, within, decoupled

    def training_step(self, batch: ImageText, batch_idx: int) -> Tensor:
        if batch.neighbours is None or not batch.relations:
            raise UserError(
                "RCML reads links and words for them, see data.structure 'relations'; these batches lack them"
            )
        layout = shards(len(batch.ids), batch.ids.device)
        draws = uniform(torch.arange(len(batch.relations)), 1, *self.key("wordings")).flatten().tolist()
        about = [words[int(draw * len(words))] for draw, words in zip(draws, batch.relations, strict=True)]
        linked = self.links(batch.neighbours, batch.ids, layout)
        return self.log_loss(self.contrast(self.vectors(batch.pixels, batch.text, about), linked, layout))

    def links(self, neighbours: Tensor, ids: Tensor, layout: Shards) -> Tensor:
        """Whether a relation links our items with those of the batch, one way or the other, bool (r, n, all).

        Args:
            neighbours: ids of those that each is linked with, a column a relation, -1 for none, (n, r).
            ids: of the items, (n,).
        """
        there = neighbours.T[:, :, None] == gather(ids, layout)
        there |= gather(neighbours, layout).T[:, None] == ids[:, None]
        return there & (self.relations != "none")

    def vectors(self, pixels: Tensor, texts: list[str], relations: list[str]) -> Tensor:
        """Unit vectors of pictures and captions as the same item and under each relation, (2, 1 + r, n, d)."""
        told = [LINKED] * len(relations) if self.relations == "untold" else relations
        image = self.conditioning.images(self.image(pixels), self.text, told)
        return torch.stack([image, self.conditioning.texts(texts, self.text, told)])

    def contrast(self, vectors: Tensor, linked: Tensor, layout: Shards) -> Tensor:
        """The loss: each of the four terms is the mean over the pairs of all processes.

        The similarity of an item with itself within a modality is always 1; those pairs count across modalities alone.

        Args:
            vectors: (2, 1 + r, n, d).
            linked: (r, n, all).
        """
        everybody = torch.arange(layout.total, device=vectors.device)
        own = everybody[layout.own, None] == everybody
        links = sum_over_processes(linked.sum().to(vectors.dtype))
        across, within = 0.5 / (links + layout.total), self.within / links.clamp(min=1)
        taken = (own | linked.any(0)).repeat(2, 1)
        loss = vectors.new_zeros(())
        for number, pairs in enumerate((own, *linked)):
            query = vectors[:, number].flatten(0, 1)
            for side in (0, 1):
                weights = torch.stack([across, across])
                weights[side] = within if number else 0.0
                weight = (weights[:, None, None] * pairs).flatten(0, 1)
                scores = Scores(query, vectors[side, number], scale=1 / self.temperature, exchange=Exchange.GATHER)
                negatives = scores.exclude(taken).logsumexp(dim=1)
                terms = scores.sum(self._term, rows=(negatives,), pairs=(weight,))
                loss = loss + terms.sum()
        return sum_over_processes(loss)

    def _term(self, positive: Tensor, negatives: Tensor, weight: Tensor) -> Tensor:
        surplus = negatives - positive
        return weight * (surplus if self.decoupled else F.softplus(surplus))

    def embed_image(self, pixels: Tensor) -> Tensor:
        return self.conditioning.images(self.image(to_float(pixels)), self.text, [])[0]

    def embed_text(self, texts: list[str]) -> Tensor:
        return self.conditioning.texts(texts, self.text, [])[0]

    def embed_related(self, pixels: Tensor, texts: list[str], relations: list[str]) -> tuple[Tensor, Tensor]:
        image, text = self.vectors(to_float(pixels), texts, relations)[:, 1:]
        return image, text
