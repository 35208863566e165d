"""Our side of the recorded cases, registered by name."""

from collections.abc import Callable

from torch import Tensor

from tests.golden.recorded import Case

Ours = Callable[[Case, dict[str, Tensor], dict[str, Tensor]], Tensor]
OURS: dict[str, Ours] = {}


def like(*names: str) -> Callable[[Ours], Ours]:
    """Marks our side of cases: a function of the case, its drawn inputs and its given ones."""

    def register(function: Ours) -> Ours:
        OURS.update(dict.fromkeys(names, function))
        return function

    return register
