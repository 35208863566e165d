"""What arguments have in common, refused in one line that names the argument, its value and what is allowed."""

import math

from torch import Tensor

from common.errors import UserError


def check_ids(name: str, ids: Tensor, rows: int) -> None:
    """Ids, labels and places are integers, one for each row: of another shape they would broadcast to wrong pairs.

    Raises:
        UserError: `ids` has another shape than (rows,), or holds no integers.
    """
    if ids.shape != (rows,):
        raise UserError(f"{name} {tuple(ids.shape)}: expected ({rows},), one for each row")
    if ids.is_floating_point() or ids.is_complex():
        raise UserError(f"{name} are {str(ids.dtype).removeprefix('torch.')}: expected integers")


def check_number(
    name: str,
    value: float | Tensor | None,
    *,
    above: float = -math.inf,
    least: float = -math.inf,
    most: float = math.inf,
) -> None:
    """A number is finite and in its range. Tensors are not looked at, which would stall a GPU.

    Raises:
        UserError: `value` is NaN or infinite, not above `above`, below `least`, or above `most`.
    """
    if value is None or isinstance(value, Tensor):
        return
    if math.isfinite(value) and value > above and least <= value <= most:
        return
    bounds = [
        f"above {above:g}" if above > -math.inf else "",
        f"at least {least:g}" if least > -math.inf else "",
        f"at most {most:g}" if most < math.inf else "",
    ]
    raise UserError(f"{name} {value}: expected a finite number {' and '.join(b for b in bounds if b)}".rstrip())
