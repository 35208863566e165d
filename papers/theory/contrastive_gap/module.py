"""The contrastive gap (Fahim et al. 2024): CLIP's loss, and what spreads each side and draws pairs together."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.checks import check_number
from common.distributed import shards, sum_over_processes
from common.errors import UserError
from common.losses import alignment, cross_uniformity, symmetric_info_nce, uniformity
from papers.vision_language.clip.module import CLIP

KEPT = 0.99
"""Of the running means of both sides in each step."""


class GapLoss(nn.Module):
    """A weighted sum of four losses of two sides; with weights 1, 1, 1 and 0 L_CUA, and with 1 throughout L_CUAXU.

    Args:
        temperature: of the contrastive loss, not learnt.
        contrast_weight: of `symmetric_info_nce`.
        uniform_weight: of the mean of `uniformity` over the two sides, each by itself.
        align_weight: of `alignment`, the squared distance of a pair.
        cross_weight: of `cross_uniformity`.
        t: sharpness of the potentials.

    Raises:
        UserError: a weight is below 0 or all are 0, or t is not above 0.
    """

    def __init__(
        self,
        *,
        temperature: float,
        contrast_weight: float,
        uniform_weight: float,
        align_weight: float,
        cross_weight: float,
        t: float = 2.0,
    ) -> None:
        super().__init__()
        self.weights = dict(contrast=contrast_weight, uniform=uniform_weight, align=align_weight, cross=cross_weight)
        for name, weight in self.weights.items():
            check_number(f"model.{name}_weight", weight, least=0)
        if not any(self.weights.values()):
            raise UserError("model.contrast_weight, uniform_weight, align_weight and cross_weight are all 0")
        check_number("model.t", t, above=0)
        self.temperature, self.t = temperature, t

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The loss of unit vectors, (n, e) each, row by row pairs; one of weight 0 is not computed."""
        losses = {
            "contrast": lambda: symmetric_info_nce(x, y, temperature=self.temperature),
            "uniform": lambda: (uniformity(x, t=self.t) + uniformity(y, t=self.t)) / 2,
            "align": lambda: alignment(x, y),
            "cross": lambda: cross_uniformity(x, y, t=self.t),
        }
        return torch.stack([weight * losses[name]() for name, weight in self.weights.items() if weight]).sum()


class ContrastiveGap(CLIP):
    """CLIP at a fixed temperature, with terms that close the gap between pictures and texts.

    Args:
        temperature: of the contrastive loss, not learnt.
        contrast_weight, uniform_weight, align_weight, cross_weight, t: as in `GapLoss`.
        shifted: nothing is trained otherwise, but embeddings are moved afterwards, pictures and texts towards each
            other by half the distance of their means, which are followed while training. A gap closed without a loss.
        embed_dim: width of the common space.
        clip: the other arguments of `CLIP`; its `scalar_lr` has nothing to act on.
    """

    def __init__(
        self,
        *,
        temperature: float = 0.01,
        contrast_weight: float = 1.0,
        uniform_weight: float = 1.0,
        align_weight: float = 1.0,
        cross_weight: float = 0.0,
        t: float = 2.0,
        shifted: bool = False,
        embed_dim: int = 128,
        **clip,
    ) -> None:
        super().__init__(temperature=temperature, embed_dim=embed_dim, **clip)
        self.temperature.requires_grad_(False)
        weights = dict(uniform_weight=uniform_weight, align_weight=align_weight, cross_weight=cross_weight)
        self.loss = GapLoss(temperature=temperature, contrast_weight=contrast_weight, **weights, t=t)
        self.shifted = shifted
        self.offset: Tensor
        self.register_buffer("offset", torch.zeros(embed_dim))
        """Mean of the pictures less that of the texts."""

    def contrast(self, image: Tensor, text: Tensor) -> Tensor:
        if self.shifted and self.training:
            total = shards(len(image), image.device).total
            apart = (image - text).detach().sum(dim=0, dtype=self.offset.dtype)  # of low precision, too
            found = sum_over_processes(apart) / total
            # The first steps count as much as there are of them, or the mean would start from nothing.
            self.offset.lerp_(found, max(1 - KEPT, 1 / (self.global_step + 1)))
        return self.loss(image, text)

    def embed_image(self, pixels: Tensor) -> Tensor:
        return self._moved(super().embed_image(pixels), -0.5)

    def embed_text(self, texts: list[str]) -> Tensor:
        return self._moved(super().embed_text(texts), 0.5)

    def _moved(self, rows: Tensor, times: float) -> Tensor:
        return F.normalize(rows + times * self.offset, dim=1) if self.shifted else rows
