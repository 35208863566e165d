"""What follows from the loss by itself, checked on random logits in float64."""

import torch
from torch import Tensor

from papers.classification.cross_entropy.module import CrossEntropy
from papers.classification.squentropy.module import Squentropy

ROWS = 32


def drawn(seed: int, classes: int = 7) -> tuple[Tensor, Tensor]:
    """Logits (32, classes), a leaf, and labels."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(ROWS, classes, generator=generator, dtype=torch.float64)
    return logits.requires_grad_(), torch.randint(classes, (ROWS,), generator=generator)


def squentropy(logits: Tensor, labels: Tensor) -> Tensor:
    """One loss for each row."""
    return Squentropy(classes=logits.shape[1], encoder="vector_tower", width=1).losses(logits, labels)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """One loss for each row."""
    return CrossEntropy(classes=logits.shape[1], encoder="vector_tower", width=1).losses(logits, labels)


def gradient(seed: int) -> float:
    """The largest difference between the gradient by autograd and p_y - 1, and p_j + 2 f_j / (C - 1) for j != y."""
    logits, labels = drawn(seed)
    (found,) = torch.autograd.grad(squentropy(logits, labels).sum(), logits)
    rows, expected = torch.arange(ROWS), logits.softmax(dim=1) + 2 * logits / (logits.shape[1] - 1)
    expected[rows, labels] = logits.softmax(dim=1)[rows, labels] - 1
    return float((found - expected).detach().abs().max())


def level(seed: int) -> dict[str, float]:
    """How far off the change is when c is added to all logits: 2 c mean of the wrong ones + c^2, and 0 for
    cross-entropy."""
    logits, labels = drawn(seed)
    rows, c = torch.arange(ROWS), 1.7
    mean_of_wrong = (logits.sum(dim=1) - logits[rows, labels]) / (logits.shape[1] - 1)
    moved = [loss(logits + c, labels) - loss(logits, labels) for loss in (squentropy, cross_entropy)]
    return {
        "squentropy": float((moved[0] - (2 * c * mean_of_wrong + c**2)).detach().abs().max()),
        "cross_entropy": float(moved[1].detach().abs().max()),
    }


def optimum(seed: int) -> dict[str, float]:
    """What the minimizer of the expected loss does, given the chances eta of the classes of one input.

    Its logits f solve p_j = eta_j - 2 (1 - eta_j) f_j / (C - 1), so that sum_j (1 - eta_j) f_j = 0 and the largest is
    above 0, if they are not all alike: the probability of the most likely class is below its chance, which Newton's
    method finds to the last digit here. The loss is consistent and not proper.

    Returns:
        `stationary`, the largest entry of the gradient that is left, and of what the equation leaves; `order`, on how
        many inputs the most likely class has not the largest logit; and `above`, by how much its probability exceeds
        its chance, 0 if it does not.
    """
    generator = torch.Generator().manual_seed(seed)
    classes = int(torch.randint(2, 12, (), generator=generator))
    raw = torch.rand(ROWS, classes, generator=generator, dtype=torch.float64)
    chances = (4 * raw).softmax(dim=1)
    weights = 2 * (1 - chances) / (classes - 1)
    logits = torch.zeros_like(chances)
    for _ in range(60):
        p = logits.softmax(dim=1)
        hessian = torch.diag_embed(p + weights) - p[:, :, None] * p[:, None, :]
        step = torch.linalg.solve(hessian, p - chances + weights * logits)
        logits = logits - step / step.abs().amax(dim=1, keepdim=True).clamp(min=1)  # damped, since p saturates
    leaf = logits.clone().requires_grad_()
    expected = sum((chances[:, y] * squentropy(leaf, torch.full((ROWS,), y))).sum() for y in range(classes))
    (left,) = torch.autograd.grad(expected, leaf)
    p, top = logits.softmax(dim=1), chances.argmax(dim=1, keepdim=True)
    equation = p - (chances - weights * logits)
    return {
        "stationary": float(torch.maximum(left.abs(), equation.abs()).max()),
        "order": float((logits.argmax(dim=1, keepdim=True) != top).sum()),
        "above": max(0.0, float((p.gather(1, top) - chances.gather(1, top)).max())),
    }
