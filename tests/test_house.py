"""The shape of the house: who may import whom, and how small a paper's module stays."""

import ast
import importlib
import inspect
import io
import re
import statistics
import subprocess
import sys
import tokenize
from pathlib import Path

import lightning as L
import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted(ROOT.glob("papers/*/*/module.py"))


PACKAGES = ("common", "data", "papers", "harness")
"""From the ground up: each may import itself and what stands before it."""
IMPORTERS = {"import_module", "__import__", "locate", "find_spec", "resolve_name"}
ROOMS = ("recipes", "records", "running", "fitting", "embedding", "pages", "site", "scaffold", "audit", "cli")
"""Of the harness, likewise; the files beside them serve all of them and import none."""


def imported(source: str) -> set[str]:
    """The modules of this house that a file reaches, inside functions and by strings too.

    A string counts where it looks like a dotted path into one of the packages ("data.benchmarks.digits.Digits", as in
    a class path, or f"data.benchmarks.{name}") or like a path of folders ("data" / "checkpoints", "data/checkpoints");
    in what a call of `import_module` and its like is given, wherever it begins with a package.
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
            case ast.JoinedStr(values=[ast.Constant(value=str(first)), *rest]):
                parts = [first, *(part.value for part in rest if isinstance(part, ast.Constant))]
                if all(re.fullmatch(r"[\w.:]*", str(part)) for part in parts) and "." in first:
                    names.add(first + "*")
            case ast.Call(func=ast.Name(id=str(called)) | ast.Attribute(attr=str(called))) if called in IMPORTERS:
                names |= {n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
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
        "importlib.import_module('papers.' + family + '.module')",
        "import_module('.'.join(('papers', family, slug)))",
        "path = f'papers.{family}.{slug}.module'",
        "default = 'data.benchmarks.mini.digits.Digits'",
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


def borrowed(own: str, names: set[str]) -> list[str]:
    """Which of the names that a file of the paper `own` reaches are another paper's, and no method."""
    return sorted(name for name in names if elsewhere(own, name) and not is_method(name))


def elsewhere(own: str, name: str) -> bool:
    """Whether a dotted name leads into another paper's folder."""
    parts = name.split(".")
    return parts[0] == "papers" and len(parts) > 3 and parts[2] != own


def is_method(name: str) -> bool:
    """Whether it names a LightningModule in a paper's module.py: that is what papers may build on and compare with."""
    module, _, own = name.rpartition(".")
    if module.count(".") != 3 or not module.endswith(".module"):
        return False
    found = getattr(importlib.import_module(module), own, None)
    return inspect.isclass(found) and issubclass(found, L.LightningModule)


def names_in(path: Path) -> set[str]:
    text = path.read_text()
    return imported(text) if path.suffix == ".py" else set(re.findall(r"\bpapers(?:\.\w+){3,}", text))


def test_what_two_papers_share_stands_in_common() -> None:
    files = [path for path in sorted(ROOT.glob("papers/*/*/*")) if path.suffix in {".py", ".yaml"}]
    found = {str(path.relative_to(ROOT)): borrowed(path.parent.name, names_in(path)) for path in files}
    assert not {path: names for path, names in found.items() if names}


def test_a_borrowed_helper_is_seen() -> None:
    helper = imported("from papers.audio.const.hardening import repeat_tokens")
    assert borrowed("tmr", helper) and not borrowed("const", helper)
    assert not borrowed("tmr", imported("from papers.vision_language.clip.module import CLIP"))
    assert borrowed("tmr", imported("from papers.vision_language.clip.module import info_nce"))
    assert borrowed("tmr", imported("from papers.vision_language.clip import module"))
    assert borrowed("tmr", imported("path = 'papers.vision_language.clip.tower.Tower'"))


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
