"""CLIPPO (Tschannen et al. 2023): CLIP with one tower, which sees pictures and reads texts drawn as pictures."""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.batches import ImageText
from common.encoders.image import to_float
from common.encoders.vit import VisionTransformer
from common.errors import UserError
from common.lettering import rendered
from common.losses import LearnableTemperature
from common.training.grad_cache import cached_forward
from papers.vision_language.clip.module import CLIP


class CLIPPO(CLIP):
    """Texts are rendered and go through the picture tower; pairs of sentences stand in one matrix with the others.

    Args:
        text_height, text_width: of rendered texts in pixels. They need not be those of the pictures if the tower takes
            pictures of any size.
        row: from one row of text to the next, in pixels.
        towers: 1; or 2 for what it is compared with, a tower for texts that starts with the other's weights.
        temperature: what it starts at. Unlike CLIP's it has no bound.
        clip: the other arguments of `CLIP`; there is no text encoder.

    Raises:
        UserError: neither one tower nor two; texts have more or fewer patches than pictures, and the tower is a ViT.
    """

    def __init__(
        self,
        *,
        text_height: int = 24,
        text_width: int = 72,
        row: int = 8,
        towers: int = 1,
        temperature: float = 0.1,
        **clip: Any,
    ) -> None:
        super().__init__(text_encoder="bag_of_words", **clip)
        if towers not in (1, 2):
            raise UserError(f"model.towers is {towers}; it must be 1 or 2")
        tower = self.encoder.image
        if isinstance(tower, VisionTransformer):
            patches, here = len(tower.positions), (text_height // tower.patch_size) * (text_width // tower.patch_size)
            if here != patches:
                size = f"model.text_height and model.text_width are {text_height} and {text_width}, {here} patches"
                raise UserError(f"{size}; they must have {patches} as the pictures of this tower have")
        self.temperature = LearnableTemperature(temperature, minimum=0)
        self.text_size, self.row = (text_height, text_width), row
        # In place of the tower over words.
        second = nn.Sequential(self.encoder.image, self.encoder.projection)
        self.encoder.text = deepcopy(second) if towers == 2 else nn.Identity()
        self.towers = towers

    def training_step(self, batch: ImageText, batch_idx: int) -> Tensor:
        first = cached_forward(self.encoder.images, batch.pixels, self.chunk_size)
        texts = batch.text
        if batch.sentences:
            one, other = batch.sentences
            first, texts = torch.cat([first, cached_forward(self.read, one, self.chunk_size)]), [*texts, *other]
        return self.log_loss(self.contrast(first, cached_forward(self.read, texts, self.chunk_size)))

    def read(self, texts: list[str]) -> Tensor:
        """Unit vectors (n, e)."""
        pixels = to_float(rendered(texts, *self.text_size, row=self.row)).to(self.device, self.dtype)
        return self.encoder.images(pixels) if self.towers == 1 else F.normalize(self.encoder.text(pixels), dim=-1)

    def embed_text(self, texts: list[str]) -> Tensor:
        return self.read(texts)
