"""Views of two sides, pair by pair: what the loss reduces to, and what it refuses."""

import pytest
import torch
from torch.nn import functional as F

from common.errors import UserError
from common.losses import cross_view_info_nce, symmetric_info_nce


def test_each_pair_of_views_counts_alike() -> None:
    first, second = F.normalize(torch.randn(2, 5, 3, 4, generator=torch.Generator().manual_seed(0)), dim=-1)
    options = dict(temperature=0.2, label_smoothing=0.1)
    pairs = [symmetric_info_nce(first[:, a], second[:, b], **options) for a in range(3) for b in range(2)]
    torch.testing.assert_close(cross_view_info_nce(first, second[:, :2], **options), sum(pairs) / 6)
    alone = cross_view_info_nce(first[:, :1], second[:, 2:], temperature=0.2)
    torch.testing.assert_close(alone, symmetric_info_nce(first[:, 0], second[:, 2], temperature=0.2))


@pytest.mark.parametrize(("first", "second"), [((3, 4), (3, 2, 4)), ((3, 2, 4), (3, 0, 4))], ids=str)
def test_a_side_has_views(first: tuple[int, ...], second: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"expected \(n, v, d\), v at least 1"):
        cross_view_info_nce(torch.randn(first), torch.randn(second), temperature=0.1)
