import pytest
import torch

from common.errors import UserError
from common.losses import LearnableTemperature, PlainTemperature


@pytest.mark.parametrize("pace", [1.0, 0.1])
def test_a_plain_temperature_moves_back_into_its_bounds_and_keeps_its_gradient(pace: float) -> None:
    temperature = PlainTemperature(0.1, minimum=0.05, maximum=0.2, pace=pace)
    with torch.no_grad():
        temperature.units.fill_(3.0 / pace)
    # Two uses in a step: the second must not spoil what the first needs to go backward.
    value = 1 / temperature() + 2 / temperature()
    value.backward()
    assert temperature().item() == pytest.approx(0.2) and temperature().ndim == 0
    assert temperature.units.grad.item() == pytest.approx(-3 / 0.2**2 * pace)
    with torch.no_grad():
        temperature.units.fill_(-1.0)
    assert temperature().item() == pytest.approx(0.05)
    with pytest.raises(UserError, match=r"temperature 0\.3: expected a value in \[0\.05, 0\.2\]"):
        PlainTemperature(0.3, 0.05, 0.2)
    with pytest.raises(UserError, match="pace of the temperature is 0"):
        PlainTemperature(pace=0)


@pytest.mark.parametrize("pace", [1.0, 0.1])
def test_the_pace_is_that_of_the_optimizers_steps(pace: float) -> None:
    temperature = PlainTemperature(0.1, pace=pace)
    optimizer = torch.optim.Adam(temperature.parameters(), lr=1e-3)
    temperature().backward()
    optimizer.step()
    assert temperature().item() == pytest.approx(0.1 - 1e-3 * pace)


def test_a_learnable_temperature_without_a_lower_bound_goes_anywhere_above_zero() -> None:
    temperature = LearnableTemperature(0.07, minimum=0)
    with torch.no_grad():
        temperature.log_temperature.fill_(-20.0)
    assert temperature().item() == pytest.approx(2.061e-9, rel=1e-3)
    for initial in (0.0, -1.0):
        with pytest.raises(UserError, match="expected a value in"):
            LearnableTemperature(initial, minimum=0)
