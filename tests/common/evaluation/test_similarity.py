"""How much nearer a positive is than negatives, against a plain loop."""

import math

import pytest
import torch
from torch import Tensor

from common.errors import UserError
from common.evaluation.similarity import margins


def cosine(x: list[float], y: list[float]) -> float:
    dot, left, right = (math.fsum(a * b for a, b in zip(*pair, strict=True)) for pair in ((x, y), (x, x), (y, y)))
    return dot / math.sqrt(left * right)


@pytest.mark.parametrize(("count", "width", "negatives"), [(1, 1, 1), (7, 5, 3), (4, 3, 1)])
def test_margins_are_those_of_a_plain_loop(count: int, width: int, negatives: int) -> None:
    draw = torch.Generator().manual_seed(0)

    def rows(*shape: int) -> Tensor:
        return torch.randn(*shape, width, generator=draw) * 3

    anchor, positive, others = rows(count), rows(count), rows(count, negatives)
    expected = [
        [cosine(a, p) - cosine(a, n) for n in of_anchor]
        for a, p, of_anchor in zip(*(x.double().tolist() for x in (anchor, positive, others)), strict=True)
    ]
    found = margins(anchor, positive, others)
    torch.testing.assert_close(found.double(), torch.tensor(expected, dtype=torch.double), atol=1e-6, rtol=0)


def test_shapes_that_do_not_fit_are_named() -> None:
    with pytest.raises(UserError, match=r"\(2, 3\), \(2, 3\), \(2, 3\): expected \(n, d\), \(n, d\) and \(n, k, d\)"):
        margins(torch.ones(2, 3), torch.ones(2, 3), torch.ones(2, 3))
    with pytest.raises(UserError, match="anchors, positives and negatives of"):
        margins(torch.ones(2, 3), torch.ones(2, 3), torch.ones(3, 1, 3))
