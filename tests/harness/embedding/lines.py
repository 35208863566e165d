"""A benchmark of a few texts and pictures, for `papers embed`."""

from typing import NamedTuple

import torch
from torch import Tensor

from common.benchmark import Benchmark


class Row(NamedTuple):
    text: list[str]
    pixels: Tensor
    ids: Tensor


class Lines(Benchmark):
    """Texts that count, and pictures of noise.

    Args:
        size: of the test split.
    """

    name = "lines"

    def __init__(self, batch_size: int = 8, seed: int = 0, data_root: str | None = None, size: int = 21) -> None:
        super().__init__(batch_size, seed, data_root)
        self.size = size

    def build(self) -> None:
        generator = torch.Generator().manual_seed(0)
        pixels = torch.randint(0, 256, (self.size, 3, 24, 24), generator=generator, dtype=torch.uint8)
        texts = [" ".join(["word"] * (i % 5) + [str(i)]) for i in range(self.size)]
        self.splits = {"test": Row(texts, pixels, 100 + torch.arange(self.size))}

    def fingerprint(self) -> str:
        return f"lines-{self.size}"
