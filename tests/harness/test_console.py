import io
import re

import pytest

from data.sources import catalog
from harness import cli, console
from harness.cli.sources import print_sources

Capture = pytest.CaptureFixture[str]
LONG = "unknown option model.temprature; SimCSE takes " + ", ".join(["encoder", "layers", "hard-negative"] * 9)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("columns", [80, 200])
def test_a_line_wraps_at_words_on_a_terminal_and_stays_whole_in_a_pipe(
    monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert console.within(LONG, io.StringIO()) == LONG == console.within(LONG, None)
    lines = console.within(LONG, Terminal()).split("\n")
    assert len(lines) > 1 and max(map(len, lines)) <= columns
    assert " ".join(line.strip() for line in lines) == LONG, "no word is cut"


def test_an_error_wraps_at_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    assert cli.main(["shwo"]) == 2
    said = stream.getvalue()
    assert "'shwo' (did you mean 'show'?)" in said and max(map(len, said.split("\n"))) <= 80
    assert said.count("\n") > 1 and "\x1b" not in said


def test_words_that_begin_with_a_count_stand_on_the_left(capsys: Capture) -> None:
    rows = [("1 reproduced, 2 no test", "12.3 MB", "0.97 [0.96, 0.98]"), ("3 not run", "9 kB", "—")]
    console.print_table(("verdicts", "size", "mean"), rows)
    assert capsys.readouterr().out.split("\n") == [
        "verdicts                    size               mean",
        "1 reproduced, 2 no test  12.3 MB  0.97 [0.96, 0.98]",
        "3 not run                   9 kB                  —",
        "",
    ]


def test_a_narrow_terminal_has_a_paragraph_a_source(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    sources = list(catalog().values())
    for columns in (80, 200):
        monkeypatch.setenv("COLUMNS", str(columns))
        print_sources(sources)
        out = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
        assert max(map(len, out.split("\n"))) <= columns
        assert all(word in out for one in sources for word in (one.name, one.package)), "whole names"
        assert "…" not in out and " 0.0 MB" not in out
