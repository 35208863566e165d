"""Adafactor against a plain loop, its memory, its first step, and a checkpoint of it."""

import copy

import numpy as np
import torch

from common.training.adafactor import Adafactor


def plain(gradients: list[np.ndarray], start: np.ndarray, lr: float, decay: float) -> np.ndarray:
    """The formulas of the class, entry by entry."""
    p, first = start.copy(), np.zeros_like(start)
    rows, columns = (np.zeros(start.shape[0]), np.zeros(start.shape[-1]))
    for step, g in enumerate(gradients, start=1):
        if g.ndim == 2:
            for i in range(len(rows)):
                rows[i] = 0.999 * rows[i] + 0.001 * np.mean(g[i] ** 2)
            for j in range(len(columns)):
                columns[j] = 0.999 * columns[j] + 0.001 * np.mean(g[:, j] ** 2)
            second = np.array([[r * c / rows.mean() for c in columns] for r in rows])
        else:
            rows = second = 0.999 * rows + 0.001 * g**2
        u = g / np.sqrt(second / (1 - 0.999**step))
        u = u / max(1.0, np.sqrt(np.mean(u**2)))
        first = 0.9 * first + 0.1 * u
        p = p - lr * first - lr * decay * p
    return p


def test_four_steps_are_those_of_the_plain_loop() -> None:
    stream = np.random.RandomState(0)
    for shape in ((3, 5), (4,)):
        start, gradients = stream.standard_normal(shape), [stream.standard_normal(shape) * k for k in (1, 9, 2, 0.1)]
        parameter = torch.nn.Parameter(torch.tensor(start))
        optimizer = Adafactor([parameter], lr=0.01, weight_decay=0.3)
        for gradient in gradients:
            parameter.grad = torch.tensor(gradient)
            optimizer.step()
        torch.testing.assert_close(parameter.data, torch.tensor(plain(gradients, start, 0.01, 0.3)), rtol=1e-9, atol=0)


def test_a_squared_gradient_of_rank_one_moves_all_entries_alike() -> None:
    """Then the factors are exact, and the first step is that of Adam without its correction of the first moment."""
    parameter = torch.nn.Parameter(torch.zeros(3, 4, dtype=torch.float64))
    parameter.grad = torch.outer(torch.tensor([1.0, -2.0, 5.0]), torch.tensor([0.1, 3.0, -1.0, 7.0])).double()
    Adafactor([parameter], lr=0.5).step()
    torch.testing.assert_close(parameter.data, -0.5 * 0.1 * parameter.grad.sign())


def test_the_second_moment_of_a_matrix_takes_a_row_and_a_column() -> None:
    parameters = [torch.nn.Parameter(torch.randn(shape)) for shape in ((30, 50), (7,), (), (2, 3, 4, 5))]
    optimizer = Adafactor(parameters)
    sum((p**2).sum() for p in parameters).backward()
    optimizer.step()
    sizes = [sum(part.numel() for part in optimizer.state[p]["second"]) for p in parameters]
    assert sizes == [80, 7, 1, 24 + 30]


def test_training_goes_on_from_its_state() -> None:
    torch.manual_seed(0)
    layer, batches = torch.nn.Linear(4, 3), torch.randn(6, 8, 4)

    def steps(layer: torch.nn.Module, optimizer: Adafactor, batches: torch.Tensor) -> None:
        for batch in batches:
            optimizer.zero_grad()
            (layer(batch) - batch.sum(dim=1, keepdim=True)).square().mean().backward()
            optimizer.step()

    whole, first = copy.deepcopy(layer), layer
    steps(whole, Adafactor(whole.parameters(), lr=0.05), batches)
    optimizer = Adafactor(first.parameters(), lr=0.05)
    steps(first, optimizer, batches[:3])
    resumed = Adafactor(first.parameters(), lr=0.05)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    steps(first, resumed, batches[3:])
    torch.testing.assert_close(first.weight, whole.weight)
    assert not torch.equal(whole.weight, torch.nn.Linear(4, 3).weight)
