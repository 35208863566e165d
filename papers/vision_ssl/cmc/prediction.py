"""What contrast is compared with: each view of an image predicts the pixels of the other."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from common.batches import Images
from common.distributed import global_mean
from common.encoders.image import ImageEncoderName
from papers.vision_ssl.cmc.two_views import Parting, TwoViews


class CrossPrediction(TwoViews):
    """The predictive counterpart: from the code of one view of an image the other is painted, by a linear map.

    Args:
        encoder, width, colours: as in `TwoViews`.
        side: of the coarse picture that is predicted.
        distance: "l1" or "l2", of the pixels.
        optimization: the arguments of `Method`.
    """

    def __init__(
        self,
        *,
        encoder: ImageEncoderName = "small_convnet",
        width: int = 16,
        side: int = 8,
        colours: Parting = "lab",
        distance: Literal["l1", "l2"] = "l2",
        **optimization,
    ) -> None:
        outputs = (2 * side**2, side**2)
        super().__init__(encoder=encoder, width=width, outputs=outputs, colours=colours, **optimization)
        self.side, self.distance = side, distance

    def training_step(self, batch: Images, batch_idx: int) -> Tensor:
        parts = self.parted(batch.views.flatten(0, 1))
        painted = [network.head(network.encoder(part)) for network, part in zip(self.networks, parts, strict=True)]
        targets = [F.adaptive_avg_pool2d(part, self.side).flatten(1) for part in reversed(parts)]
        error = {"l1": Tensor.abs, "l2": Tensor.square}[self.distance]
        terms = [global_mean(error(a - b).mean(dim=1)) for a, b in zip(painted, targets, strict=True)]
        return self.log_loss(torch.stack(terms).sum())
