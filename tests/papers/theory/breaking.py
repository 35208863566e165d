"""How tests see that a property's check fails: a constant is made wrong, and the deviations named after it grow."""

from collections.abc import Callable
from types import ModuleType


def wrong(function: Callable, change: Callable) -> Callable:
    """The function whose value is changed."""
    return lambda *given, **named: change(function(*given, **named))


def broken(properties: ModuleType, name: str, key: str, *, seed: int, tolerance: float) -> bool:
    """Whether a check's deviations with `key` in their names are over ten times what is allowed."""
    found = [value for deviation, value in getattr(properties, name)(seed).items() if key in deviation]
    return bool(found) and max(found) > 10 * tolerance
