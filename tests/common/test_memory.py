import torch
from torch import nn

from common.memory import peak_bytes

KB = 256
"""float32 numbers in a kilobyte."""


def test_counts_what_is_alive_at_once() -> None:
    def step() -> None:
        a = torch.zeros(4 * KB)
        b = a + 1  # 8 KB
        del a  # 4 KB
        c = torch.cat([b, b])  # 12 KB
        del b, c
        torch.zeros(5 * KB)

    assert peak_bytes(step) == 12 * 1024


def test_views_and_changes_in_place_allocate_nothing() -> None:
    def step() -> None:
        a = torch.zeros(4 * KB)
        a.view(2, -1).t().add_(1)
        torch.add(a, 1, out=a)

    assert peak_bytes(step) == 4 * 1024


def test_what_was_there_before_is_not_counted() -> None:
    a = torch.zeros(4 * KB)
    assert peak_bytes(lambda: a.view(2, -1).mul_(2)) == 0


def test_the_backward_pass_holds_what_autograd_saved_and_the_gradients() -> None:
    x, layer = torch.randn(KB, 8), nn.Linear(8, 8, bias=False)

    def step() -> None:
        layer(x).square().sum().backward()

    # The layer's output is saved for the square: 8 KB; its square and the gradients come on top.
    assert 2 * 8 * 1024 <= peak_bytes(step) <= 5 * 8 * 1024
    assert layer.weight.grad is not None


def test_the_same_step_gives_the_same_number() -> None:
    x = torch.randn(64, 64, requires_grad=True)
    sizes = {peak_bytes(lambda: torch.autograd.grad((x @ x.T).logsumexp(1).sum(), x)) for _ in range(3)}
    assert len(sizes) == 1
