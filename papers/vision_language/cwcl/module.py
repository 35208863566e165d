"""CWCL (Srinivasa et al. 2023): how alike a frozen tower finds its samples weighs what the new tower draws close."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.batches import ImageText
from common.checks import check_choice, check_number
from common.distributed import Exchange
from common.encoders.dual import DualEncoder
from common.encoders.remembered import Remembered
from common.errors import UserError
from common.losses import distilled, info_nce, same_id, soft_target_cross_entropy, symmetric_info_nce
from common.random import uniform
from common.scores import Scores
from common.tiled.tiles import Matrix
from common.training.grad_cache import cached_forward
from data.scenes.small import CONCEPTS
from papers.vision_language.clip.module import CLIP

Weights = Literal["none", "similarity", "uniform", "shuffled", "sharp", "class"]


class CWCL(CLIP):
    """CLIP whose picture tower is frozen below a linear map, and whose pictures seek all captions by weights.

    Args:
        locked: a trained tower of this repository, see `DualEncoder.named`; null freezes `image_encoder` as it is.
        remember: what the frozen tower makes of a picture is kept, which must then look the same each time.
        weights: of all captions for a picture. "similarity", w_ij = (1 + cos(u_i, u_j)) / 2 with u what the frozen
            tower makes of pictures, below the map; "none" is InfoNCE, the loss of locked-image tuning (LiT). Controls:
            "uniform", all other captions alike; "shuffled", the similarities of other pictures;
            "sharp", softmax(cos(u_i, u_j) / sharpness); "class", alike for all pictures of the class, which
            `batch.concepts` tells.
        sharpness: of "sharp", a temperature.
        own_share: of "uniform", what the own caption has of its target; null is as much as by similarity.
        both: captions seek all pictures by the same weights; CWCL has InfoNCE that way.
        clip: the other arguments of `CLIP`, but for label smoothing.

    Raises:
        UserError: unknown weights, or a share out of range.
    """

    def __init__(
        self,
        *,
        locked: str | None = "mini-clip",
        remember: bool = True,
        weights: Weights = "similarity",
        sharpness: float = 0.1,
        own_share: float | None = None,
        both: bool = False,
        embed_dim: int = 64,
        **clip,
    ) -> None:
        super().__init__(embed_dim=embed_dim, **clip)
        check_choice("model.weights", weights, Weights)
        if own_share is not None:
            check_number("model.own_share", own_share, least=0, most=1)
        tower = self.encoder.image if locked is None else DualEncoder.named(locked).image
        self.encoder.image = Remembered(tower)
        self.encoder.projection = nn.Linear(tower.output_dim, embed_dim)
        self.remember, self.both = remember, both
        self.weights, self.sharpness, self.own_share = weights, sharpness, own_share

    def training_step(self, batch: ImageText, batch_idx: int) -> Tensor:
        seen = self.encoder.image(batch.pixels, batch.ids if self.remember else None)
        image = F.normalize(self.encoder.projection(seen), dim=-1)
        text = cached_forward(self.encoder.texts, batch.text, self.chunk_size)
        if self.weights == "shuffled":
            seen = seen[uniform(batch.ids, 1, *self.key("shuffle")).flatten().argsort()]
        kinds = None if batch.concepts is None else batch.concepts[:, CONCEPTS["class"]].int().argmax(1)
        return self.log_loss(self.contrast(image, text, seen, kinds))

    def contrast(self, image: Tensor, text: Tensor, seen: Tensor | None = None, kinds: Tensor | None = None) -> Tensor:
        """The sum of both directions, of unit vectors (n, e).

        Args:
            seen: what the frozen tower makes of the pictures, (n, d).
            kinds: their classes, int64 (n,).
        """
        scale = 1 / self.temperature()
        if self.weights == "none" or seen is None:
            return symmetric_info_nce(image, text, temperature=1 / scale, directions="sum")
        scores = Scores(image, text, scale=scale, exchange=Exchange.GATHER)
        targets = self.targets(scores, seen, kinds)
        to_captions = soft_target_cross_entropy(scores, targets)
        if self.both:
            to_pictures = Scores(text, image, scale=scale, exchange=Exchange.GATHER)
            return to_captions + soft_target_cross_entropy(to_pictures, targets)
        return to_captions + info_nce(text, image, temperature=1 / scale)

    @torch.no_grad()
    def targets(self, scores: Scores, seen: Tensor, kinds: Tensor | None) -> Matrix:
        """What each picture is to make of all captions of the batch; rows sum to 1."""
        if self.weights == "class":
            if kinds is None:
                raise UserError("model.weights is 'class', of which only data with concepts knows (data.concepts)")
            return same_id(scores, kinds, kinds)
        unit = F.normalize(seen.to(scores.dtype), dim=1)
        number = scores.layout.start + torch.arange(len(unit), device=unit.device)
        if self.weights == "sharp":
            alike = Scores(unit, unit, scale=1 / self.sharpness, exchange=Exchange.GATHER)
            return distilled(alike, same_id(alike, number, number), alpha=1)
        # (1 + cos) / 2 is a product of vectors with one more entry, so that its rows can be divided by their sum.
        unit = torch.cat([unit, torch.ones_like(unit[:, :1])], dim=1)
        own = 1 / Scores(unit / 2, unit, exchange=Exchange.GATHER).total()
        if self.weights == "uniform":
            own = own if self.own_share is None else torch.full_like(own, self.own_share)
            rest = (1 - own) / max(scores.shape[1] - 1, 1)
            return scores.pairwise(
                lambda i, own, rest, j: torch.where(i == j, own, rest), (number, own, rest), (number,)
            )
        return Scores(unit / 2 * own[:, None], unit, exchange=Exchange.GATHER)
