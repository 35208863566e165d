"""Two discrete variables whose joint distribution is known, and what one tells of the other."""

from collections.abc import Callable
from typing import Self

import numpy as np
import torch
from torch import Tensor

from common.checks import check_ids
from common.errors import UserError

Generator = Callable[[Tensor], Tensor]
"""The convex function f of an f-divergence, elementwise, with f(1) = 0."""


def kullback_leibler(ratio: Tensor) -> Tensor:
    """f(r) = r log r, in nats."""
    return torch.xlogy(ratio, ratio)


def chi_square(ratio: Tensor) -> Tensor:
    """f(r) = (r - 1)^2, of Pearson's divergence."""
    return (ratio - 1).square()


def divergence(p: Tensor, q: Tensor, f: Generator = kullback_leibler) -> Tensor:
    """D_f(p || q) = sum_i q_i f(p_i / q_i) along the last dimension.

    Args:
        p, q: probabilities of shapes that broadcast, (..., n). Where q is 0, p is too.
        f: the divergence's generator.

    Raises:
        UserError: p puts mass where q has none, where not every f is finite.
    """
    p, q = torch.broadcast_tensors(p.double(), q.double())
    if bool(((q == 0) & (p > 0)).any()):
        raise UserError("divergence: p is above 0 where q is 0; a divergence needs every value of p to be one of q")
    there = q > 0
    return torch.where(there, q * f(p / q.where(there, 1.0)), 0.0).sum(dim=-1)


def bregman(p: Tensor, q: Tensor, f: Generator = kullback_leibler) -> Tensor:
    """f(p) - f(q) - f'(q) (p - q), elementwise: how far p is from q by the convex f, 0 where they are equal.

    Args:
        p, q: of shapes that broadcast, at least 0; where q is 0 and f has no slope there, p is 0 too.
        f: differentiable above 0.
    """
    p, q = torch.broadcast_tensors(p.double(), q.double())
    with torch.enable_grad():
        at = q.detach().clone().requires_grad_()
        (slope,) = torch.autograd.grad(f(at).sum(), at)
    return torch.where(p == q, 0.0, f(p) - f(q) - slope * (p - q))


class Joint:
    """A joint distribution p(a, b) of a with n values and b with m.

    Args:
        p: probabilities, (n, m), in float64.

    Raises:
        UserError: another shape, a negative entry, or a sum that is not 1 within 1e-9.
    """

    def __init__(self, p: Tensor) -> None:
        if p.ndim != 2 or not p.numel():
            raise UserError(f"p {tuple(p.shape)}: expected probabilities of pairs, (n, m)")
        p = p.double()
        if not bool((p >= 0).all()) or abs(float(p.detach().sum()) - 1) > 1e-9:
            raise UserError(
                f"p has the sum {float(p.sum())} and a least entry of {float(p.min())}; probabilities are at least 0 "
                "and their sum is 1"
            )
        self.p = p

    @classmethod
    def drawn(cls, seed: int, n: int, m: int, *, concentration: float = 1.0) -> Self:
        """A draw from the symmetric Dirichlet distribution; the lower the concentration, the more a tells of b."""
        if not concentration > 0:
            raise UserError(f"concentration is {concentration}; it must be above 0")
        p = np.random.default_rng(seed).dirichlet(np.full(n * m, concentration))
        return cls(torch.from_numpy(p).view(n, m))

    @classmethod
    def of_classes(cls, shares: Tensor, a: Tensor, b: Tensor | None = None) -> Self:
        """Pairs of one latent class: p(a, b) = sum_c shares_c a_c(a) b_c(b), independent within the class.

        Args:
            shares: of each class, (k,).
            a: distribution of a in each class, (k, n).
            b: that of b, (k, m); by default the same.
        """
        b = a if b is None else b
        return cls((a.double() * shares.double()[:, None]).T @ b.double())

    @property
    def rows(self) -> Tensor:
        """p(a), (n,)."""
        return self.p.sum(dim=1)

    @property
    def columns(self) -> Tensor:
        """p(b), (m,)."""
        return self.p.sum(dim=0)

    @property
    def given_rows(self) -> Tensor:
        """p(b | a), (n, m); zeros for an a that does not occur."""
        rows = self.rows[:, None]
        return torch.where(rows > 0, self.p / rows.where(rows > 0, 1.0), 0.0)

    @property
    def log_ratio(self) -> Tensor:
        """log p(a, b) / (p(a) p(b)), (n, m): the scores that are best for InfoNCE; -inf for pairs that don't occur."""
        chance = self.rows[:, None] * self.columns
        return torch.where(self.p > 0, (self.p / chance.where(chance > 0, 1.0)).log(), -torch.inf)

    def information(self, f: Generator = kullback_leibler) -> float:
        """The mutual information I(a; b) in nats, or another f-divergence of p(a, b) from p(a) p(b)."""
        return float(divergence(self.p.flatten(), (self.rows[:, None] * self.columns).flatten(), f))

    def merged(self, code: Tensor) -> "Joint":
        """The joint distribution of code(a) and b.

        Args:
            code: what each a is merged into, numbers from 0, int64 (n,).
        """
        check_ids("code", code, len(self.p))
        merged = self.p.new_zeros(int(code.max()) + 1, self.p.shape[1])
        return Joint(merged.index_add(0, code, self.p))

    def sufficiency(self, code: Tensor, f: Generator = kullback_leibler) -> float:
        """What of b is lost if a is known by its code alone: E_a D_f(p(b | a) || p(b | code(a))), 0 at best.

        With the Kullback-Leibler divergence it is I(a; b) - I(code(a); b), in nats. With another it is not what the
        information loses, which is a mean of `bregman` of the ratios.

        Args:
            code: as in `merged`.

        Source: Lin and Mei 2025, the loss of (approximate) sufficiency.
        """
        coarse = self.merged(code).given_rows[code]
        return float((self.rows * divergence(self.given_rows, coarse, f)).sum())
