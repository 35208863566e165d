"""The focal contrast of text-driven soft masks (Park and Han 2023): pairs that are found weigh less in CLIP's loss."""

from typing import Literal

import torch
from torch import Tensor

from common.checks import check_number
from common.distributed import Exchange, gather, global_mean, shards
from common.errors import UserError
from common.losses import focal_info_nce
from common.losses.temperature import inverse
from common.scores import Scores
from papers.vision_language.clip.module import CLIP


class FocalCLIP(CLIP):
    """CLIP in which a pair of softmax probability p counts (1 - p)^gamma, in each direction by itself.

    Args:
        gamma: at least 0, which is CLIP.
        weights: "live" ones are differentiated with the rest, as in the focal loss of detection; "detached" ones carry
            no gradient; "exchanged" ones carry none, and each pair has those of the one before it in the batch, whose
            order is random: as much is lost of the gradient, but nothing is focused on.
        clip: the other arguments of `CLIP`, whose label smoothing is none of them.

    Raises:
        UserError: one of these is out of range.
    """

    def __init__(
        self, *, gamma: float = 2.0, weights: Literal["live", "detached", "exchanged"] = "live", **clip
    ) -> None:
        super().__init__(**clip)
        check_number("model.gamma", gamma, least=0)
        if weights not in ("live", "detached", "exchanged"):
            raise UserError(f"model.weights is {weights!r}; it must be 'live', 'detached' or 'exchanged'")
        self.gamma, self.weights = gamma, weights

    def contrast(self, image: Tensor, text: Tensor) -> Tensor:
        if self.weights == "live":
            return focal_info_nce(image, text, temperature=self.temperature(), gamma=self.gamma, symmetric=True)
        scores = Scores(image, text, scale=inverse(self.temperature()), exchange=Exchange.GATHER)
        own = scores.diagonal()
        log_p = torch.stack([own - total for total in scores.logsumexps()], dim=1)
        # As in the focal loss: expm1 keeps the digits of 1 - p near 1, where rounding must not make it negative.
        weights = (-torch.expm1(log_p.detach())).clamp(min=0) ** self.gamma
        if self.weights == "exchanged":
            layout = shards(len(image), image.device)
            weights = gather(weights, layout).roll(1, dims=0)[layout.own]
        return -global_mean((weights * log_p).mean(dim=1))
