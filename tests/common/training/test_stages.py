"""A training in stages: which step is in which, and the learning rate of each."""

import pytest

from common.errors import UserError
from common.training.stages import Stages


def test_stages_are_in_proportion() -> None:
    stages = Stages([120, 60, 60], 240)
    assert stages.ends == [120, 180, 240]
    assert [stages.at(step) for step in (0, 119, 120, 179, 180, 239, 240)] == [0, 0, 1, 1, 2, 2, 2]
    assert [step for step in range(241) if stages.begins(step)] == [0, 120, 180]
    assert [Stages([120, 100, 100], 4).at(step) for step in range(4)] == [0, 0, 1, 2]


def test_a_stage_of_no_length_is_left_out() -> None:
    stages = Stages([0, 1, 3], 8)
    assert [stages.at(step) for step in range(8)] == [1, 1, 2, 2, 2, 2, 2, 2]
    assert stages.begins(0) and stages.begins(2) and not stages.begins(1)


def test_every_stage_has_a_rate_of_its_own() -> None:
    rate = Stages([4, 4], 8).rates([1.0, 10.0], [0.0, 0.5], "linear")
    assert [rate(step) for step in range(8)] == pytest.approx([1, 0.75, 0.5, 0.25, 5, 10, 10, 5])


@pytest.mark.parametrize("lengths", [[], [0, 0], [1, -1, 2]])
def test_lengths_are_looked_at(lengths: list[float]) -> None:
    with pytest.raises(UserError, match="none may be below 0, and one is above"):
        Stages(lengths, 10)
