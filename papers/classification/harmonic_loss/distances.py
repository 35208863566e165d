"""Harmonic logits: distances to the centres of the classes, on a logarithmic scale."""

import torch
from torch import Tensor, nn

from common.losses.precision import at_least_float32
from common.tiled.tiles import full_precision


def squared_distances(x: Tensor, centres: Tensor) -> Tensor:
    """Squared Euclidean distances, at least 0 and in float32 at least, of rows (n, d) to centres (c, d): (n, c)."""
    x, centres = at_least_float32(x), at_least_float32(centres)
    # Near a centre they are a small difference of large numbers, of which bf16 keeps no digit.
    with full_precision(x.device):
        inner = x @ centres.T
    return (x.square().sum(dim=1, keepdim=True) + centres.square().sum(dim=1) - 2 * inner).clamp(min=0)


def harmonic_logits(x: Tensor, centres: Tensor, *, exponent: float, eps: float = 1e-4) -> Tensor:
    """Logits whose softmax is HarMax over squared distances: -n log(d^2 + eps).

    p_i = (d_i^2 + eps)^-n / sum_j (d_j^2 + eps)^-n, so the cross-entropy of these logits is the harmonic loss. In
    logarithms no power overflows, whatever the exponent.

    Args:
        x: (rows, d).
        centres: one for each class, (classes, d).
        exponent: n, above 0, of the squared distance, as in the released layer; that of the distance is 2 n.
        eps: keeps the gradient of the logarithm finite where x is a centre. At 0 the probabilities do not change if x
            and centres are multiplied by a number.

    Returns:
        Shape (rows, classes).

    Source: Baek et al. 2025, section 2, and the released `DistLayer`.
    """
    return -exponent * (squared_distances(x, centres) + eps).log()


class HarmonicHead(nn.Linear):
    """A last layer without bias whose weights are the centres of the classes, see `harmonic_logits`.

    Args:
        inputs: width of the representation.
        classes: how many there are.
        exponent, eps: as in `harmonic_logits`.
    """

    def __init__(self, inputs: int, classes: int, *, exponent: float, eps: float = 1e-4) -> None:
        super().__init__(inputs, classes, bias=False)
        self.exponent, self.eps = exponent, eps

    def forward(self, x: Tensor) -> Tensor:
        """Maps rows, (n, inputs), to logits, (n, classes)."""
        return harmonic_logits(x, self.weight, exponent=self.exponent, eps=self.eps)


def column_size(table: Tensor) -> Tensor:
    """The mean over columns of the root mean square of each, 0-d: small where few dimensions are used."""
    return torch.linalg.vector_norm(table, dim=0).mean() / len(table) ** 0.5
