"""What arguments have in common, refused in one line that names the argument, its value and what is allowed."""

import math
from collections.abc import Callable
from typing import Any, get_args

import torch
from torch import Tensor

from common.errors import UserError


def check_embeddings(*, same_rows: bool = False, **given: Tensor) -> None:
    """Embeddings are floating-point matrices of one width: others would broadcast, or lose a part of their values.

    Args:
        same_rows: whether there are as many rows in each of them.
        given: by their names.

    Raises:
        UserError: one has another shape than (n, d), another d than the first or, with `same_rows`, another n; or holds
            no floating-point numbers.
    """
    shapes = [x.shape for x in given.values()]
    first = shapes[0]
    if any(len(shape) != 2 or shape[1] != first[1] for shape in shapes):
        letters = "n" * len(given) if same_rows or len(given) == 1 else "mnk"
        raise UserError(f"{_shapes(given)}: expected {' and '.join(f'({n}, d)' for n in letters[: len(given)])}")
    if same_rows and any(shape[0] != first[0] for shape in shapes):
        raise UserError(f"{_shapes(given)}: expected as many rows of each")
    check_floating(**given)


def _shapes(given: dict[str, Tensor]) -> str:
    return " and ".join(f"{name} {tuple(x.shape)}" for name, x in given.items())


def check_floating(**given: Tensor) -> None:
    """Embeddings, scores and logits are real numbers: of complex ones half would be lost, integers have no gradient.

    Raises:
        UserError: they are of another type.
    """
    for name, x in given.items():
        if not x.is_floating_point():
            raise UserError(f"{name} is {_dtype(x)}: expected floating-point numbers")


def check_ids(name: str, ids: Tensor, rows: int) -> None:
    """Ids, labels and places are integers, one for each row: of another shape they would broadcast to wrong pairs.

    Raises:
        UserError: `ids` has another shape than (rows,), or holds no integers.
    """
    if ids.shape != (rows,):
        raise UserError(f"{name} {tuple(ids.shape)}: expected ({rows},), one for each row")
    check_integers(name, ids)


def check_integers(name: str, values: Tensor) -> None:
    """Ids, labels and places are integers; a mask has other values than the places that it marks.

    Raises:
        UserError: they are of another type.
    """
    if values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
        raise UserError(f"{name} are {_dtype(values)}: expected integers")


def check_classes(labels: Tensor, classes: int) -> None:
    """Every label has a logit. It looks at the labels, for which a GPU has to wait: there in the first batch alone.

    Raises:
        UserError: one has none, as -1, by which data say that there is no label; names `model.classes`.
    """
    for label in map(int, labels.aminmax() if labels.numel() else ()):
        if not 0 <= label < classes:
            raise UserError(f"model.classes is {classes}; the data have a class {label}, from 0 on")


def check_mask(name: str, mask: Tensor) -> None:
    """A mask is bool: the complements of the numbers 0 and 1 are -1 and -2.

    Raises:
        UserError: it is of another type.
    """
    if mask.dtype != torch.bool:
        raise UserError(f"{name} is {_dtype(mask)}: expected bool")


def check_all(fine: Tensor, message: str, explain: Callable[[], str] | None = None) -> None:
    """Values that are to be as asked for; for a GPU's nobody waits, it fails by itself once it gets there.

    Args:
        fine: booleans of any shape.
        message: what a GPU fails with, and by default the error.
        explain: what the error says instead, where the values can be looked at.

    Raises:
        UserError: one is False, and they lie on a CPU.
    """
    if fine.device.type != "cpu":
        torch._assert_async(fine.all(), message)
    elif not fine.all():
        raise UserError(explain() if explain else message)


def check_number(
    name: str,
    value: float | Tensor | None,
    *,
    above: float = -math.inf,
    least: float = -math.inf,
    most: float = math.inf,
    rows: int | None = None,
) -> None:
    """A number is finite and in its range. A tensor is 0-d; its value is looked at on a CPU, as it would stall a GPU.

    A tensor that is learnt may be NaN: the loss will be, and who logs it names the step.

    Args:
        rows: a tensor may have this many values as well, one for each query.

    Raises:
        UserError: `value` is NaN or infinite, not above `above`, below `least`, above `most`, or of another shape.
    """
    if value is None:
        return
    values = [value]
    if isinstance(value, Tensor):
        if value.shape not in (torch.Size(), torch.Size([-1 if rows is None else rows])):
            each = "" if rows is None else f", or ({rows},), one for each query"
            raise UserError(f"{name} {tuple(value.shape)}: expected a number or a 0-d tensor{each}")
        if value.is_complex() or value.dtype == torch.bool:
            raise UserError(f"{name} is {_dtype(value)}: expected real numbers")
        values = value.detach().flatten().tolist() if value.device.type == "cpu" else []
    learnt = isinstance(value, Tensor) and value.requires_grad
    for number in values:
        if (math.isfinite(number) and number > above and least <= number <= most) or (learnt and math.isnan(number)):
            continue
        bounds = [
            f"above {above:g}" if above > -math.inf else "",
            f"at least {least:g}" if least > -math.inf else "",
            f"at most {most:g}" if most < math.inf else "",
        ]
        shown = f"{number:g}" if isinstance(value, Tensor) else number
        raise UserError(f"{name} {shown}: expected a finite number {' and '.join(b for b in bounds if b)}".rstrip())


def check_choice(name: str, value: str, kind: Any) -> None:
    """A word is one of a few.

    Args:
        kind: the `Literal` of them.

    Raises:
        UserError: it is another.
    """
    if value not in get_args(kind):
        raise UserError(f"{name} is {value!r}; it must be one of {', '.join(get_args(kind))}")


def _dtype(x: Tensor) -> str:
    return str(x.dtype).removeprefix("torch.")
