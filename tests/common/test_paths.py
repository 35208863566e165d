from pathlib import Path

import pytest

from common.errors import UserError
from common.paths import as_path


def test_a_home_directory_is_filled_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert as_path("~/x", "--results") == tmp_path / "x"
    assert as_path("a/b", "--results") == Path("a/b")


@pytest.mark.parametrize("text", ["~nobody_at_all/y", "", "  ", "a\0b"])
def test_what_is_no_path_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UserError, match=r"^--results is "):
        as_path(text, "--results")
