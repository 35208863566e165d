"""A learnable temperature that stays within bounds."""

import math

import torch
from torch import Tensor, nn

from common.checks import check_number
from common.errors import UserError
from common.losses.precision import at_least_float32


def inverse(temperature: float | Tensor, name: str = "temperature", rows: int | None = None) -> float | Tensor:
    """1 / temperature, the scale of the scores; of a bf16 or fp16 temperature in float32.

    Args:
        temperature: a number or a 0-d tensor.
        name: what it is called in an error.
        rows: it may have this many values as well, one for each query.

    Raises:
        UserError: of another shape, or not finite and above zero. On a GPU, which a look would stall, the inverse is
            NaN then, and so is the loss.
    """
    return 1 / above_zero(name, temperature, rows)


def above_zero(name: str, value: float | Tensor, rows: int | None = None) -> float | Tensor:
    """A temperature or a scale that is above zero, at least in float32; arguments and errors as for `inverse`."""
    check_number(name, value, above=0, rows=rows)
    if not isinstance(value, Tensor):
        return value
    value = at_least_float32(value)
    return value if value.device.type == "cpu" else torch.where(value > 0, value, math.nan)


class LearnableTemperature(nn.Module):
    """exp of a learnable logarithm, kept between two bounds.

    Args:
        initial: the temperature at the start; CLIP's is 0.07.
        minimum: lower bound; CLIP's is 0.01, a largest scale of 100, and 0 is none.
        maximum: upper bound.

    Calling it gives the temperature, 0-d. The scale is its inverse.

    Raises:
        UserError: the initial value is not above zero or not between the bounds.
    """

    def __init__(self, initial: float = 0.07, minimum: float = 0.01, maximum: float = math.inf) -> None:
        super().__init__()
        _check(initial, minimum, maximum)
        self.log_temperature = nn.Parameter(torch.tensor(math.log(initial)))
        lower = math.log(minimum) if minimum > 0 else -math.inf
        self.bounds = lower, math.log(maximum) if maximum < math.inf else math.inf

    def forward(self) -> Tensor:
        # The parameter itself is moved back: clamping only the output would leave a parameter that strayed out of
        # bounds without a gradient, and so for ever.
        with torch.no_grad():
            self.log_temperature.clamp_(*self.bounds)
        return self.log_temperature.exp()


class PlainTemperature(nn.Module):
    """A learnable temperature that is its own parameter, not its logarithm's exponential, kept between two bounds.

    An optimizer with normalized steps moves it by about the learning rate a step, whatever it is. Source: ALBEF.

    Args:
        initial: the temperature at the start.
        minimum: lower bound.
        maximum: upper bound.
        pace: what the learning rate of all is multiplied by for the temperature. A rate that suits a small model may be
            a large part of a temperature, which then collapses.

    Calling it gives the temperature, 0-d.

    Raises:
        UserError: the initial value is not between the bounds, or the lower bound or the pace not above zero.
    """

    def __init__(self, initial: float = 0.07, minimum: float = 0.001, maximum: float = 0.5, pace: float = 1.0) -> None:
        super().__init__()
        _check(initial, minimum, maximum)
        if not minimum > 0:
            raise UserError(f"minimum of the temperature is {minimum}; it must be above 0")
        if not pace > 0:
            raise UserError(f"pace of the temperature is {pace}; it must be above 0")
        self.units = nn.Parameter(torch.tensor(initial / pace))
        self.bounds = minimum / pace, maximum / pace
        self.pace = pace

    def forward(self) -> Tensor:
        with torch.no_grad():
            self.units.clamp_(*self.bounds)
        return self.pace * self.units


def _check(initial: float, minimum: float, maximum: float) -> None:
    if not (0 <= minimum <= initial <= maximum and 0 < initial < math.inf):
        raise UserError(f"temperature {initial}: expected a value in [{minimum}, {maximum}], above 0")
