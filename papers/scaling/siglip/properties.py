"""What SigLIP's loss promises: the sum of algorithm 1 however it is cut up, and memory in proportion to the batch."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from common.distributed import Exchange, rank, world_size
from common.losses import sigmoid_pairwise
from common.memory import peak_bytes
from common.processes import on_processes
from common.tiled.tiles import tiling

Loss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def algorithm(image: Tensor, text: Tensor, log_scale: Tensor, bias: Tensor) -> Tensor:
    """Algorithm 1 as it is written: the matrix, a matrix of labels, the sum over both divided by the batch."""
    logits = log_scale.exp() * image @ text.T + bias
    labels = 2 * torch.eye(len(image), dtype=image.dtype) - 1
    return -F.logsigmoid(labels * logits).sum() / len(image)


def ours(image: Tensor, text: Tensor, log_scale: Tensor, bias: Tensor) -> Tensor:
    return sigmoid_pairwise(image, text, scale=log_scale.exp(), bias=bias, exchange=Exchange.RING)


def pairs(n: int, seed: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Unit vectors of pairs that resemble each other."""
    generator = torch.Generator().manual_seed(seed)
    image, noise = torch.randn(2, n, 32, generator=generator, dtype=dtype)
    return F.normalize(image, dim=1), F.normalize(image + noise, dim=1)


def differentiated(loss: Loss, image: Tensor, text: Tensor) -> list[Tensor]:
    """The value and the gradients of pictures, texts, t' and b, at the published start of log 10 and -10."""
    numbers = torch.tensor([math.log(10), -10.0], dtype=image.dtype)
    leaves = [x.clone().requires_grad_() for x in (image, text, *numbers)]
    value = loss(*leaves)
    return [value.detach(), *torch.autograd.grad(value, leaves)]


def farthest(found: list[Tensor], expected: list[Tensor]) -> float:
    """The largest deviation of any entry, relative to the largest entry of its tensor."""
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(found, expected, strict=True))


def chunks(seed: int) -> dict[str, float]:
    """Chunks on one process against the whole matrix of algorithm 1."""
    image, text = pairs(300, seed)
    expected = differentiated(algorithm, image, text)
    deviations = {"whole": farthest(differentiated(ours, image, text), expected)}
    for rows, columns in ((100, 100), (64, 37)):
        with tiling(rows, columns):
            deviations[f"chunks of {rows} x {columns}"] = farthest(differentiated(ours, image, text), expected)
    return deviations


def ring(seed: int) -> dict[str, float]:
    """Texts that travel around two and four processes against the whole matrix on one."""
    image, text = pairs(240, seed)
    expected = differentiated(algorithm, image, text)

    def share() -> list[Tensor]:
        rows = slice(240 * rank() // world_size(), 240 * (rank() + 1) // world_size())
        value, *gradients = differentiated(ours, image[rows], text[rows])
        # The objective is the sum over processes; DDP divides its gradient by their number.
        return [value, *(gradient / world_size() for gradient in gradients)]

    deviations = {}
    for world in (2, 4):
        values, images, texts, scales, biases = zip(*on_processes(world, share), strict=True)
        found = [values[0], torch.cat(images), torch.cat(texts), torch.stack(scales).sum(), torch.stack(biases).sum()]
        deviations[f"{world} processes"] = farthest(found, expected)
    return deviations


def memory(seed: int) -> dict[str, float]:
    """How far the growth of the peak is from a straight line with chunks, and from a square with the whole matrix.

    Of a forward and a backward pass; the exponent of the batch comes from the two increments, which are free of what
    does not grow. With chunks of the engine's own choice a line begins where the matrix exceeds the 64 MiB that may be
    kept of it, at 4,096 pairs.
    """

    def exponent(loss: Loss, *sizes: int) -> float:
        small, middle, large = (
            peak_bytes(lambda n=n: differentiated(loss, *pairs(n, seed, torch.float32))) for n in sizes
        )
        return math.log2((large - middle) / (middle - small))

    with tiling(256, 1024):
        fixed = exponent(ours, 1024, 2048, 4096)
    chosen = exponent(ours, 6144, 12_288, 24_576)
    matrix = exponent(algorithm, 1024, 2048, 4096)
    return {"chunks of 256 x 1,024": fixed - 1, "chunks as chosen": chosen - 1, "whole matrix": matrix - 2}
