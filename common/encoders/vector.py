"""Towers over vectors: counted words, features of other networks."""

from torch import Tensor, nn
from torch.nn import functional as F

from common.errors import UserError


class VectorTower(nn.Module):
    """One hidden layer: Linear - ReLU.

    Args:
        inputs: entries of a vector.
        width: of the hidden layer, which is the output.
    """

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.output_dim = width
        self.hidden = nn.Linear(inputs, width)

    def forward(self, x: Tensor) -> Tensor:
        """Maps vectors of shape (n, inputs) to (n, width).

        Raises:
            UserError: they have another shape, such as that of pictures.
        """
        if x.ndim != 2 or x.shape[1] != self.hidden.in_features:
            raise UserError(
                f"vectors {tuple(x.shape)}: expected (n, {self.hidden.in_features}), which model.channels says"
            )
        return F.relu(self.hidden(x))
