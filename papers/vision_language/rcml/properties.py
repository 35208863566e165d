"""What the mixture of logits does and does not do, on random items in float64; they have no padding."""

import math

import torch
from torch import Tensor

from papers.vision_language.rcml.conditioning import Attention

ITEMS, TOKENS, RELATIONS, WIDTH = 4, 12, 3, 8


def given(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Token states (4, 12, 8), of which all are there, (4, 12), and states of relations, (3, 8)."""
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(ITEMS, TOKENS, WIDTH, generator=generator, dtype=torch.float64)
    about = 2 * torch.randn(RELATIONS, WIDTH, generator=generator, dtype=torch.float64)
    return states, torch.ones(ITEMS, TOKENS, dtype=torch.bool), about


def attention(seed: int, beta: float) -> Attention:
    torch.manual_seed(seed)
    return Attention(width=WIDTH, beta=beta).double()


@torch.no_grad()
def scaled(seed: int) -> float:
    """How far vectors under relations lie from those without beta whose query is scaled by 1 - beta.

    Raises:
        ArithmeticError: without that scale they are the same too, so the check means nothing.
    """
    mixed, plain = attention(seed, 0.6), attention(seed, 0.0)
    found = mixed.pool(*given(seed))[1:]
    if float((plain.pool(*given(seed))[1:] - found).abs().max()) < 1e-3:
        raise ArithmeticError("beta changes nothing")
    plain.query.weight *= 0.4
    return float((plain.pool(*given(seed))[1:] - found).abs().max())


@torch.no_grad()
def selects(seed: int) -> float:
    """With beta at 1, how much of an item's weight lies on other tokens than that of the whole."""
    return float(1 - attention(seed, 1.0).weights(*given(seed))[0, :, 0].min())


@torch.no_grad()
def share(seed: int) -> float:
    """With beta at 1, how far the weight of the whole is from e / (e + n - 1), n the number of tokens."""
    weights = attention(seed, 1.0).weights(*given(seed))[0, :, 0]
    return float((weights - math.e / (math.e + TOKENS - 1)).abs().max())
