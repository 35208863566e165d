"""Skewed Kullback-Leibler divergences between the token distributions of a teacher and a student."""

import math

import torch
from torch import Tensor

from common.checks import check_floating, check_mask, check_number
from common.distributed import global_mean
from common.errors import UserError
from common.losses import examples
from common.losses.precision import at_least_float32
from common.losses.registry import Example, Needs, loss

_LENGTH = 4


def _sequences(n: int, seed: int) -> Example:
    draw = examples.generator(seed)
    student, teacher = torch.randn(2, n, _LENGTH, examples.WIDTH, generator=draw, dtype=torch.float64)
    mask = torch.rand(n, _LENGTH, generator=draw) < 0.7
    mask[0] = False
    return Example({"student": student}, {"teacher": teacher, "mask": mask}, {"alpha": 0.1})


def _unmasked(n: int, seed: int) -> Example:
    example = _sequences(n, seed)
    return Example(example.embeddings, {"teacher": example.samples["teacher"]}, {"alpha": 0.0})


@loss(_sequences, _unmasked, needs=Needs.NOTHING)
def skewed_kl(student: Tensor, teacher: Tensor, *, alpha: float = 0.1, mask: Tensor | None = None) -> Tensor:
    """Pulls the student up where the teacher has mass.

    KL(p || alpha p + (1 - alpha) q) at each token, p teacher, q student; mean over the tokens of a sequence, then over
    sequences. Bounded by -log alpha, unlike the forward KL, which alpha = 0 gives.

    Args:
        student, teacher: logits (n, t, v); nothing flows to the teacher.
        alpha: the teacher's share of the mixture, in [0, 1).
        mask: bool (n, t), True at the tokens that count; a sequence without any is left out of the mean.

    Returns:
        The mean over the sequences of all processes, in nats.

    Raises:
        UserError: alpha outside [0, 1), or shapes that do not fit.

    Relations: `skewed_reverse_kl` pushes the student down where the teacher has none.

    Source: Ko et al. 2025 (DistiLLM-2), SKL; there on the teacher's responses.
    """
    _check(student, teacher, mask)
    p, q = at_least_float32(teacher.detach()).log_softmax(dim=-1), at_least_float32(student).log_softmax(dim=-1)
    return _mean(p, _mixture(p, q, alpha, "skewed_kl"), mask)


def _stopped(n: int, seed: int) -> Example:
    example = _sequences(n, seed)
    return Example(example.embeddings, example.samples, {"alpha": 0.2, "stop_gradient": True}, gradcheck=False)


@loss(_sequences, _unmasked, _stopped, needs=Needs.NOTHING)
def skewed_reverse_kl(
    student: Tensor, teacher: Tensor, *, alpha: float = 0.1, mask: Tensor | None = None, stop_gradient: bool = False
) -> Tensor:
    """Pushes the student down where the teacher has no mass.

    KL(q || (1 - alpha) p + alpha q) at each token, p teacher, q student; mean over the tokens of a sequence, then over
    sequences. Here alpha is the student's share; alpha = 0 gives the reverse KL.

    Args:
        student, teacher: logits (n, t, v); nothing flows to the teacher.
        alpha: the student's share of the mixture, in [0, 1).
        mask: bool (n, t), True at the tokens that count; a sequence without any is left out of the mean.
        stop_gradient: nothing flows through the student's share of the mixture, as in the authors' code; the formula
            says nothing of it.

    Returns:
        The mean over the sequences of all processes, in nats.

    Raises:
        UserError: alpha outside [0, 1), or shapes that do not fit.

    Relations: `skewed_kl`, its counterpart; both together are the contrastive pair of DistiLLM-2.

    Source: Ko et al. 2025 (DistiLLM-2), SRKL; there on the student's responses.
    """
    _check(student, teacher, mask)
    p, q = at_least_float32(teacher.detach()).log_softmax(dim=-1), at_least_float32(student).log_softmax(dim=-1)
    return _mean(q, _mixture(q.detach() if stop_gradient else q, p, alpha, "skewed_reverse_kl"), mask)


def _check(student: Tensor, teacher: Tensor, mask: Tensor | None) -> None:
    if student.ndim != 3 or teacher.shape != student.shape:
        raise UserError(
            f"student {tuple(student.shape)} and teacher {tuple(teacher.shape)}: expected (n, t, v) of both"
        )
    check_floating(student=student, teacher=teacher)
    if mask is not None and mask.shape != student.shape[:2]:
        raise UserError(f"mask {tuple(mask.shape)}: expected {tuple(student.shape[:2])}, one value a token")
    if mask is not None:
        check_mask("mask", mask)


def _mixture(first: Tensor, second: Tensor, alpha: float, name: str) -> Tensor:
    """log(alpha exp(first) + (1 - alpha) exp(second))."""
    check_number("alpha", alpha)
    if not 0 <= alpha < 1:
        raise UserError(f"{name}: alpha {alpha}: expected a number in [0, 1)")
    # Log space: a token that neither model believes in still has a finite log-probability.
    return second if alpha == 0 else torch.logaddexp(first + math.log(alpha), second + math.log1p(-alpha))


def _mean(log_p: Tensor, log_mixture: Tensor, mask: Tensor | None) -> Tensor:
    divergence = (log_p.exp() * (log_p - log_mixture)).sum(dim=-1)
    if mask is None:
        return global_mean(divergence.mean(dim=1))
    count = mask.sum(dim=1)
    return global_mean(torch.where(mask, divergence, 0.0).sum(dim=1) / count.clamp(min=1), where=count > 0)
