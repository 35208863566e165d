"""Checkpoints of one training as one set of weights."""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from common.checks import check_number
from common.errors import UserError
from common.training.soup import averaged
from papers.sentence.codiemb.module import CoDiEmb

EPS = 1e-12


def delta_guided(states: Sequence[Mapping[str, Tensor]], start: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each tensor as the mean of those of the checkpoints, weighted by how far they went from where they began.

    theta = sum_k w_k theta_k, w_k = |theta_k - theta_0| / sum_j |theta_j - theta_0|, the norms being of one tensor;
    equal weights where nothing moved. The paper's formula is not public: this reading of its abstract is ours.

    Raises:
        UserError: there is no checkpoint, or one holds other tensors.
    """
    if not states:
        raise UserError("a fusion needs at least one checkpoint")
    known = averaged([start, *states])  # refuses other tensors; what holds no fractions is that of the start

    def fused(name: str) -> Tensor:
        if not start[name].is_floating_point():
            return known[name]
        many, first = torch.stack([state[name].double() for state in states]), start[name].double()
        far = (many - first).reshape(len(many), -1).norm(dim=1)
        weights = (far + EPS / len(far)) / (far.sum() + EPS)
        return torch.tensordot(weights, many, dims=1).to(start[name])

    return {name: fused(name) for name in known}


class FusedCoDiEmb(CoDiEmb):
    """Keeps the weights at so many equally distant steps, the last among them, and in the end makes one of them.

    Args:
        checkpoints: how many.
        kept: "delta_guided", or their "mean".
        others: the arguments of `CoDiEmb`.
    """

    def __init__(
        self, *, checkpoints: int = 4, kept: Literal["delta_guided", "mean"] = "delta_guided", **others
    ) -> None:
        super().__init__(**others)
        check_number("model.checkpoints", checkpoints, least=1)
        if kept not in ("delta_guided", "mean"):
            raise UserError(f"model.kept is {kept!r}; it must be 'delta_guided' or 'mean'")
        self.checkpoints, self.kept = checkpoints, kept
        start = parameters_to_vector(self.encoder.parameters()).detach()
        # Where it began, and each checkpoint; a checkpoint on disk holds them.
        self.register_buffer("saved", start.repeat(1 + checkpoints, 1))

    def kept_at(self) -> list[int]:
        """The step behind which each checkpoint is taken."""
        total = int(self.trainer.estimated_stepping_batches)
        return [total * number // self.checkpoints for number in range(1, self.checkpoints + 1)]

    def follow(self) -> None:
        for number, step in enumerate(self.kept_at(), 1):
            if step == self.global_step + 1:
                self.saved[number] = parameters_to_vector(self.encoder.parameters()).detach()

    def on_train_end(self) -> None:
        super().on_train_end()
        start, *states = map(self.named, self.saved)
        # A training may end early.
        states = [state for state, step in zip(states, self.kept_at(), strict=True) if 0 < step <= self.global_step]
        if states:
            delta = self.kept == "delta_guided"
            self.encoder.load_state_dict(delta_guided(states, start) if delta else averaged(states), strict=False)

    def named(self, weights: Tensor) -> dict[str, Tensor]:
        """The tensors of an encoder that stand one after the other in `weights`."""
        tensors = dict(self.encoder.named_parameters())
        parts = weights.split([tensor.numel() for tensor in tensors.values()])
        return {name: part.view_as(tensor) for (name, tensor), part in zip(tensors.items(), parts, strict=True)}
