"""Heads: what stands between an encoder and its loss."""

from collections.abc import Callable
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F


class ProjectionHead(nn.Sequential):
    """Linear - ReLU - Linear, as in SimCLR and SupCon: no batch normalization, hidden width equal to the input's."""

    def __init__(self, input_dim: int, output_dim: int) -> None:
        super().__init__(nn.Linear(input_dim, input_dim), nn.ReLU(), nn.Linear(input_dim, output_dim))


def normalized_mlp(*widths: int) -> nn.Sequential:
    """Linear - BatchNorm - ReLU, as often as there are widths between the first and the last, and Linear.

    Without biases: normalization takes away those before it, and the last is not there either in the released code of
    BYOL and Barlow Twins.
    """
    *hidden, last = pairwise(widths)
    layers = [(nn.Linear(*pair, bias=False), nn.BatchNorm1d(pair[1]), nn.ReLU()) for pair in hidden]
    return nn.Sequential(*(part for layer in layers for part in layer), nn.Linear(*last, bias=False))


class Projected(nn.Module):
    """An encoder under a projection head that is for training only.

    `forward` gives the loss what it compares: projections of unit length. The representation is `encoder`'s output;
    whoever evaluates calls `encoder` and never meets the head.

    Args:
        encoder: with an `output_dim`.
        projection_dim: width of the projections.
        head: makes the head from the two widths, such as `ProjectionHead` or `torch.nn.Linear`.
    """

    def __init__(
        self, encoder: nn.Module, projection_dim: int, head: Callable[[int, int], nn.Module] = ProjectionHead
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head(encoder.output_dim, projection_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Maps inputs of the encoder to unit vectors of shape (n, projection_dim)."""
        return F.normalize(self.head(self.encoder(x)), dim=-1)
