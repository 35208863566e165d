"""CLIP rocket (Fini et al. 2023): plain CLIP, several strong views of pictures and captions under their own heads."""

from collections.abc import Iterable, Sequence
from itertools import product
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.batches import ImageText
from common.checks import check_number
from common.encoders.heads import normalized_mlp
from common.encoders.norms import with_global_statistics
from common.errors import UserError
from common.losses import LearnableTemperature, alignment, cross_view_info_nce
from papers.vision_language.clip.module import CLIP

Sides = tuple[Tensor, Tensor]
"""What the towers made of a view of the pictures and of one of the captions."""


class CLIPRocket(CLIP):
    """CLIP's loss on the weak views, and on each pair of a strong view of the picture and one of the caption.

    With n strong views the weak pair counts 1 / (1 + n) and the mean over the n^2 strong pairs n / (1 + n). Weak and
    strong are never compared. What is scored is the linear head of the weak views.

    Args:
        heads: of the strong views, "separate", perceptrons of three layers over what the linear heads read, with a
            temperature of their own, or "shared", the linear heads themselves.
        hidden_dim: hidden width of these perceptrons, and of SiamLIP's.
        local_temperature: of separate heads, what it starts at; kept from 0.01 to 1.
        local_smoothing: label smoothing of the strong pairs; the weak pair has none.
        directions: "mean" or "sum" of the loss from pictures and that from captions, which matters beside SiamLIP.
        siamlip: weight of SiamLIP, see `siamese`; 0 is without.
        siamlip_dim: width of what SiamLIP predicts.
        clip: the other arguments of `CLIP`.

    Raises:
        UserError: an argument is out of range, a text tower without `features`, or a `chunk_size`.
    """

    def __init__(
        self,
        *,
        heads: Literal["separate", "shared"] = "separate",
        hidden_dim: int = 256,
        local_temperature: float = 0.1,
        local_smoothing: float = 0.1,
        directions: Literal["mean", "sum"] = "mean",
        siamlip: float = 0.0,
        siamlip_dim: int = 64,
        **clip,
    ) -> None:
        super().__init__(**clip)
        check_number("model.local_smoothing", local_smoothing, least=0, most=1)
        check_number("model.siamlip", siamlip, least=0)
        if heads not in ("separate", "shared") or directions not in ("mean", "sum"):
            raise UserError(f"model.heads is {heads!r}, separate or shared; directions {directions!r}, mean or sum")
        if self.chunk_size is not None:
            raise UserError("model.chunk_size must be null: the heads normalize over the batch")
        if not hasattr(self.encoder.text, "features"):
            raise UserError("model.text_encoder must tell its features: clip, or one over words such as bag_of_words")
        widths, dim = [self.encoder.image.output_dim, self.encoder.text.last.in_features], clip.get("embed_dim", 64)
        self.heads = self.projectors = self.predictors = None
        self.local_temperature = self.temperature
        if heads == "separate":
            self.heads = nn.ModuleList(_perceptron(width, hidden_dim, hidden_dim, dim) for width in widths)
            self.local_temperature = LearnableTemperature(local_temperature, maximum=1.0)
        self.local_smoothing, self.times = local_smoothing, {"mean": 1, "sum": 2}[directions]
        self.siamlip = siamlip
        if siamlip:
            self.projectors = nn.ModuleList(_projector(width, hidden_dim, siamlip_dim) for width in widths)
            self.predictors = nn.ModuleList(_perceptron(siamlip_dim, hidden_dim, siamlip_dim) for _ in widths)

    @property
    def linear(self) -> tuple[nn.Module, nn.Module]:
        """The heads of the weak views, which are scored."""
        return self.encoder.projection, self.encoder.text.last

    def training_step(self, batch: ImageText, batch_idx: int) -> Tensor:
        local = () if batch.local is None else batch.local.unbind()
        if len(local) != len(batch.text_views):
            counts = f"{len(local)} strong views of pictures and {len(batch.text_views)} of captions"
            raise UserError(f"data.local_views and data.text_views give {counts}; it must be as many of both")
        # One view after the other: the heads normalize each by its own statistics.
        image = [self.encoder.image(pixels) for pixels in (batch.pixels, *local)]
        text = [self.encoder.text.features(texts) for texts in (batch.text, *batch.text_views)]
        views = list(zip(image, text, strict=True))
        loss = self.times * self.views_contrast(views[0], views[1:])
        if not self.siamlip:
            return self.log_loss(loss)
        siamese = self.siamese(views[0], views[1:])
        return self.log_loss(loss + self.siamlip * siamese, contrast=loss, siamlip=siamese)

    def views_contrast(self, weak: Sides, strong: Sequence[Sides]) -> Tensor:
        """The loss of features, the mean of both directions."""
        loss = self.contrast(*_unit(self.linear, weak))
        if not strong:
            return loss
        views = zip(*(_unit(self.heads or self.linear, view) for view in strong), strict=True)
        options = dict(temperature=self.local_temperature(), label_smoothing=self.local_smoothing)
        across = cross_view_info_nce(*(torch.stack(side, dim=1) for side in views), **options)
        return (loss + len(strong) * across) / (1 + len(strong))

    def siamese(self, weak: Sides, strong: Sequence[Sides]) -> Tensor:
        """SiamLIP: 2 - 2 cos between a prediction from one side and the other side's projection, without its gradient.

        The mean over both directions of the weak pair and of the n^2 strong pairs. Without negatives.
        """
        made = [[p(x) for p, x in zip(self.projectors, view, strict=True)] for view in (weak, *strong)]
        told = [_unit(self.predictors, view) for view in made]
        made = [[F.normalize(x, dim=1).detach() for x in view] for view in made]
        pairs = [(0, 0), *product(range(1, len(made)), repeat=2)]
        terms = [alignment(told[a][side], made[b][1 - side]) for a, b in pairs for side in (0, 1)]
        return torch.stack(terms).mean()


def _perceptron(*widths: int) -> nn.Module:
    """`normalized_mlp` whose last layer has a bias."""
    return with_global_statistics(nn.Sequential(*normalized_mlp(*widths)[:-1], nn.Linear(*widths[-2:])))


def _projector(*widths: int) -> nn.Module:
    """`normalized_mlp` with batch normalization behind it, which has no weights."""
    return with_global_statistics(nn.Sequential(*normalized_mlp(*widths), nn.BatchNorm1d(widths[-1], affine=False)))


def _unit(heads: Iterable[nn.Module], view: Sides) -> Sides:
    return tuple(F.normalize(head(x), dim=-1) for head, x in zip(heads, view, strict=True))
