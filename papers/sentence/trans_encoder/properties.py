"""What must hold exactly for the cross-encoder's loss of one pair."""

import torch

from papers.sentence.trans_encoder.module import soft_cross_entropy


def slopes(logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The derivative of the loss in the logit, float64, shape (n,)."""
    logits = logits.clone().requires_grad_()
    (slope,) = torch.autograd.grad(soft_cross_entropy(logits, y).sum(), logits)
    return slope


def least_at_the_label(seed: int) -> float:
    """For labels in (0, 1): the largest slope where the sigmoid of the logit is the label, and how far the slopes a
    little to either side fail to point back to it."""
    draw = torch.Generator().manual_seed(seed)
    y = 0.01 + 0.98 * torch.rand(1000, generator=draw, dtype=torch.float64)
    least = y.logit()
    wrong = [slopes(least - 0.1, y).clamp(min=0), (-slopes(least + 0.1, y)).clamp(min=0)]
    return float(torch.stack([slopes(least, y).abs(), *wrong]).max())


def no_least_below_zero(seed: int) -> float:
    """For labels below 0, as cosines may be: how far the slope falls short of -y at any logit, down to -50.

    Raises:
        ArithmeticError: the loss is not below 0 at the least logit either, so that it may have a least value.
    """
    draw = torch.Generator().manual_seed(seed)
    y = -torch.rand(1000, generator=draw, dtype=torch.float64) - 1e-3
    logits = torch.linspace(-50, 50, 201, dtype=torch.float64)[:, None].expand(-1, len(y)).flatten()
    labels = y.repeat(201)
    if bool((soft_cross_entropy(logits[: len(y)], y) >= 0).any()):
        raise ArithmeticError("the loss is bounded by 0")
    return float((-labels - slopes(logits, labels)).clamp(min=0).max())
