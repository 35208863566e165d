"""What is refused, and by whom."""

import pytest
import torch

from common.checks import check_all
from common.errors import UserError
from tests.waiting import Reads


def test_values_are_refused_where_they_can_be_looked_at() -> None:
    check_all(torch.ones(3, dtype=torch.bool), "no")
    with pytest.raises(UserError, match="no"):
        check_all(torch.tensor([True, False]), "no")
    with pytest.raises(UserError, match="the second"):
        check_all(torch.tensor([True, False]), "no", lambda: "the second")


def test_nobody_waits_for_a_device() -> None:
    fine = torch.ones(3, dtype=torch.bool, device="meta")
    with Reads() as reads:
        check_all(fine, "no")
    assert not reads.places
