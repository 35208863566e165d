"""SupCon's full recipes take the steps of the released code."""

from pathlib import Path

import pytest
import torch
import yaml

PAPERS = Path(__file__).parents[3] / "papers"


@pytest.mark.parametrize("paper", ["classification/supcon", "vision_ssl/simclr"])
def test_rate_and_decay_stand_for_the_factor_in_the_released_loss(paper: str) -> None:
    arguments = yaml.safe_load((PAPERS / paper / "full.yaml").read_text())["model"]["init_args"]
    start, gradients = torch.randn(5, dtype=torch.float64), torch.randn(3, 5, dtype=torch.float64)

    def steps(rate: float, decay: float, factor: float) -> torch.Tensor:
        weight = start.clone().requires_grad_()
        optimizer = torch.optim.SGD([weight], lr=rate, momentum=0.9, weight_decay=decay)
        for gradient in gradients:
            weight.grad = factor * gradient
            optimizer.step()
        return weight.detach()

    released = steps(0.5, 1e-4, arguments["temperature"] / 0.07)
    torch.testing.assert_close(steps(arguments["lr"], arguments["weight_decay"], 1.0), released, rtol=1e-6, atol=1e-6)
    assert arguments["decay_all"]
