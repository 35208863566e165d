"""Multi-view InfoNCE: which views meet, and what it is with two of them."""

import pytest
import torch

from common.batches import Images
from common.errors import UserError
from common.losses import multi_view_info_nce, symmetric_info_nce
from papers.vision_ssl.multi_view.module import MultiView
from tests.oracles import multi_view as oracle


def batch(views: int, n: int = 5) -> Images:
    pixels = torch.rand(views, n, 1, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.double)
    return Images(pixels, torch.arange(n), torch.arange(n))


def module(**arguments) -> MultiView:
    torch.manual_seed(0)
    made = MultiView(width=8, projection_dim=6, temperature=0.3, **arguments).double()
    made.log_loss = lambda loss: loss  # without a trainer there is no log
    return made


@pytest.mark.parametrize("graph", ["full", "core"])
def test_the_loss_is_that_of_a_loop(graph: str) -> None:
    method, data = module(graph=graph), batch(4)
    rows = torch.stack([method.network(view) for view in data.views], dim=1)
    expected = float(oracle.multi_view_info_nce(rows, temperature=0.3, graph=graph).detach())
    assert float(method.training_step(data, 0).detach()) == pytest.approx(expected, rel=1e-9)


def test_with_two_views_it_is_twice_the_symmetric_loss() -> None:
    method, data = module(), batch(2)
    expected = 2 * symmetric_info_nce(*map(method.network, data.views), temperature=0.3)
    torch.testing.assert_close(method.training_step(data, 0), expected)


def test_one_view_and_another_graph_are_refused() -> None:
    with pytest.raises(UserError, match=r"data.views is 1"):
        module().training_step(batch(1), 0)
    with pytest.raises(UserError, match=r"graph 'ring': expected 'full' or 'core'"):
        multi_view_info_nce(torch.randn(3, 2, 4), temperature=0.1, graph="ring")
    with pytest.raises(UserError, match=r"views \(3, 4\): expected \(n, v, d\), v at least 2"):
        multi_view_info_nce(torch.randn(3, 4), temperature=0.1)
