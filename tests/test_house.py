"""The shape of the house: who may import whom, and how small a paper's module stays."""

import ast
import io
import statistics
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted(ROOT.glob("papers/*/*/module.py"))


def imported(path: Path) -> set[str]:
    """Top-level packages that a file imports anywhere, inside functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize(("package", "forbidden"), [("common", {"papers", "data"}), ("data", {"papers"})])
def test_arrows_point_one_way(package: str, forbidden: set[str]) -> None:
    wrong = {
        str(path.relative_to(ROOT)): sorted(imported(path) & forbidden)
        for path in (ROOT / package).rglob("*.py")
        if imported(path) & forbidden
    }
    assert not wrong


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
