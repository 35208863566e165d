import math

import pytest
import torch

from common.losses import circle, circle_list, listwise_kl
from common.losses.examples import generator, unit


def test_padding_changes_nothing() -> None:
    draw = generator(0)
    scores, teacher = unit(draw, 3), unit(draw, 3)
    padded = [torch.cat([x, torch.full((3, 2), value)], dim=1) for x, value in ((scores, 50.0), (teacher, -9.0))]
    mask = torch.arange(7).expand(3, 7) < 5
    torch.testing.assert_close(listwise_kl(*padded, mask=mask), listwise_kl(scores, teacher))
    positive = padded[1] > 0
    expected = circle_list(scores, positive[:, :5], margin=0.25, gamma=8.0)
    assert expected > 0
    torch.testing.assert_close(circle_list(padded[0], positive, margin=0.25, gamma=8.0, mask=mask), expected)


def test_a_teacher_that_is_right_of_one_candidate_is_the_cross_entropy() -> None:
    scores = unit(generator(1), 4)
    teacher = 1e4 * torch.eye(5, dtype=torch.float64)[[0, 3, 3, 1]]
    expected = torch.nn.functional.cross_entropy(scores / 0.1, torch.tensor([0, 3, 3, 1]))
    torch.testing.assert_close(listwise_kl(scores, teacher, temperature=0.1), expected)


def test_at_its_targets_a_circle_pair_costs_log_two() -> None:
    # Positive at 1 - m, negative at m: both exponents are 0.
    scores, positive = torch.tensor([[0.75, 0.25]]), torch.tensor([[True, False]])
    assert circle_list(scores, positive, margin=0.25, gamma=80.0).item() == pytest.approx(math.log(2))


@pytest.mark.parametrize("gamma", [80.0, 256.0])
def test_circle_survives_the_published_scales(gamma: float) -> None:
    # The worst batch: classes that sit on each other's place.
    corners = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]], requires_grad=True)
    labels = torch.tensor([0, 0, 1, 1])
    value = circle(corners, labels, margin=0.4, gamma=gamma)
    value.backward()
    # By hand: positive at -1, negatives at 1 and -1: gamma ((2.4) (1.6) + (1.4) (0.6)), the rest vanishes.
    assert value.item() == pytest.approx(gamma * (2.4 * 1.6 + 1.4 * 0.6), rel=1e-5)
    assert corners.grad.isfinite().all()
