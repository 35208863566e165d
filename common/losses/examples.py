"""Inputs on which the losses are tested: unit vectors in float64, drawn from a seed."""

import torch
import torch.nn.functional as F
from torch import Tensor

from common.losses.registry import Example

WIDTH = 5


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def unit(draw: torch.Generator, *shape: int) -> Tensor:
    """Unit vectors of shape (*shape, WIDTH), float64."""
    return F.normalize(torch.randn(*shape, WIDTH, generator=draw, dtype=torch.float64), dim=-1)


def number(value: float) -> Tensor:
    """A learnable number."""
    return torch.tensor(value, dtype=torch.float64, requires_grad=True)


def query_key(n: int, seed: int) -> Example:
    """Pairs, and a learnable temperature."""
    draw = generator(seed)
    return Example({"query": unit(draw, n), "key": unit(draw, n)}, shared={"temperature": number(0.2)})


def two_views(n: int, seed: int) -> Example:
    draw = generator(seed)
    return Example({"view_a": unit(draw, n), "view_b": unit(draw, n)}, shared={"temperature": number(0.3)})


def labelled(n: int, seed: int) -> Example:
    """Embeddings of a few classes; one class has a single member, an anchor without a positive."""
    draw = generator(seed)
    labels = torch.randint(3, (n,), generator=draw)
    labels[0] = 7
    return Example({"embeddings": unit(draw, n)}, {"labels": labels}, {"temperature": number(0.3)})
