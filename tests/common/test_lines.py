"""A line feed ends a line, and nothing else does."""

from pathlib import Path

import pytest

from common.errors import UserError
from common.lines import read_lines, read_table, split_lines

# Everything at which str.splitlines breaks and a line does not end.
INSIDE = "\v\f\x1c\x1d\x1e\x85\u2028\u2029\r"


def test_lines_end_at_line_feeds_alone(tmp_path: Path) -> None:
    rows = [f"one{INSIDE}more", "", "two", "\f"]
    for text in ("\n".join(rows), "\r\n".join(rows) + "\r\n", "\ufeff" + "\n".join(rows) + "\n"):
        (tmp_path / "x.txt").write_bytes(text.encode())
        assert split_lines(text) == list(read_lines(tmp_path / "x.txt")) == rows


@pytest.mark.parametrize(
    ("text", "lines"), [("", []), ("\n", [""]), ("a\n\n", ["a", ""]), ("a", ["a"]), ("\ufeff", [])]
)
def test_last_line(text: str, lines: list[str], tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes(text.encode())
    assert split_lines(text) == list(read_lines(tmp_path / "x.txt")) == lines


def test_line_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes(b"one\nt\xffo\n")
    with pytest.raises(UserError, match=r"x\.txt:2: not UTF-8 \(invalid start byte at byte 1"):
        list(read_lines(tmp_path / "x.txt"))
    with pytest.raises(UserError, match=r"none\.txt: cannot be read: No such file"):
        list(read_lines(tmp_path / "none.txt"))


def test_table(tmp_path: Path) -> None:
    inside = INSIDE.replace("\r", "")
    (tmp_path / "x.csv").write_bytes(f'\ufeffa,b\r\n1{inside},"two\nlines, ""quoted"" \r"\r\n\r\n3,4'.encode())
    assert list(read_table(tmp_path / "x.csv")) == [["a", "b"], [f"1{inside}", 'two\nlines, "quoted" \r'], ["3", "4"]]


@pytest.mark.parametrize(
    ("row", "message"), [("1", "1 cells; the first row has 2"), ("a\rb,2", "a carriage return ends a line")]
)
def test_bad_row_is_named(row: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(f"a,b\n0,0\n{row}\n", newline="")
    with pytest.raises(UserError, match=rf"x\.csv:3: {message}"):
        list(read_table(tmp_path / "x.csv"))


def test_no_reader_of_data_breaks_lines_elsewhere() -> None:
    """Only bytes of source code, whose lines the syntax tree counts, are split by Python's own rule."""
    files = (Path(__file__).parents[2] / "data").rglob("*.py")
    assert [file.name for file in files if ".splitlines(" in file.read_text("utf-8")] == ["docstrings.py"]
