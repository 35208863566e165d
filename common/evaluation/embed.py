"""Embedding a whole data set, on one process or many."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from common.distributed import gather, rank, shards, world_size
from common.errors import UserError


class Items(Protocol):
    """A list or a tensor; or files, which are read when a batch of them is taken."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: slice, /) -> Any: ...


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Eval mode and no gradients inside; afterwards each submodule is in the mode it was in.

    `module.train()` would not do to return: it also wakes a frozen teacher, which was in eval mode all along.
    """
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for part, training in modes:
            part.training = training


def embed_dataset(
    function: Callable[[Any], Tensor], items: Items, batch_size: int, module: nn.Module | None = None
) -> Tensor:
    """Embeds `items` in batches, in eval mode; under torch.distributed every process embeds a part and gets the whole.

    The batches are the same on any number of processes; whole ones are dealt out, none is padded, so each row is there
    once and in order.

    Args:
        function: one batch of items to rows (b, d); usually a bound method such as `module.embed_text`.
        items: a list, or a tensor whose first dimension counts items; tensors are moved to the module's device.
        batch_size: items in one call of `function`.
        module: whose mode to change; by default the module that `function` is bound to.

    Returns:
        float32 of shape (n, d), on the module's device, without gradient.

    Raises:
        UserError: there are no items, `batch_size` is below 1, or `function` is not bound and `module` is not given.
    """
    module = module if module is not None else getattr(function, "__self__", None)
    if not isinstance(module, nn.Module):
        raise UserError("embed_dataset: function is not the method of a module; pass module=")
    if batch_size < 1:
        raise UserError(f"batch_size is {batch_size}; it must be at least 1")
    if len(items) == 0:
        raise UserError("embed_dataset: items is empty; there is nothing to embed")
    parameter = next(module.parameters(), None)
    device = parameter.device if parameter is not None else None
    batches = -(-len(items) // batch_size)
    first, last = (batches * r // world_size() for r in (rank(), rank() + 1))
    rows = []
    with evaluating(module):
        for start in range(first * batch_size, min(last * batch_size, len(items)), batch_size):
            batch = items[start : start + batch_size]
            rows.append(function(batch.to(device) if isinstance(batch, Tensor) else batch).float())
        if world_size() > 1 and batches < world_size() and not rows:
            # A process without a batch does not know the width, which the collective needs.
            rows.append(function(_first(items, device)).float()[:0])
        own = torch.cat(rows)
    # Outside of inference mode: the result may serve as data of a later training step.
    return gather(own.clone(), shards(len(own), own.device))


def _first(items: Items, device: torch.device | None) -> Any:
    one = items[:1]
    return one.to(device) if isinstance(one, Tensor) else one
