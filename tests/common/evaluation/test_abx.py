import pytest
import torch

from common.errors import UserError
from common.evaluation.abx import abx_accuracy


def test_every_triple_is_judged_by_the_cosine_of_what_a_voice_adds() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 7, 5, generator=generator, dtype=torch.float64)
    right = 0.0
    a, x = first - first.mean(0), second - second.mean(0)
    for i in range(7):
        for j in range(7):
            if i != j:
                near, far = (torch.cosine_similarity(x[i], a[k], dim=0) for k in (i, j))
                right += float(near > far)
    assert abx_accuracy(first, second) == pytest.approx(right / 42)


def test_voices_may_be_far_apart_and_a_collapse_is_chance() -> None:
    things = torch.randn(9, 6)
    assert abx_accuracy(things + 50, 3 * things - 20) == 1.0
    assert abx_accuracy(torch.ones(4, 3), torch.ones(4, 3)) == 0.5
    assert abs(abx_accuracy(torch.randn(300, 8), torch.randn(300, 8)) - 0.5) < 0.05


def test_as_many_on_both_sides() -> None:
    with pytest.raises(UserError, match="compares 3 with 2 things"):
        abx_accuracy(torch.ones(3, 2), torch.ones(2, 2))
