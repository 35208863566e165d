"""Gradient cache: a batch of any size within the activations of one chunk (Gao et al. 2021, RepL4NLP).

A contrastive loss couples the samples of a batch only through their embeddings. So the batch is embedded chunk by
chunk without a graph and the loss is computed on the embeddings. In the backward pass each chunk is embedded once more,
with a graph and the same random numbers, to carry its rows of the gradient on to the parameters. The result is the
gradient of the whole batch, for one more forward pass; gradient accumulation instead gives that of many small batches.

Here all of that is one node of autograd's graph. A `training_step` calls `cached_forward` in place of its encoder and
is otherwise unchanged: automatic optimization, gradient scaling, several encoders and a learned temperature just work.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_leaves

from common.encoders.norms import ReplacedBatchNorm
from common.errors import UserError
from common.training.rng import capture, replay

Encode = Callable[[Any], Tensor]


def _length(inputs: Any) -> int:
    """The number of samples, on which all parts of `inputs` must agree."""
    if isinstance(inputs, Mapping):
        lengths = {_length(part) for part in inputs.values()}
    elif isinstance(inputs, tuple):
        lengths = {_length(part) for part in inputs}
    elif isinstance(inputs, Tensor | list):
        lengths = {len(inputs)}
    else:
        raise UserError(f"inputs of type {type(inputs).__name__} cannot be cut; a tensor, list, tuple or dict can")
    if len(lengths) != 1:
        raise UserError(f"the parts of inputs have {sorted(lengths)} samples; their first dimensions must be equal")
    return lengths.pop()


def _cut(inputs: Any, rows: slice) -> Any:
    """The samples `rows` of each part; named tuples and dicts keep their names."""
    if isinstance(inputs, Mapping):
        return {name: _cut(part, rows) for name, part in inputs.items()}
    if isinstance(inputs, tuple):
        parts = [_cut(part, rows) for part in inputs]
        return type(inputs)(*parts) if hasattr(inputs, "_fields") else tuple(parts)
    return inputs[rows]


def _owner(encode: Encode, module: nn.Module | None) -> nn.Module:
    """The module whose parameters `encode` uses: named, `encode` itself, or what it is a method of."""
    owner = next((m for m in (module, encode, getattr(encode, "__self__", None)) if isinstance(m, nn.Module)), None)
    if owner is None:
        raise UserError("encode is neither a module nor a module's method; give the module it uses as module=...")
    for name, part in owner.named_modules():
        if isinstance(part, _BatchNorm | ReplacedBatchNorm) and (part.training or part.running_mean is None):
            raise UserError(
                f"'{name}' normalizes over the batch, and a chunk is not the batch: "
                "the gradient cache needs group or layer normalization, or batch normalization in eval mode"
            )
    return owner


class _Precision:
    """Autocast as it was in the forward pass, for the backward pass, which Lightning runs outside of it."""

    def __init__(self, device: torch.device) -> None:
        self.device_type = device.type
        self.enabled = torch.is_autocast_enabled(device.type)
        self.dtype = torch.get_autocast_dtype(device.type)

    def __call__(self) -> torch.autocast:
        # No cache of cast weights: torch has been known to hand one filled without a graph to a later, plain use.
        return torch.autocast(self.device_type, self.dtype, self.enabled, cache_enabled=False)


def _leaves_of(output: Tensor) -> Iterator[Tensor]:
    """The tensors at which a backward pass from `output` ends."""
    pending, seen = [output.grad_fn], set()
    while pending:
        node = pending.pop()
        if node is not None and node not in seen:
            seen.add(node)
            if hasattr(node, "variable"):
                yield node.variable
            pending.extend(parent for parent, _ in node.next_functions)


class _CachedForward(torch.autograd.Function):
    # The parameters are inputs of this node, and their gradients leave it as those of any other node do. So autograd
    # adds them up over all uses and accumulates once a parameter and backward pass, and DDP, which waits for just that,
    # reduces once a step however many chunks and encoders there are.

    @staticmethod
    def forward(ctx, encode: Encode, inputs: Any, chunks: list[slice], device: torch.device, *parameters: Tensor):
        ctx.encode, ctx.inputs, ctx.chunks, ctx.parameters = encode, inputs, chunks, parameters
        ctx.precision, ctx.states = _Precision(device), []
        embeddings = []
        with ctx.precision():
            for rows in chunks:
                ctx.states.append(capture(device))
                embeddings.append(encode(_cut(inputs, rows)))
                if len(embeddings[-1]) != rows.stop - rows.start:
                    raise UserError(
                        f"encode made {len(embeddings[-1])} rows of {rows.stop - rows.start} samples; "
                        "the gradient cache needs one row a sample"
                    )
        return torch.cat(embeddings)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        total: list[Tensor | None] = [None] * len(ctx.parameters)
        for rows, state in zip(ctx.chunks, ctx.states, strict=True):
            with replay(state), torch.enable_grad(), ctx.precision():
                embeddings = ctx.encode(_cut(ctx.inputs, rows))
            if not embeddings.requires_grad:  # module owns more than this encoder, which is frozen
                continue
            if rows.start == 0:
                _refuse_others(embeddings, ctx.parameters)
            parts = torch.autograd.grad(embeddings, ctx.parameters, grad[rows], allow_unused=True)
            for i, part in enumerate(parts):
                if part is not None:
                    # Not in place: autograd may hand the same tensor to two parameters, such as two biases in a row.
                    total[i] = part if total[i] is None else total[i] + part
        return None, None, None, None, *total


def _refuse_others(embeddings: Tensor, parameters: tuple[Tensor, ...]) -> None:
    known = {id(p) for p in parameters}
    for leaf in _leaves_of(embeddings):
        if id(leaf) not in known:
            raise UserError(
                f"encode uses a parameter of shape {tuple(leaf.shape)} that module does not own, and whose gradient "
                "would be lost; give the module that owns all of them as module=..."
            )


def cached_forward(encode: Encode, inputs: Any, chunk_size: int | None, *, module: nn.Module | None = None) -> Tensor:
    """Embeds a batch with the activations of one chunk in memory; its gradient is that of the whole batch.

        query = cached_forward(self.query_encoder, batch.anchor, chunk_size=32)
        key = cached_forward(self.key_encoder, batch.positive, chunk_size=32)
        return self.log_loss(info_nce(query, key, temperature=self.temperature))

    It costs one more forward pass of the encoder, and memory for one more gradient of its parameters. `encode` runs
    twice on each chunk. Dropout and augmentation that draw from torch's generators draw the same numbers both times. A
    buffer that `encode` updates is updated twice, and `encode` may not log. Texts are padded to the longest of a chunk
    instead of the batch, which changes no more than the rounding if the encoder masks it. No chunk costs a collective.

    Args:
        encode: from inputs to embeddings, (n, ...): row i depends on sample i alone.
        inputs: n samples: a tensor or list, or a tuple or dict of such.
        chunk_size: samples embedded at a time; None embeds all at once, without the second pass.
        module: owns all parameters that `encode` uses. Not needed where `encode` is a module or a module's method.

    Raises:
        UserError: chunk_size below 1; inputs that cannot be cut or that need a gradient; a layer that normalizes over
            the batch; parameters that `module` does not own.
    """
    if chunk_size is not None and chunk_size < 1:
        raise UserError(f"chunk_size is {chunk_size}; it must be at least 1, or null for the whole batch at once")
    length = _length(inputs)
    if chunk_size is None or length <= chunk_size:
        return encode(inputs)
    owner = _owner(encode, module)
    if torch.is_grad_enabled() and any(isinstance(x, Tensor) and x.requires_grad for x in tree_leaves(inputs)):
        raise UserError("inputs require a gradient, which the gradient cache does not carry; make them within encode")
    chunks = [slice(start, min(start + chunk_size, length)) for start in range(0, length, chunk_size)]
    parameters = [p for p in owner.parameters() if p.requires_grad]
    # Dropout draws on the device the encoder lives on.
    device = next(owner.parameters(), torch.empty(0)).device
    return _CachedForward.apply(encode, inputs, chunks, device, *parameters)
