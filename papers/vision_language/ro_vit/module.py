"""RO-ViT (Kim et al. 2023): CLIP that gives a picture the positions of a drawn part of a larger one."""

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from common.batches import ImageText
from common.checks import check_choice, check_number
from common.encoders.image import to_float
from common.encoders.regions import mean_in_boxes, resized
from common.encoders.vit import VisionTransformer
from common.errors import UserError
from common.losses import focal_sigmoid
from common.random import uniform
from common.training.grad_cache import cached_forward
from papers.vision_language.clip.module import CLIP
from papers.vision_language.ro_vit.positions import cropped, drawn_boxes, waves

Positions = Literal["cropped", "shuffled", "whole", "fixed", "none"]


class ROViT(CLIP):
    """CLIP over a vision transformer, whose patches are told to be a part of a larger picture; and a focal loss.

    Pictures stay whole: it is the embedding of positions out of which a box is cropped for each, and resized to the
    patches (cropped positional embedding). After the training a larger picture has the whole embedding, interpolated.
    Around a box of it as many patches as a picture of the training has look at each other, as in detectors with
    attention in windows, and the mean of those in the box tells what is there.

    Args:
        positions: in training, of the patches: "cropped"; "shuffled", the same of each picture in a drawn order, which
            is as much noise without a place; "whole", the embedding as it is, as CLIP has it. Or, in training and
            after it, "fixed", sines and cosines; "none".
        start: standard deviation that the embedding starts with; null leaves the encoder's own.
        upsampled: cells along a side to which it is interpolated before it is cropped.
        area: smallest share of these that a box keeps.
        aspect: largest ratio of its sides, either way.
        gamma: of the focal loss; null is CLIP's own loss.
        alpha: of the focal loss, weight of the pairs that belong together against that of all others.
        image_encoder: a vision transformer whose patches are averaged.
        clip: the other arguments of `CLIP`.

    Raises:
        UserError: an argument is out of range, another encoder, or label smoothing.
    """

    def __init__(
        self,
        *,
        positions: Positions = "cropped",
        start: float | None = None,
        upsampled: int = 64,
        area: float = 0.1,
        aspect: float = 2.0,
        gamma: float | None = 1.0,
        alpha: float = 0.5,
        image_encoder: Literal["vit_small_mean", "vit_b16_mean"] = "vit_small_mean",
        **clip,
    ) -> None:
        super().__init__(image_encoder=image_encoder, **clip)
        check_choice("model.positions", positions, Positions)
        check_number("model.area", area, above=0, most=1)
        check_number("model.aspect", aspect, least=1)
        check_number("model.alpha", alpha, least=0, most=1)
        if gamma is not None:
            check_number("model.gamma", gamma, least=0)
        tower = self.encoder.image
        if not isinstance(tower, VisionTransformer) or tower.body.use_head:
            raise UserError(f"model.image_encoder is {image_encoder!r}; it must be vit_small_mean or vit_b16_mean")
        self.side = math.isqrt(len(tower.positions))
        if upsampled < self.side:
            raise UserError(f"model.upsampled is {upsampled}; it must be at least {self.side}, the patches of a side")
        if start is not None:
            check_number("model.start", start, above=0)
            torch.nn.init.normal_(tower.positions, std=start)
        if positions in ("fixed", "none"):
            tower.positions.requires_grad_(False)
            tower.positions.copy_(waves(self.side, tower.output_dim) if positions == "fixed" else torch.tensor(0.0))
        self.positions, self.upsampled, self.area, self.aspect = positions, upsampled, area, aspect
        self.gamma, self.alpha = gamma, alpha

    def training_step(self, batch: ImageText, batch_idx: int) -> Tensor:
        if self.positions not in ("cropped", "shuffled"):
            return super().training_step(batch, batch_idx)
        boxes = drawn_boxes(uniform(batch.ids, 4, *self.key("boxes")), self.area, self.aspect)
        order = uniform(batch.ids, self.side**2, *self.key("order")).argsort(dim=1)
        image = cached_forward(self.placed, (batch.pixels, boxes, order), self.chunk_size, module=self)
        text = cached_forward(self.encoder.texts, batch.text, self.chunk_size)
        return self.log_loss(self.contrast(image, text))

    def placed(self, given: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """Unit vectors (n, e) of pictures whose patches have the positions of boxes, in the order given if shuffled."""
        pixels, boxes, order = given
        positions = cropped(self.grid, boxes, self.upsampled)
        if self.positions == "shuffled":
            positions = positions.gather(1, order[..., None].expand_as(positions))
        return F.normalize(self.encoder.projection(self.encoder.image(pixels, positions)), dim=1)

    def contrast(self, image: Tensor, text: Tensor) -> Tensor:
        if self.gamma is None:
            return super().contrast(image, text)
        return focal_sigmoid(image, text, scale=1 / self.temperature(), gamma=self.gamma, alpha=self.alpha)

    @property
    def grid(self) -> Tensor:
        """The embedding of positions, (side, side, d)."""
        return self.encoder.image.positions.unflatten(0, (self.side, self.side))

    def embed_regions(self, pixels: Tensor, boxes: Tensor, rows: Tensor) -> Tensor:
        tower, (height, width) = self.encoder.image, pixels.shape[-2:]
        down, across = height // tower.patch_size, width // tower.patch_size
        ways = resized(self.side, down, self.grid), resized(self.side, across, self.grid)
        positions = torch.einsum("ih,jw,hwd->ijd", *ways, self.grid)
        patches = tower.embedded(to_float(pixels)).unflatten(1, (down, across)) + positions
        corner = (boxes[:, :2] + boxes[:, 2:]) / (2 * tower.patch_size) - self.side / 2
        corner = corner.round().clamp(min=0).minimum(corner.new_tensor([across, down]) - self.side).long()
        columns, lines = (corner[..., None] + torch.arange(self.side, device=corner.device)).unbind(1)
        window = patches[rows[:, None, None], lines[:, :, None], columns[:, None]]
        states = tower.mixed(window.flatten(1, 2)).unflatten(1, (self.side, self.side))
        share = (boxes.unflatten(1, (2, 2)) / tower.patch_size - corner[:, None]).clamp(0, self.side) / self.side
        inside = mean_in_boxes(states, share.flatten(1), torch.arange(len(boxes), device=boxes.device))
        return F.normalize(self.encoder.projection(inside), dim=1)
