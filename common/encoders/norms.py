"""Batch normalization on several processes: what its statistics are taken over."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from common.distributed import gather, shards, sum_over_processes, world_size
from common.errors import UserError
from common.losses.precision import at_least_float32
from common.random import uniform


class ReplacedBatchNorm(nn.Module):
    """Has the weights, running statistics and settings of a layer of batch normalization, under the same names.

    Some of timm's layers go on with dropout and an activation, and so does this in their place.

    Raises:
        UserError: a layer of another kind, which may do anything.
    """

    def __init__(self, plain: _BatchNorm) -> None:
        super().__init__()
        activated = isinstance(getattr(plain, "act", None), nn.Module)
        if not activated and not type(plain).__module__.startswith("torch.nn."):
            raise UserError(f"{type(plain).__name__} cannot be made to normalize by the batch of all processes")
        self.drop, self.act = (plain.drop, plain.act) if activated else (None, None)
        self.eps, self.momentum = plain.eps, plain.momentum
        self.weight, self.bias = plain.weight, plain.bias
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, getattr(plain, name))

    def forward(self, x: Tensor) -> Tensor:
        """Normalizes (n, channels, ...); in eval mode by the running statistics."""
        if not self.training:
            return self._activated(self.plain(x))
        self.num_batches_tracked += 1
        return self._activated(self.normalized(x))

    def _activated(self, x: Tensor) -> Tensor:
        return x if self.act is None else self.act(self.drop(x))

    def plain(self, x: Tensor) -> Tensor:
        """As the layer that was taken over would."""
        running = self.running_mean, self.running_var
        return F.batch_norm(x, *running, self.weight, self.bias, self.training, self.momentum, self.eps)

    def normalized(self, x: Tensor) -> Tensor:
        """By statistics of the batch, which the running ones then follow."""
        raise NotImplementedError


class GlobalBatchNorm(ReplacedBatchNorm):
    """Batch normalization by the mean and variance of the whole batch, over all processes, on any device.

    So a batch gives the same numbers on one process and on several. `torch.nn.SyncBatchNorm` does the same on GPUs
    alone, and `trainer.sync_batchnorm` cannot turn a teacher's layers into it, whose weights are buffers; both leave
    this class as it is.

    Args:
        plain: the layer whose place it takes.
    """

    def normalized(self, x: Tensor) -> Tensor:
        if world_size() == 1:
            return self.plain(x)
        wide, over = at_least_float32(x), [0, *range(2, x.ndim)]
        by_channel = [1, -1] + [1] * (x.ndim - 2)
        count = sum_over_processes(wide.new_tensor(x.numel() / x.shape[1]))
        mean = sum_over_processes(wide.sum(over)) / count
        centred = wide - mean.view(by_channel)
        variance = sum_over_processes(centred.square().sum(over)) / count
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        y = centred * (variance + self.eps).rsqrt().view(by_channel)
        if self.weight is not None:
            y = y * self.weight.view(by_channel) + self.bias.view(by_channel)
        return y.to(x.dtype)


class SplitBatchNorm(ReplacedBatchNorm):
    """Batch normalization by statistics of parts of the batch, as that many devices would do each for itself.

    The parts are consecutive rows of the batch of all processes, so that any number of processes that divides their
    number gives the same. Running statistics are those of the mean over the parts.

    Args:
        plain: the layer whose place it takes.
        parts: of the whole batch.

    Raises:
        UserError: in training, a batch that the parts do not divide.

    Source: the CIFAR-10 demonstration of MoCo (He et al. 2020).
    """

    def __init__(self, plain: _BatchNorm, parts: int) -> None:
        super().__init__(plain)
        self.parts = parts

    def normalized(self, x: Tensor) -> Tensor:
        here = self.parts // world_size()
        if self.parts % world_size() or len(x) % here or len(x) < 2 * here:
            raise UserError(
                f"model.norm_parts is {self.parts}; it must be a multiple of the {world_size()} processes and cut "
                f"the {len(x)} pictures of each into equal parts of two and more"
            )
        # Each part's channels become channels of their own: (n, c, ...) -> (n / parts, parts * c, ...).
        apart = x.reshape(here, -1, *x.shape[1:]).transpose(0, 1).flatten(1, 2)
        mean, variance = (running.repeat(here) for running in (self.running_mean, self.running_var))
        weight, bias = (None if w is None else w.repeat(here) for w in (self.weight, self.bias))
        y = F.batch_norm(apart, mean, variance, weight, bias, True, self.momentum, self.eps)
        with torch.no_grad():
            for running, moved in ((self.running_mean, mean), (self.running_var, variance)):
                running.copy_(sum_over_processes(moved.view(here, -1).sum(dim=0)) / self.parts)
        return y.unflatten(1, (here, -1)).transpose(0, 1).flatten(0, 1)


def with_global_statistics(network: nn.Module) -> nn.Module:
    """The network, with a `GlobalBatchNorm` for each of its layers of batch normalization."""
    return _replaced(network, GlobalBatchNorm)


def with_split_statistics(network: nn.Module, parts: int) -> nn.Module:
    """The network, with a `SplitBatchNorm` for each of its layers of batch normalization."""
    return _replaced(network, lambda plain: SplitBatchNorm(plain, parts))


def _replaced(network: nn.Module, by: Callable[[_BatchNorm], nn.Module]) -> nn.Module:
    if isinstance(network, _BatchNorm):
        return by(network)
    for name, part in network.named_children():
        network.add_module(name, _replaced(part, by))
    return network


def encode_shuffled(encode: Callable[[Tensor], Tensor], x: Tensor, *key: int) -> Tensor:
    """encode(x) with the rows of all processes in a random order: shuffling BN. It has the gradient that `encode` has.

    Where a part of a batch is normalized by the statistics of its own rows (each process its own, or `SplitBatchNorm`),
    queries and keys that stay together betray by them which key is whose. Shuffled, a query and its key are normalized
    with different rows.

    Args:
        encode: rows to rows.
        x: our rows, (n, ...).
        key: fixes the order, the same on all processes; see `Method.key`.

    Source: He et al. 2020 (MoCo), section 3.3.
    """
    layout = shards(len(x), x.device)
    order = uniform(torch.arange(layout.total, device=x.device), 1, *key).flatten().argsort(stable=True)
    dealt = gather(encode(gather(x, layout)[order[layout.own]]), layout)
    return dealt[order.argsort()[layout.own]]
