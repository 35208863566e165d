"""What Inf-CL promises: CLIP's loss and its exact gradient, in memory that grows with the batch and not its square."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from common.distributed import Exchange, rank, world_size
from common.losses import symmetric_info_nce
from common.memory import peak_bytes
from common.processes import on_processes
from common.tiled.tiles import tiling

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def dense(image: Tensor, text: Tensor, temperature: Tensor) -> Tensor:
    """CLIP's loss as its figure 3 writes it, the whole matrix built and kept."""
    logits = image @ text.T / temperature
    own = torch.arange(len(image))
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def tiled(image: Tensor, text: Tensor, temperature: Tensor) -> Tensor:
    return symmetric_info_nce(image, text, temperature=temperature)


def pairs(n: int, width: int, seed: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Unit vectors of pairs that resemble each other."""
    generator = torch.Generator().manual_seed(seed)
    image, noise = torch.randn(2, n, width, generator=generator, dtype=dtype)
    return F.normalize(image, dim=1), F.normalize(image + noise, dim=1)


def differentiated(loss: Loss, image: Tensor, text: Tensor, temperature: float) -> list[Tensor]:
    """The value, and the gradients of pictures, texts and temperature."""
    leaves = [x.clone().requires_grad_() for x in (image, text, torch.tensor(temperature, dtype=image.dtype))]
    value = loss(*leaves)
    return [value.detach(), *torch.autograd.grad(value, leaves)]


def farthest(found: list[Tensor], expected: list[Tensor]) -> float:
    """The largest deviation of any entry, relative to the largest entry of its tensor."""
    return max(float((a.double() - b).abs().max() / b.abs().max()) for a, b in zip(found, expected, strict=True))


def exact(seed: int) -> dict[str, float]:
    """Tiles against the whole matrix in float64, for tiles that divide the batch and tiles that do not."""
    image, text = pairs(600, 32, seed)
    expected = differentiated(dense, image, text, 0.07)
    deviations = {}
    for rows, columns in ((100, 200), (64, 256), (599, 7)):
        with tiling(rows, columns):
            deviations[f"tiles {rows} x {columns}"] = farthest(differentiated(tiled, image, text, 0.07), expected)
    return deviations


def largest_logit(seed: int) -> float:
    """float32 at the temperature of 0.01 that CLIP ends at, logits of 100 among them, against float64."""
    image, text = pairs(600, 32, seed)
    text[::3] = image[::3]
    expected = differentiated(dense, image, text, 0.01)
    return farthest(differentiated(tiled, image.float(), text.float(), 0.01), expected)


def memory(seed: int) -> dict[str, float]:
    """How far the peak's growth is from a straight line with tiles, and from a square with the whole matrix.

    Of a forward and a backward pass; the exponent of the batch comes from the two increments, which are free of what
    does not grow. 0 is an exponent of 1 with tiles, of 2 with the matrix. With tiles of the engine's own choice a line
    begins where the matrix exceeds the 64 MiB that may be kept of it, at 4,096 pairs.
    """

    def exponent(loss: Loss, *sizes: int, width: int = 64) -> float:
        small, middle, large = (
            peak_bytes(lambda n=n: differentiated(loss, *pairs(n, width, seed, torch.float32), 0.07)) for n in sizes
        )
        return math.log2((large - middle) / (middle - small))

    with tiling(256, 1024):
        fixed = exponent(tiled, 1024, 2048, 4096)
    chosen = exponent(tiled, 6144, 12_288, 24_576, width=16)
    matrix = exponent(dense, 1024, 2048, 4096)
    return {"tiles of 256 x 1,024": fixed - 1, "tiles as chosen": chosen - 1, "whole matrix": matrix - 2}


def ring(seed: int) -> dict[str, float]:
    """Two and three processes with uneven shards against one, in float64: value and all gradients."""
    image, text = pairs(600, 32, seed)
    expected = differentiated(dense, image, text, 0.07)

    def share() -> list[Tensor]:
        bounds = [int(600 * (part / world_size()) ** 1.5) for part in range(world_size() + 1)]
        rows = slice(bounds[rank()], bounds[rank() + 1])

        def around(*leaves: Tensor) -> Tensor:
            image, text, temperature = leaves
            return symmetric_info_nce(image, text, temperature=temperature, exchange=Exchange.RING)

        value, *gradients = differentiated(around, image[rows], text[rows], 0.07)
        # The objective is the sum over processes; DDP divides its gradient by their number.
        return [value, *(gradient / world_size() for gradient in gradients)]

    deviations = {}
    for world in (2, 3):
        parts = on_processes(world, share)
        values, images, texts, temperatures = zip(*parts, strict=True)
        deviations[f"{world} processes, value"] = max(farthest([value], expected[:1]) for value in values)
        found = [torch.cat(images), torch.cat(texts), torch.stack(temperatures).sum()]
        deviations[f"{world} processes, gradients"] = farthest(found, expected[1:])
    return deviations
