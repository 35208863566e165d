"""LARS against BYOL's own optimizer, its clipped form, and which tensors `Method` lets it adapt."""

import numpy as np
import pytest
import torch

from common.training.lars import LARS
from common.training.method import Method

# What byol/utils/optimizers.py of google-deepmind/deepmind-research, commit f5de0ed, makes of the arrays below:
# lars(0.5, weight_decay=0.01, momentum=0.9, eta=0.02) in float64, biases excluded from decay and adaptation.
WEIGHT = [
    [1.8358745306182167, 0.4883924201646941, 0.0747362856381394, -1.8044518384875612],
    [-0.24013199423037865, -0.34221411917120775, -0.14884853180863655, -0.6233077850721813],
    [0.0009065338379175489, -0.4542802116945429, -1.3205747519282516, 0.9268812970795184],
]
BIAS = [1.965834700366948, 1.9135604433221434, -0.030622076349107852, -3.997858166032964]


def trained(**arguments) -> tuple[torch.Tensor, torch.Tensor]:
    """A weight and a bias after three steps."""
    stream = np.random.RandomState(3)
    shapes = ((3, 4), (4,))
    weight, bias = (torch.nn.Parameter(torch.tensor(stream.standard_normal(shape))) for shape in shapes)
    groups = [{"params": [weight], "weight_decay": 0.01}, {"params": [bias], "adapt": False}]
    optimizer = LARS(groups, **arguments)
    for _ in range(3):
        for parameter, shape in zip((weight, bias), shapes, strict=True):
            parameter.grad = torch.tensor(stream.standard_normal(shape))
        optimizer.step()
    return weight.detach(), bias.detach()


def test_three_steps_are_those_of_byol() -> None:
    weight, bias = trained(lr=0.5, eta=0.02)
    torch.testing.assert_close(weight, torch.tensor(WEIGHT, dtype=torch.double), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(bias, torch.tensor(BIAS, dtype=torch.double), rtol=1e-12, atol=1e-12)


def test_clipped_it_is_never_longer_than_sgd() -> None:
    """With a large coefficient it is SGD, with a small one a step of eta |p|, whatever the rate."""
    parameters = [torch.nn.Parameter(torch.tensor([[3.0, 4.0]])) for _ in range(2)]
    for parameter, eta in zip(parameters, (100.0, 0.01), strict=True):
        parameter.grad = torch.tensor([[0.6, 0.8]])
        LARS([parameter], lr=0.5, eta=eta, clip=True).step()
    torch.testing.assert_close(parameters[0].data, torch.tensor([[2.7, 3.6]]))
    torch.testing.assert_close(parameters[1].data, torch.tensor([[3.0, 4.0]]) - 0.05 * torch.tensor([[0.6, 0.8]]))


def test_a_tensor_or_a_gradient_of_zeros_is_left_to_sgd() -> None:
    parameter = torch.nn.Parameter(torch.zeros(2, 2))
    parameter.grad = torch.ones(2, 2)
    LARS([parameter], lr=0.1).step()
    torch.testing.assert_close(parameter.data, torch.full((2, 2), -0.1))
    parameter.grad = torch.zeros(2, 2)
    LARS([parameter], lr=0.1).step()
    torch.testing.assert_close(parameter.data, torch.full((2, 2), -0.1))


@pytest.mark.parametrize(("decay_all", "adapted"), [(False, [True, False]), (True, [True, True])])
def test_a_method_adapts_what_decays(decay_all: bool, adapted: list[bool]) -> None:
    class Linear(Method):
        def __init__(self) -> None:
            super().__init__(optimizer="larc", eta=0.02, decay_all=decay_all, weight_decay=0.1)
            self.layer = torch.nn.Linear(2, 3)

    method = Linear()
    method._trainer = type("Steps", (), {"estimated_stepping_batches": 10})()
    optimizer = method.configure_optimizers()["optimizer"]
    found = {id(p): g["adapt"] for g in optimizer.param_groups for p in g["params"]}
    assert [found[id(method.layer.weight)], found[id(method.layer.bias)]] == adapted
    assert all(g["clip"] and g["eta"] == 0.02 for g in optimizer.param_groups)
