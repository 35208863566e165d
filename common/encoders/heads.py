"""Heads: what stands between an encoder and its loss."""

from torch import Tensor, nn
from torch.nn import functional as F


class ProjectionHead(nn.Sequential):
    """Linear - ReLU - Linear, as in SimCLR and SupCon: no batch normalization, hidden width equal to the input's."""

    def __init__(self, input_dim: int, output_dim: int) -> None:
        super().__init__(nn.Linear(input_dim, input_dim), nn.ReLU(), nn.Linear(input_dim, output_dim))


class Projected(nn.Module):
    """An encoder under a projection head that is for training only.

    `forward` gives the loss what it compares: projections of unit length. The representation is `encoder`'s output;
    whoever evaluates calls `encoder` and never meets the head.
    """

    def __init__(self, encoder: nn.Module, projection_dim: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = ProjectionHead(encoder.output_dim, projection_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Maps inputs of the encoder to unit vectors of shape (n, projection_dim)."""
        return F.normalize(self.head(self.encoder(x)), dim=-1)
