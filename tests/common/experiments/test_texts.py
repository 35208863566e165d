import math

import pytest

from common.experiments.paired import Interval
from common.experiments.texts import deviation, number, probability, with_interval, with_spread


@pytest.mark.parametrize(
    ("value", "sign", "text"),
    [
        (0.92, False, "0.920"),
        (0.0451, True, "+0.045"),
        (-0.0451, True, "-0.045"),
        (0.00567, True, "+0.0057"),
        (0.0000123, False, "1.23e-05"),
        (12345.0, False, "1.23e+04"),
        (0.0, False, "0.000"),
        (math.nan, True, "nan"),
    ],
)
def test_numbers(value: float, sign: bool, text: str) -> None:
    assert number(value, sign=sign) == text


def test_a_mean_and_its_bounds_have_the_same_decimals() -> None:
    assert with_interval(Interval(0.008, 0.004, 0.012, 3, 0.01), sign=True) == "+0.008 [+0.004, +0.012]"
    assert with_interval(Interval(0.0056, 0.0029, 0.0083, 3, 0.01)) == "0.0056 [0.0029, 0.0083]"


def test_without_an_interval_or_a_value() -> None:
    assert with_interval(Interval(0.5, None, None, 1, None)) == "0.500"
    assert with_interval(None) == "—"


def test_a_mean_and_its_spread() -> None:
    assert with_spread(Interval(0.92, 0.9, 0.94, 5, 0.0158)) == "0.920 (0.016)"
    assert with_spread(Interval(0.5, None, None, 1, None)) == "0.500"
    assert with_spread(None) == "—"


@pytest.mark.parametrize(("p", "text"), [(1.0, "1"), (0.0321, "0.032"), (0.00012, "0.00012"), (1e-9, "< 0.0001")])
def test_probabilities(p: float, text: str) -> None:
    assert probability(p) == text


@pytest.mark.parametrize(
    ("value", "tolerance", "shown"),
    [(2.2e-15, 1e-10, "2.2e-15 of 1e-10"), (1.004, 0.97, "1.004 of 0.970"), (-0.0075, 0.05, "-0.0075 of 0.05")],
)
def test_a_deviation_is_told_from_what_is_allowed(value: float, tolerance: float, shown: str) -> None:
    assert deviation(value, tolerance) == shown
