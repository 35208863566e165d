"""What bends a generated world: orthogonal layers with leaky steps between them, which lose nothing."""

import torch
from torch import Tensor
from torch.nn import functional as F

from common.random import normal


def orthogonal_layers(dimension: int, count: int, stream: int) -> list[Tensor]:
    """Orthogonal matrices, (dimension, dimension) each, float32; the same for equal streams."""
    mixed = [normal(torch.arange(dimension), dimension, stream, layer) for layer in range(count)]
    return [torch.linalg.qr(matrix.double()).Q.float() for matrix in mixed]


def bent(latents: Tensor, layers: list[Tensor]) -> Tensor:
    """g(latents), of the same shape: the layers with a leaky step after each but the last."""
    for number, layer in enumerate(layers):
        latents = latents @ layer.to(latents.device)
        if number < len(layers) - 1:
            latents = F.leaky_relu(latents, 0.2)
    return latents
