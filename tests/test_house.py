"""The shape of the house: who may import whom, and how small a paper's module stays."""

import ast
import io
import re
import statistics
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted(ROOT.glob("papers/*/*/module.py"))


PACKAGES = ("common", "data", "papers", "harness")
"""From the ground up: each may import itself and what stands before it."""
ROOMS = ("recipes", "records", "running", "fitting", "pages", "scaffold", "audit", "cli")
"""Of the harness, likewise; the files beside them serve all of them and import none."""


def imported(source: str) -> set[str]:
    """The modules of this house that a file reaches, inside functions and by strings too.

    A string counts where it looks like a dotted path into one of the packages ("data.benchmarks.digits.Digits", as in
    `import_module` or a class path) or like a path of folders ("data" / "checkpoints", "data/checkpoints").
    """
    names: set[str] = set()
    tree = ast.parse(source)
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                names |= {alias.name for alias in node.names}
            case ast.ImportFrom(module=str(module)):
                names |= {f"{module}.{alias.name}" for alias in node.names}
            case ast.Constant(value=str(text)) if id(node) not in docstrings:
                if re.fullmatch(r"\w+(\.\w+)+(:\w+)?", text) and is_module(text):
                    names.add(text)
                elif re.fullmatch(r"\w+(/[\w.-]+)+", text) and (ROOT / text.split("/")[0]).is_dir():
                    names.add(text.replace("/", "."))
            case ast.BinOp(op=ast.Div(), right=ast.Constant(value=str(text))) if text in PACKAGES:
                names.add(text)
    return {name for name in names if name.split(".")[0] in PACKAGES}


def is_module(text: str) -> bool:
    """Whether "data.benchmarks.digits" or "data.benchmarks.digits:Digits" leads to a file: "data.seed" is a key."""
    first, second = re.split(r"[.:]", text)[:2]
    return (ROOT / first / second).is_dir() or (ROOT / first / f"{second}.py").is_file()


def arrows_up(package: str, source: str) -> list[str]:
    """What a file of `package` must not reach."""
    above = PACKAGES[PACKAGES.index(package) + 1 :]
    return sorted(name for name in imported(source) if name.split(".")[0] in above)


@pytest.mark.parametrize("package", PACKAGES[:-1])
def test_arrows_point_one_way(package: str) -> None:
    files = {str(path.relative_to(ROOT)): path.read_text() for path in (ROOT / package).rglob("*.py")}
    assert not {path: wrong for path, source in files.items() if (wrong := arrows_up(package, source))}


def rooms_up(room: str | None, source: str) -> list[str]:
    """What a file in that room of the harness, or beside the rooms, must not reach."""
    above = ROOMS[ROOMS.index(room) + 1 :] if room else ROOMS
    names = (name.split(".") for name in imported(source) if name.startswith("harness."))
    return sorted(".".join(parts) for parts in names if parts[1] in above)


def test_rooms_of_the_harness_point_one_way() -> None:
    files = {path: path.relative_to(ROOT / "harness").parts[:-1] for path in (ROOT / "harness").rglob("*.py")}
    assert {room[0] for room in files.values() if room} == set(ROOMS)
    assert not {
        str(path): wrong for path, room in files.items() if (wrong := rooms_up(*(room or [None]), path.read_text()))
    }
    assert rooms_up("records", "def f():\n    from harness.pages.report import write")
    assert rooms_up(None, "from harness.recipes import catalog")
    assert not rooms_up("cli", "from harness.pages.report import write")


@pytest.mark.parametrize(
    "line",
    [
        "import data",
        "def f():\n    from papers.video.tmr.module import TMR",
        "import_module('data.benchmarks')",
        "pydoc.locate('papers.video.tmr.module.TMR')",
        "check = 'papers.scaling.siglip.properties:ring'",
        "Path(__file__).parents[2] / 'data' / 'checkpoints'",
        "open('data/checkpoints/mini_bert/config.json')",
        "from harness import catalog",
    ],
)
def test_an_arrow_up_is_seen(line: str) -> None:
    assert arrows_up("common", line)


@pytest.mark.parametrize(
    "line", ["f'data.{name} is 3'", "'data.seed'", "from common import data_like", '"""data.sources"""']
)
def test_what_is_no_arrow_is_let_be(line: str) -> None:
    assert not arrows_up("common", line)


def borrowed(own: str, source: str) -> list[str]:
    """What a file of the paper `own` takes out of another paper's folder besides its module."""
    others = [name.split(".") for name in imported(source) if name.startswith("papers.") and name.count(".") > 2]
    return sorted(".".join(parts) for parts in others if parts[2] != own and parts[3] != "module")


def test_what_two_papers_share_stands_in_common() -> None:
    files = {path: borrowed(path.parent.name, path.read_text()) for path in sorted(ROOT.glob("papers/*/*/*.py"))}
    assert not {str(path.relative_to(ROOT)): found for path, found in files.items() if found}


def test_a_borrowed_helper_is_seen() -> None:
    line = "from papers.audio.const.hardening import repeat_tokens"
    assert borrowed("tmr", line) and not borrowed("const", line)
    assert not borrowed("tmr", "from papers.vision_language.clip.module import CLIP")


def code_lines(path: Path) -> int:
    """Lines with code on them: no blanks, no comments, no docstrings."""
    text = path.read_text()
    docstrings = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            docstrings |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    skipped = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in skipped:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return len(lines - docstrings)


def test_a_paper_reads_in_one_sitting() -> None:
    lengths = {str(path.parent.relative_to(ROOT)): code_lines(path) for path in MODULES}
    assert statistics.median(lengths.values()) <= 100
    assert max(lengths.values()) <= 130, lengths


def test_inheritance_stays_shallow() -> None:
    """At most two classes between LightningModule and a paper's twist of a paper: the base and what it twists."""
    import importlib
    import inspect

    import lightning as L

    for path in MODULES:
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for _, cls in inspect.getmembers(importlib.import_module(name), inspect.isclass):
            if cls.__module__ == name and issubclass(cls, L.LightningModule):
                ours = [c for c in cls.__mro__ if c.__module__.split(".")[0] in {"papers", "common"}]
                twist = sum(c.__module__.startswith("papers") for c in ours)
                assert len(ours) - twist <= 1, f"{cls}: more than one base from common"
                assert twist <= 2, f"{cls}: a twist of a twist"


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["show", "supcon"]])
def test_reading_commands_do_not_load_torch(arguments: list[str]) -> None:
    program = (
        "import sys\nfrom harness.cli import main\n"
        "try:\n    code = main(sys.argv[1:])\nexcept SystemExit as stop:\n    code = stop.code\n"
        "assert not code, code\nassert 'torch' not in sys.modules and 'lightning' not in sys.modules"
    )
    run = subprocess.run([sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip()
