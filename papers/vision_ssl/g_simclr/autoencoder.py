"""The denoising autoencoder whose codes are clustered into pseudo labels."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_AT_ONCE = 500


class DenoisingAutoencoder(nn.Module):
    """Three convolutions with pooling down to an eighth of the side, and back up.

    Args:
        channels: of the pictures.
        width: channels of the first convolution; the others have two and four times as many.
        noise: standard deviation of what is added to the input while training.
    """

    def __init__(self, channels: int = 1, width: int = 32, noise: float = 0.01) -> None:
        super().__init__()
        self.noise = noise
        down, up = (channels, width, 2 * width, 4 * width), (4 * width, 4 * width, 2 * width, width)
        self.encoder = nn.Sequential(*(nn.Sequential(*_layers(*pair), nn.MaxPool2d(2)) for pair in pairwise(down)))
        self.decoder = nn.ModuleList(nn.Sequential(*_layers(*pair)) for pair in pairwise(up))
        self.last = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, pixels: Tensor) -> Tensor:
        """The pictures as they are painted again, in [0, 1]; pixels (n, channels, h, w) in [0, 1]."""
        x, sides = pixels, []
        if self.training:
            x = x + self.noise * torch.randn_like(x)
        for block in self.encoder:
            sides.append(x.shape[-2:])
            x = block(x)
        for block, side in zip(self.decoder, reversed(sides), strict=True):
            x = block(F.interpolate(x, size=side))
        return self.last(x).sigmoid()

    def codes(self, pixels: Tensor) -> Tensor:
        """Means over the innermost map, (n, 4 * width)."""
        return self.encoder(pixels).mean(dim=(2, 3))


def _layers(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()


def trained(pixels: Tensor, *, width: int, steps: int, seed: int, batch_size: int = 64) -> DenoisingAutoencoder:
    """An autoencoder of these pictures by their squared error, trained with Adam at 0.001.

    Args:
        pixels: uint8, (n, channels, h, w); it is trained on their device.
        width: of the autoencoder.
        steps: of training, each with `batch_size` pictures drawn at random.
        seed: fixes weights, draws and noise; the global random state stays as it was.
    """
    devices = [pixels.device] if pixels.is_cuda else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        autoencoder = DenoisingAutoencoder(pixels.shape[1], width).to(pixels.device).train()
        optimizer = torch.optim.Adam(autoencoder.parameters(), lr=1e-3)
        for _ in range(steps):
            clean = pixels[torch.randint(len(pixels), (batch_size,), device=pixels.device)].float() / 255
            loss = F.mse_loss(autoencoder(clean), clean)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return autoencoder.eval()


@torch.no_grad()
def learnt_codes(pixels: Tensor, **how) -> Tensor:
    """The codes of these pictures, float32 (n, 4 * width), by an autoencoder of them; arguments as in `trained`."""
    with torch.enable_grad():
        autoencoder = trained(pixels, **how)
    return torch.cat([autoencoder.codes(part.float() / 255) for part in pixels.split(_AT_ONCE)])
