"""CACR: its loss end to end, what each of its weights does, and what is refused."""

import math

import pytest
import torch
from torch import Tensor, nn

from common.batches import Images
from common.errors import UserError
from common.losses import attraction_repulsion
from papers.vision_ssl.cacr.module import CACR
from papers.vision_ssl.cacr.properties import drawn, gradient


def batch(views: int, n: int = 5) -> Images:
    pixels = torch.rand(views, n, 1, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.double)
    return Images(pixels, torch.arange(n), torch.arange(n))


def module(**arguments) -> CACR:
    torch.manual_seed(0)
    made = CACR(width=8, projection_dim=6, **arguments).double()
    made.log_loss = lambda loss: loss  # without a trainer there is no log
    return made


def expected(costs: list[float], sharpness: float) -> float:
    weights = [math.exp(sharpness * cost) for cost in costs]
    return sum(w * cost for w, cost in zip(weights, costs, strict=True)) / sum(weights)


def loop(views: Tensor, attraction: float, repulsion: float) -> float:
    """The loss as the paper writes it, of distances, for views (v, n, d)."""
    v, n, _ = views.shape

    def cost(a: int, i: int, b: int, j: int) -> float:
        return float((views[a, i] - views[b, j]).square().sum())

    pull = [expected([cost(a, i, b, i) for b in range(v) if b != a], attraction) for a in range(v) for i in range(n)]
    push = [
        expected([cost(a, i, b, j) for j in range(n) if j != i], -repulsion)
        for a in range(v)
        for b in range(a + 1, v)
        for i in range(n)
    ]
    return sum(pull) / len(pull) - sum(push) / len(push)


@pytest.mark.parametrize("detached", [False, True])
@pytest.mark.parametrize(
    ("count", "attraction", "repulsion"), [(4, 1.0, 2.0), (2, 1.0, 0.9), (3, 0.0, 0.0), (3, 9.0, 30.0)]
)
def test_the_loss_is_that_of_a_loop(count: int, attraction: float, repulsion: float, detached: bool) -> None:
    method, data = module(attraction=attraction, repulsion=repulsion, detached=detached), batch(count)
    rows = torch.stack([method.network(view).detach() for view in data.views])
    found = float(method.training_step(data, 0).detach())
    assert found == pytest.approx(loop(rows, attraction, repulsion), rel=1e-9)


def test_weights_without_a_gradient_have_another() -> None:
    given = dict(attraction=1.0, repulsion=2.0)
    one, other = (gradient(drawn(0), **given, detached=detached) for detached in (False, True))
    assert float((one - other).norm() / one.norm()) > 0.1


def test_a_far_positive_weighs_more_and_a_near_negative_too() -> None:
    views = drawn(0)

    def value(attraction: float, repulsion: float) -> float:
        return float(attraction_repulsion(views, attraction=attraction, repulsion=repulsion).detach())

    values = [[value(attraction, repulsion) for attraction in (0, 1, 2)] for repulsion in (0, 1, 2)]
    # The more weight on what is far, the longer the expected distance of positives; on what is near, the shorter that
    # of negatives: both raise the loss.
    assert values == [sorted(row) for row in values]
    assert [*zip(*values, strict=True)] == [tuple(sorted(column)) for column in zip(*values, strict=True)]


def test_the_head_is_linear_as_released() -> None:
    assert isinstance(module(mlp=False).network.head, nn.Linear) and len(module().network.head) == 3


def test_what_is_out_of_range_is_refused() -> None:
    with pytest.raises(UserError, match=r"data.views is 1"):
        module().training_step(batch(1), 0)
    for name in ("attraction", "repulsion"):
        with pytest.raises(UserError, match=rf"model.{name} -1.0: expected"):
            module(**{name: -1.0})
    with pytest.raises(UserError, match=r"views \(3, 4\): expected \(n, v, d\), v at least 2"):
        attraction_repulsion(torch.randn(3, 4), attraction=1.0, repulsion=1.0)
