"""A soup is the mean of its weights."""

import pytest
import torch
from torch import nn

from common.errors import UserError
from common.training.soup import averaged


def test_weights_are_averaged_and_counters_are_not() -> None:
    states = [{"w": torch.tensor([1.0, 2]), "n": torch.tensor(3)}, {"w": torch.tensor([2.0, 6]), "n": torch.tensor(9)}]
    found = averaged([*states, states[0]])
    assert found["w"].tolist() == pytest.approx([4 / 3, 10 / 3]) and int(found["n"]) == 3
    assert found["w"].dtype == torch.float32 and states[0]["w"].tolist() == [1, 2]


def test_a_soup_of_linear_layers_is_the_mean_of_their_answers() -> None:
    layers, x = [nn.Linear(4, 3) for _ in range(3)], torch.randn(5, 4)
    mean = torch.stack([layer(x) for layer in layers]).mean(dim=0)
    layers[0].load_state_dict(averaged([layer.state_dict() for layer in layers]))
    torch.testing.assert_close(layers[0](x), mean)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UserError, match="at least one training"):
        averaged([])
    with pytest.raises(UserError, match="other tensors, or tensors of other shapes"):
        averaged([nn.Linear(2, 3).state_dict(), nn.Linear(3, 2).state_dict()])
