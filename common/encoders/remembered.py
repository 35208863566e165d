"""What a frozen encoder makes of pictures that come again each epoch: computed once."""

import torch
from torch import Tensor, nn


class Remembered(nn.Module):
    """An encoder that is never trained, in eval mode; what it makes of a sample is kept and not computed again.

    Only for pictures that look the same each time: what is kept is of the first look. It waits in main memory and goes
    into no checkpoint.

    Args:
        encoder: maps n samples to a tensor with a row for each.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder.requires_grad_(False)
        self._rows: dict[int, Tensor] = {}
        self.train()

    def train(self, mode: bool = True) -> "Remembered":
        """It stays in eval mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, samples: Tensor, ids: Tensor | None = None) -> Tensor:
        """What the encoder makes of n samples.

        Args:
            samples: n of them.
            ids: the global id of each, (n,); none for samples that are not to be kept, as in scoring.
        """
        if ids is None:
            return self.encoder(samples)
        numbers = ids.tolist()
        new = [i for i, number in enumerate(numbers) if number not in self._rows]
        if new:
            rows = self.encoder(samples[new]).to("cpu", copy=True)
            self._rows |= {numbers[i]: row for i, row in zip(new, rows, strict=True)}
        return torch.stack([self._rows[number] for number in numbers]).to(samples.device)
