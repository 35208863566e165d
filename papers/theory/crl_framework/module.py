"""The framework of Le-Khac et al. 2020: similarity, encoder, transform head and loss."""

from typing import Literal

from torch import Tensor

from papers.vision_ssl.simclr.module import SimCLR


class Framework(SimCLR):
    """SimCLR in the framework's terms, read before or behind its transform head.

    Similar are two views of a picture (the benchmark's augmentation), the encoder e gives v = e(x), trained end to end,
    the head h gives z = h(v), and the loss is of the NCE family. What is asked of the representation is asked of v or
    of z, of one and the same network: training does not know which.

    Args:
        read: where the representation is taken, from the "encoder", v, or from the "head", z before it is normalized.
        others: as in `SimCLR`.
    """

    def __init__(self, *, read: Literal["encoder", "head"] = "encoder", **others) -> None:
        super().__init__(**others)
        self.read = read

    def embed_image(self, pixels: Tensor) -> Tensor:
        v = super().embed_image(pixels)
        return v if self.read == "encoder" else self.network.get_submodule("head")(v)
