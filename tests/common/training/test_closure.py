"""The closure of an optimizer's step has gradients where the step has none."""

import torch

from common.training.closure import evaluated


def test_a_closure_is_evaluated_with_gradients() -> None:
    x = torch.tensor(3.0, requires_grad=True)

    def closure() -> torch.Tensor:
        loss = x.square()
        loss.backward()
        return loss

    with torch.no_grad():
        assert float(evaluated(closure).detach()) == 9 and not torch.is_grad_enabled()
        assert evaluated(None) is None
    assert x.grad is not None and float(x.grad) == 6
