"""ALIGN (Jia et al. 2021): CLIP's contrast on raw alternative texts, with smoothed labels and a temperature from 1."""

from torch import Tensor

from common.checks import check_number
from common.losses import LearnableTemperature, symmetric_info_nce
from papers.vision_language.clip.module import CLIP


class ALIGN(CLIP):
    """The sum of two normalized softmaxes over the batch (equations 1 and 2), both with smoothed labels.

    Args:
        temperature: sigma, which both directions share, at the start; unlike CLIP's it has no bound.
        learnt: whether the temperature is learnt; else it stays as it is.
        smoothing: share of the target that is spread evenly over the batch, in [0, 1].
        clip: the other arguments of `CLIP`, whose label smoothing is none of them.
    """

    def __init__(self, *, temperature: float = 1.0, learnt: bool = True, smoothing: float = 0.1, **clip) -> None:
        super().__init__(**clip)
        check_number("model.smoothing", smoothing, least=0, most=1)
        self.temperature = LearnableTemperature(temperature, minimum=1e-6).requires_grad_(learnt)
        self.smoothing = smoothing

    def contrast(self, image: Tensor, text: Tensor) -> Tensor:
        given = dict(temperature=self.temperature(), label_smoothing=self.smoothing)
        return symmetric_info_nce(image, text, directions="sum", **given)
