import pytest
import torch

from common.errors import UserError
from common.losses import PlainTemperature


def test_a_plain_temperature_moves_back_into_its_bounds_and_keeps_its_gradient() -> None:
    temperature = PlainTemperature(0.1, minimum=0.05, maximum=0.2)
    with torch.no_grad():
        temperature.temperature.fill_(3.0)
    # Two uses in a step: the second must not spoil what the first needs to go backward.
    value = 1 / temperature() + 2 / temperature()
    value.backward()
    assert temperature().item() == pytest.approx(0.2) and temperature().ndim == 0
    assert temperature.temperature.grad.item() == pytest.approx(-3 / 0.2**2)
    with torch.no_grad():
        temperature.temperature.fill_(-1.0)
    assert temperature().item() == pytest.approx(0.05)
    with pytest.raises(UserError, match=r"temperature 0\.3: expected a value in \[0\.05, 0\.2\]"):
        PlainTemperature(0.3, 0.05, 0.2)
