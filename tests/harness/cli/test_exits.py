"""Every way in which a command ends: one line on stderr and the exit code that it promises."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness import cli
from harness.cli import commands
from harness.recipes.catalog import REPOSITORY
from tests.harness import house

Capture = pytest.CaptureFixture[str]


def papers(root: Path, capsys: Capture, *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = cli.main(arguments, root)
    return code, *capsys.readouterr()


def process(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    """`papers` in a process of its own."""
    command = [sys.executable, "-m", "harness.cli", *words]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, **options)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rerun", "alpha", "--seeds", "999999999999", "--dry-run"], "is not a whole number from 1 to 1000"),
        (["rerun", "alpha", "--seeds", "\u00b2"], "is not a whole number from 1 to 1000"),
        (["rerun", "alpha", "--workers", "-1"], "--workers"),
        (["rerun", "alpha", "--experiment", ""], "alpha has no experiment ''; it has: main, bound"),
        (["rerun", "alpha", "--results", "~nobody_at_all/y"], "--results is '~nobody_at_all/y', whose home"),
        (["rerun", "alpha", "--results", ""], "--results is ''; it must be a path"),
        (["rerun", "alpha", "--results", "x" * 300], "File name too long"),
        (["show", ""], "unknown paper ''"),
        (["show", "a\nb"], "unknown paper 'a b'"),
        (["new", "mine", "--like", "alpha", "--family", "x" * 300], "cannot name a family"),
        (["new", "mine", "--like", "alpha", "--family", "import"], "cannot name a family"),
        (["new", "lambda", "--like", "alpha"], "'lambda' cannot name a paper"),
    ],
)
def test_a_wrong_request_is_one_line(root: Path, capsys: Capture, arguments: list[str], said: str) -> None:
    code, out, err = papers(root, capsys, *arguments)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert err.startswith("papers: ") and said in err


def test_a_fault_of_ours_is_one_line_and_leaves_its_traceback(
    root: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def faulty(_: object) -> None:
        raise ZeroDivisionError("a\nb")

    monkeypatch.setattr(commands, "list_papers", faulty)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code, out, err = papers(root, capsys, "list")
    assert (code, out) == (2, "") and err.startswith("papers: ZeroDivisionError: a (traceback in ")
    place = Path(err.partition("traceback in ")[2].rstrip(")\n"))
    assert "in faulty" in place.read_text() and len(err.splitlines()) == 1
    code, _, err = papers(root, capsys, "--traceback", "list")
    assert code == 2 and "in faulty" in err


BOMB = "a: &a [1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 8)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    "content",
    [BOMB, "a: &a [*a]", "a: " + "[" * 600, b"\xff\xfe", "x" * 700_000, "a: 1\na: 2", "a: !!python/name:os x"],
)
@pytest.mark.parametrize("file", ["paper.yaml", "mini.yaml"])
def test_a_faulty_file_is_left_out_where_it_is_not_needed(
    root: Path, capsys: Capture, content: str | bytes, file: str
) -> None:
    house.write(root / "papers/toys/bad/paper.yaml", house.CARD.replace("slug: alpha", "slug: bad"))
    house.write(root / "papers/toys/bad/mini.yaml", house.RECIPE)
    (root / "papers/toys/bad" / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    for command in (["list"], ["compare", "--benchmark", "coins"], ["list", "--benchmark", "coins", "--names"]):
        code, out, err = papers(root, capsys, *command)
        assert code == 0 and "lpha" in out
        (line,) = [line for line in err.splitlines() if "left out" in line]
        assert line.startswith(f"papers: left out: papers/toys/bad/{file}:")
    assert papers(root, capsys, "list", "--names")[1].split() == ["alpha", "bad", "beta"]
    assert papers(root, capsys, "show", "alpha")[0] == 0
    for command in (["show", "bad"], ["rerun", "bad", "--dry-run"], ["report"]):
        code, out, err = papers(root, capsys, *command)
        assert code == 2 and f"papers/toys/bad/{file}" in err and len(err.splitlines()) == 1


def test_two_papers_of_one_name_stop_none_but_themselves(root: Path, capsys: Capture) -> None:
    house.write(root / "papers/games/beta/paper.yaml", house.CARD)
    code, out, err = papers(root, capsys, "list")
    assert code == 0 and "alpha" in out and "left out: two papers are named 'beta'" in err
    assert papers(root, capsys, "show", "alpha")[0] == 0
    assert papers(root, capsys, "show", "beta")[0] == 2


def test_output_degrades_to_what_the_terminal_shows() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    run = process("show", "albef", env=environment)
    assert run.returncode == 0 and run.stdout.isascii() and "raceback" not in run.stderr


def test_without_a_home_directory() -> None:
    # A user that the system does not know: neither HOME nor the password file says where home is.
    program = (
        "import os, pathlib, sys\n"
        "def nowhere(path): raise RuntimeError('Could not determine home directory.')\n"
        "pathlib.Path.expanduser = nowhere\n"
        "from harness.cli import main\nsys.exit(main(['data', 'list']))"
    )
    run = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True)
    assert run.returncode == 2 and len(run.stderr.splitlines()) == 1 and "CONTRASTIVE_PAPERS_CACHE" in run.stderr


def test_output_that_was_closed() -> None:
    run = subprocess.run(
        ["sh", "-c", f"'{sys.executable}' -m harness.cli list --names >&- 2>&-"], cwd=REPOSITORY, capture_output=True
    )
    assert run.returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_output_to_a_full_disk() -> None:
    with Path("/dev/full").open("w") as full:
        words = [sys.executable, "-m", "harness.cli", "data", "list"]
        run = subprocess.run(words, cwd=REPOSITORY, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (run.returncode, run.stderr) == (2, "papers: No space left on device\n")


def test_sigterm_exits_with_143(root: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def terminated(_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(commands, "list_papers", terminated)
    assert papers(root, capsys, "list")[0] == 143
    assert signal.getsignal(signal.SIGTERM) == before
