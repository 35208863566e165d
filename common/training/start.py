"""Going on from the weights of an earlier training under another recipe."""

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from common.encoders.weights import are_read
from common.errors import UserError
from common.paths import as_path
from common.training.checkpoint import read_checkpoint


def start_from(
    module: nn.Module,
    checkpoint: str,
    afresh: tuple[str, ...] = (),
    resized: Mapping[str, Callable[[Tensor, Tensor], Tensor]] | None = None,
) -> None:
    """Takes a module's weights out of a Lightning checkpoint; what the module no longer has is left. No-op on meta.

    Args:
        module: what is to be trained.
        checkpoint: path of a checkpoint that `papers fit` wrote.
        afresh: beginnings of the names that are not taken over.
        resized: for the end of a name, what makes its old tensor fit the new one, called with both.

    Raises:
        UserError: there is no such file, or it lacks a tensor or has it in another shape.
    """
    path, wanted = as_path(checkpoint, "model.start"), module.state_dict()
    if not all(map(are_read, wanted.values())):
        return
    found = read_checkpoint(path, "model.start")["state_dict"]
    taken = {}
    for key, tensor in wanted.items():
        if key.startswith(afresh):
            continue
        if key not in found:
            raise UserError(f"model.start: {path} lacks {key}")
        fit = next((f for end, f in (resized or {}).items() if key.endswith(end)), lambda old, new: old)
        taken[key] = fit(found[key], tensor)
        if taken[key].shape != tensor.shape:
            shapes = tuple(found[key].shape), tuple(tensor.shape)
            raise UserError(f"model.start: {key} of {path} has shape {shapes[0]}; the recipe's model needs {shapes[1]}")
    module.load_state_dict(taken, strict=False)
