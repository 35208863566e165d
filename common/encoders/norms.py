"""Batch normalization on several processes: what its statistics are taken over."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from common.distributed import gather, shards, sum_over_processes, world_size
from common.losses.precision import at_least_float32
from common.random import uniform


class GlobalBatchNorm(nn.Module):
    """Batch normalization by the mean and variance of the whole batch, over all processes, on any device.

    So a batch gives the same numbers on one process and on several. `torch.nn.SyncBatchNorm` does the same on GPUs
    alone, and `trainer.sync_batchnorm` cannot turn a teacher's layers into it, whose weights are buffers; both leave
    this class as it is.

    Args:
        plain: the layer whose weights, running statistics and settings it takes over, under the same names.
    """

    def __init__(self, plain: _BatchNorm) -> None:
        super().__init__()
        self.eps, self.momentum = plain.eps, plain.momentum
        self.weight, self.bias = plain.weight, plain.bias
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, getattr(plain, name))

    def forward(self, x: Tensor) -> Tensor:
        """Normalizes (n, channels, ...), of any n on each process; in eval mode by the running statistics."""
        if self.training:
            self.num_batches_tracked += 1
        if not self.training or world_size() == 1:
            running = self.running_mean, self.running_var
            return F.batch_norm(x, *running, self.weight, self.bias, self.training, self.momentum, self.eps)
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


def with_global_statistics(network: nn.Module) -> nn.Module:
    """The network, with a `GlobalBatchNorm` for each of its layers of batch normalization."""
    if isinstance(network, _BatchNorm):
        return GlobalBatchNorm(network)
    for name, part in network.named_children():
        network.add_module(name, with_global_statistics(part))
    return network


@torch.no_grad()
def encode_shuffled(encode: Callable[[Tensor], Tensor], x: Tensor, *key: int) -> Tensor:
    """encode(x), without gradient, after the rows of all processes are dealt out to them at random: shuffling BN.

    Where each process normalizes by the statistics of its own rows, queries and keys that stay together betray by them
    which key is whose. Dealt out, a query and its key are normalized with different rows. On one process nothing
    changes: its statistics are the same in any order.

    Args:
        encode: rows to rows.
        x: our rows, (n, ...).
        key: fixes the order, the same on all processes; see `Method.key`.

    Source: He et al. 2020 (MoCo), section 3.3.
    """
    layout = shards(len(x), x.device)
    if len(layout.sizes) == 1:
        return encode(x)
    order = uniform(torch.arange(layout.total, device=x.device), 1, *key).flatten().argsort(stable=True)
    dealt = gather(encode(gather(x, layout)[order[layout.own]]), layout)
    return dealt[order.argsort()[layout.own]]
