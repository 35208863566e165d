"""Gaussians with diagonal covariance: what the head of a variational encoder stands for."""

from typing import NamedTuple

import torch
from torch import Tensor


class Gaussian(NamedTuple):
    """`n` Gaussians of `d` independent dimensions."""

    mean: Tensor
    """Shape (n, d)."""
    log_variance: Tensor
    """Shape (n, d)."""

    @classmethod
    def standard(cls, like: "Gaussian") -> "Gaussian":
        """Mean 0 and variance 1, in the shape of another."""
        return cls(torch.zeros_like(like.mean), torch.zeros_like(like.log_variance))

    def sample(self, noise: Tensor) -> Tensor:
        """The draws that belong to `noise`, standard normal of shape (n, d); differentiable in mean and variance."""
        return self.mean + noise * (self.log_variance / 2).exp()

    def divergence(self, other: "Gaussian") -> Tensor:
        """KL(self || other) in nats, the mean over the dimensions and not their sum, shape (n,)."""
        log_ratio = self.log_variance - other.log_variance
        distance = (self.mean - other.mean).square() / other.log_variance.exp()
        return 0.5 * (log_ratio.exp() + distance - 1 - log_ratio).mean(dim=1)
