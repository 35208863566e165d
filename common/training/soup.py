"""Weights of several trainings that began at one place, averaged: a model soup."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from common.errors import UserError


def averaged(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The equal-weight mean of state dictionaries (Wortsman et al. 2022), summed in float64.

    What holds no fractions, such as a counter, is that of the first.

    Raises:
        UserError: there is none, or they do not hold the same tensors.
    """
    if not states:
        raise UserError("a soup needs at least one training")
    first, *others = states
    for other in others:
        if {name: x.shape for name, x in other.items()} != {name: x.shape for name, x in first.items()}:
            raise UserError("the trainings of a soup have other tensors, or tensors of other shapes")

    def mean(name: str, x: Tensor) -> Tensor:
        if not x.is_floating_point():
            return x.clone()
        return torch.stack([state[name].double() for state in states]).mean(dim=0).to(x)

    return {name: mean(name, x) for name, x in first.items()}
