"""Inf-CL (Cheng et al. 2025): CLIP's loss without its score matrix, on one process and around a ring of them."""

from typing import Literal

from torch import Tensor

from common.distributed import Exchange
from common.losses import symmetric_info_nce
from papers.vision_language.clip.module import CLIP


class InfCL(CLIP):
    """CLIP on a batch of any size: tiles on a process, shards of texts from process to process (section 3).

    The score matrix is reduced tile by tile and computed again in the backward pass, as in every loss here; what this
    adds to `CLIP` is the ring. With `chunk_size` the towers need no more memory than a chunk either.

    Args:
        exchange: which texts a picture meets on several processes: all of them, one shard at a time ("ring") or held at
            once ("gather"), or those of its own process ("local").
        clip: the arguments of `CLIP`.
    """

    def __init__(self, *, exchange: Literal["ring", "gather", "local"] = "ring", **clip) -> None:
        super().__init__(**clip)
        self.exchange = Exchange(exchange)

    def contrast(self, image: Tensor, text: Tensor) -> Tensor:
        return symmetric_info_nce(image, text, temperature=self.temperature(), exchange=self.exchange)
