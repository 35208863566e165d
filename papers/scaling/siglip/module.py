"""SigLIP (Zhai et al. 2023): CLIP's towers, and every pair of the batch a yes-or-no question of its own."""

import torch
from torch import Tensor, nn

from common.distributed import Exchange
from common.losses import LearnableTemperature, sigmoid_pairwise
from papers.vision_language.clip.module import CLIP


class SigLIP(CLIP):
    """Pairs are classified one by one, so no softmax runs over the batch and texts travel around a ring (algorithm 1).

    Args:
        temperature: 1 / t of the paper, what it starts at; unlike CLIP's it has no bound.
        bias: what b starts at; null trains without one. The sign is that of the paper's algorithm and of its code,
            t x.y + b, not that of its equation.
        clip: the other arguments of `CLIP`.
    """

    def __init__(self, *, temperature: float = 0.1, bias: float | None = -10.0, **clip) -> None:
        super().__init__(**clip)
        self.temperature = LearnableTemperature(temperature, minimum=1e-6)
        self.bias = None if bias is None else nn.Parameter(torch.tensor(float(bias)))

    def contrast(self, image: Tensor, text: Tensor) -> Tensor:
        bias = 0.0 if self.bias is None else self.bias
        return sigmoid_pairwise(image, text, scale=1 / self.temperature(), bias=bias, exchange=Exchange.RING)
