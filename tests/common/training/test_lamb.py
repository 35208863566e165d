"""LAMB against the formulas of its paper in plain loops, and which tensors `Method` lets it adapt."""

import math

import numpy as np
import pytest
import torch

from common.training.lamb import LAMB
from common.training.method import Method


def loop(start: list[float], gradients: list[list[float]], lr: float, decay: float, adapt: bool) -> list[float]:
    """Algorithm 2 of You et al. for one tensor, number by number."""
    p, m, v = list(start), [0.0] * len(start), [0.0] * len(start)
    for t, gradient in enumerate(gradients, 1):
        m = [0.9 * a + 0.1 * g for a, g in zip(m, gradient, strict=True)]
        v = [0.99 * a + 0.01 * g * g for a, g in zip(v, gradient, strict=True)]
        moments = zip(m, v, p, strict=True)
        u = [a / (1 - 0.9**t) / (math.sqrt(b / (1 - 0.99**t)) + 1e-6) + decay * x for a, b, x in moments]
        q = math.hypot(*p) / math.hypot(*u) if adapt else 1.0
        p = [x - lr * q * y for x, y in zip(p, u, strict=True)]
    return p


@pytest.mark.parametrize("adapt", [True, False])
def test_three_steps_are_those_of_a_loop(adapt: bool) -> None:
    stream = np.random.RandomState(0)
    start, gradients = stream.standard_normal((3, 4)), stream.standard_normal((3, 3, 4))
    parameter = torch.nn.Parameter(torch.tensor(start))
    group = {"params": [parameter], "weight_decay": 0.1, "adapt": adapt}
    optimizer = LAMB([group], lr=0.05, betas=(0.9, 0.99))
    for gradient in gradients:
        parameter.grad = torch.tensor(gradient)
        optimizer.step()
    expected = loop(start.flatten().tolist(), [g.flatten().tolist() for g in gradients], 0.05, 0.1, adapt)
    assert parameter.detach().flatten().tolist() == pytest.approx(expected, rel=1e-12)


def test_a_tensor_of_zeros_is_left_to_adam() -> None:
    parameter = torch.nn.Parameter(torch.zeros(2, 2))
    parameter.grad = torch.ones(2, 2)
    LAMB([parameter], lr=0.1).step()
    torch.testing.assert_close(parameter.data, torch.full((2, 2), -0.1), rtol=1e-5, atol=0)


def test_a_method_adapts_what_decays() -> None:
    class Linear(Method):
        def __init__(self) -> None:
            super().__init__(optimizer="lamb", beta2=0.98, eps=1e-6, weight_decay=0.1)
            self.layer = torch.nn.Linear(2, 3)

    method = Linear()
    method._trainer = type("Steps", (), {"estimated_stepping_batches": 10})()
    optimizer = method.configure_optimizers()["optimizer"]
    found = {id(p): g["adapt"] for g in optimizer.param_groups for p in g["params"]}
    assert found[id(method.layer.weight)] and not found[id(method.layer.bias)]
    assert all(g["betas"] == (0.9, 0.98) and g["eps"] == 1e-6 for g in optimizer.param_groups)
