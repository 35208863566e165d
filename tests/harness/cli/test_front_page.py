"""What the front page and the guides show of a command is what it prints."""

import doctest
import re
import shlex
from pathlib import Path

import pytest

from harness import cli
from harness.recipes.catalog import REPOSITORY

PAGES = [REPOSITORY / "README.md", *sorted(REPOSITORY.glob("docs/guides/*.md"))]


def shown() -> list[tuple[str, str]]:
    """Each command after "$ " in a console block, and what the page has it print."""
    found = []
    for page in PAGES:
        for block in re.findall(r"^```console\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
            _, *parts = re.split(r"^\$ ", block, flags=re.MULTILINE)
            found += [(command, want) for command, _, want in (part.partition("\n") for part in parts)]
    return found


@pytest.mark.parametrize(("command", "want"), shown())
def test_a_command_prints_what_the_page_shows(
    command: str, want: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name, *words = shlex.split(command)
    assert name == "papers" and cli.main(words) == 0
    got = capsys.readouterr().out
    assert want and doctest.OutputChecker().check_output(want, got, doctest.ELLIPSIS), got


def test_the_front_page_shows_the_four_that_read() -> None:
    assert {command.split()[1] for command, _ in shown()} >= {"list", "show", "rerun", "compare"}
