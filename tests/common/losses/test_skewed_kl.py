import math

import pytest
import torch
import torch.nn.functional as F

from common.errors import UserError
from common.losses import skewed_kl, skewed_reverse_kl

STUDENT, TEACHER = torch.randn(2, 3, 4, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_without_skew_they_are_the_forward_and_the_reverse_kl() -> None:
    p, q = TEACHER.log_softmax(-1), STUDENT.log_softmax(-1)
    forward = F.kl_div(q, p, reduction="sum", log_target=True) / 12
    reverse = F.kl_div(p, q, reduction="sum", log_target=True) / 12
    torch.testing.assert_close(skewed_kl(STUDENT, TEACHER, alpha=0.0), forward)
    torch.testing.assert_close(skewed_reverse_kl(STUDENT, TEACHER, alpha=0.0), reverse)


@pytest.mark.parametrize("divergence", [skewed_kl, skewed_reverse_kl])
def test_the_skewed_ones_are_bounded_where_the_others_are_not(divergence) -> None:
    # Student and teacher certain of different tokens.
    student, teacher = 80 * torch.eye(3).expand(1, 3, 3), 80 * torch.eye(3).roll(1, 0).expand(1, 3, 3)
    assert divergence(student, teacher, alpha=0.0).item() == pytest.approx(80.0, rel=1e-5)
    assert divergence(student, teacher, alpha=0.1).item() == pytest.approx(-math.log(0.1), rel=1e-5)
    assert divergence(teacher, teacher, alpha=0.1).item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("alpha", [-0.1, 1.0])
def test_a_skew_out_of_range_is_named(alpha: float) -> None:
    with pytest.raises(UserError, match=rf"^skewed_kl: alpha {alpha}: expected a number in \[0, 1\)$"):
        skewed_kl(STUDENT, TEACHER, alpha=alpha)
