"""Texts as pixels: every letter its own, rows broken at the edge, and the whole of a caption readable."""

import string

import pytest
import torch

from common.errors import UserError
from common.lettering import rendered


def test_letters_are_black_on_grey_and_all_different() -> None:
    letters = rendered(list(string.ascii_lowercase + ",. "), 6, 4)
    assert letters.shape == (29, 3, 6, 4) and letters.unique().tolist() == [0, 127]
    assert len({picture.numpy().tobytes() for picture in letters}) == 29
    assert torch.equal(rendered(["A"], 6, 4), rendered(["a"], 6, 4))
    assert (rendered(["é"], 6, 4)[0, 0, :5, :3] == 0).all()


def test_rows_break_at_the_edge_and_what_does_not_fit_is_cut() -> None:
    whole = rendered(["an owl"], 6, 40, channels=1)[0, 0]
    # a, n and the space: 3 pixels and 1 between.
    rows = rendered(["an owl"], 12, 11, channels=1)[0, 0]
    assert torch.equal(rows[:6, :7], whole[:, :7])
    assert torch.equal(rows[6:, :10], whole[:, 12:22])
    assert torch.equal(rendered(["an owl"], 6, 11), rendered(["an owl and more"], 6, 11))
    caption = "a large purple crescent and a small Christmas tree"
    assert not torch.equal(rendered([caption], 24, 60), rendered([caption[:-1]], 24, 60))


def test_rows_may_stand_apart() -> None:
    close, apart = (rendered(["an owl"], 16, 11, row=row)[0, 0] for row in (6, 8))
    assert torch.equal(apart[:5], close[:5]) and torch.equal(apart[8:13], close[6:11])
    assert (apart[5:8] == 127).all() and (apart[13:] == 127).all()
    with pytest.raises(UserError, match="at least 6"):
        rendered(["a"], 16, 20, row=5)


def test_a_picture_without_room_is_named() -> None:
    with pytest.raises(UserError, match="at least 6 x 4"):
        rendered(["a"], 5, 20)
