"""Damaged input of every kind, drawn by a fixed seed: each ends in one line and exit code 2, or is fine after all.

Nothing in it is executed, nothing on record is lost, and no fault of ours shows, which would be told with a traceback.
"""

import io
import json
import pickle
import random
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from common.errors import UserError
from common.training.checkpoint import read_checkpoint
from data.archives import Archive, clear_damage, unpack_deb
from harness import cli

Capture = pytest.CaptureFixture[str]

SNIPPETS = [
    b"\x00",
    b"\xff\xfe",
    b"\xe2\x80\xa8",
    b"&x [*x]",
    b"<<: *x",
    b"[" * 700,
    b"!!python/object/apply:builtins.open [executed, w]",
    b"!!binary aGk=",
    b"? {a: 1}",
    b"1" * 5000,
    b"1e999",
    b".nan",
    b"-1",
    b"null",
    b"''",
    b"../../../etc/passwd",
    b"__import__('os').system('touch executed')",
    b"${HOME}",
    b"{{7*7}}",
    b"%s%n",
    b"\t",
    b"---\n",
    b"{a: b}",
    b"true",
]


def damaged(content: bytes, rng: random.Random) -> bytes:
    """The content after one to three mishaps: bytes flipped, cut, doubled, moved, or a snippet in their place."""
    for _ in range(rng.randint(1, 3)):
        a, b = sorted(rng.randrange(len(content) + 1) for _ in range(2))
        b = min(b, a + rng.choice((1, 8, 40, 400)))
        kind = rng.randrange(6)
        if kind == 0:
            content = content[:a] + bytes(rng.randrange(256) for _ in content[a:b]) + content[b:]
        elif kind == 1:
            content = content[:a] + content[b:]
        elif kind == 2:
            content = content[:b] + content[a:b] + content[b:]
        elif kind == 3:
            content = content[:a]
        else:
            lines = content.split(b"\n")
            at = rng.randrange(len(lines))
            key, colon, _ = lines[at].partition(b":")
            snippet = rng.choice(SNIPPETS)
            lines[at] = key + colon + b" " + snippet if kind == 4 else snippet
            content = b"\n".join(lines)
        content = content or b"x"
    return content


@pytest.fixture
def run(root: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., int]]:
    """A command on the house whose end is checked; afterwards, that nothing was executed."""
    monkeypatch.syspath_prepend(str(root))
    monkeypatch.setattr(sys, "argv", ["papers"])
    monkeypatch.chdir(root)

    def papers(*words: str) -> int:
        capsys.readouterr()
        try:
            code = cli.main(words, root)
        except SystemExit as end:  # argparse's, after --print_config
            code = int(end.code or 0)
        err = capsys.readouterr().err
        assert code in (0, 1, 2) and "raceback" not in err, (words, err)
        if code == 2:
            assert err.splitlines()[-1].startswith("papers: "), (words, err)
        assert all(len(line) < 2000 for line in err.splitlines())
        return code

    yield papers
    assert not list(root.rglob("executed"))


def test_cards(root: Path, run: Callable[..., int]) -> None:
    rng = random.Random(1)
    path = root / "papers/toys/alpha/paper.yaml"
    sound = path.read_bytes()
    codes = set()
    for _ in range(150):
        path.write_bytes(damaged(sound, rng))
        assert run("list") == 0
        codes.add(run("show", "alpha"))
        run("new", "mine", "--like", "alpha")
        for file in (root / "papers").glob("*/mine/*"):
            file.unlink()
        for folder in (root / "papers").glob("*/mine"):
            folder.rmdir()
    assert codes == {0, 2}


def test_recipes(root: Path, run: Callable[..., int]) -> None:
    rng = random.Random(2)
    path = root / "papers/toys/alpha/mini.yaml"
    sound = path.read_bytes()
    for number in range(60):
        path.write_bytes(damaged(sound, rng))
        assert run("list") == 0
        run("show", "alpha")
        run("fit", "alpha", "--help")
        if number % 4 == 0:
            run("rerun", "alpha", "--dry-run")


def test_records(root: Path, run: Callable[..., int]) -> None:
    rng = random.Random(3)
    path = root / "results/runs/alpha.jsonl"
    sound = path.read_bytes()
    deep, large = b'{"a":' * 50_000, b'{"seed": ' + b"1" * 400 + b"}"
    for number in range(100):
        content = damaged(sound, rng) if number > 2 else sound + [deep, large, b"NaN"][number] + b"\n"
        path.write_bytes(content)
        assert run("list") == 0
        assert run("show", "alpha") == 0
        assert run("compare", "--benchmark", "coins") in (0, 2)
        assert path.read_bytes() == content


@pytest.mark.parametrize(
    "file",
    [
        "results/items/alpha.jsonl",
        "results/tuning/alpha.jsonl",
        "results/stale/alpha.jsonl",
        "results/floors/coins-coins-0.0.json",
        "papers/toys/alpha/README.md",
        "CITATION.cff",
        "README.md",
    ],
)
def test_what_stands_beside_the_records(root: Path, run: Callable[..., int], file: str) -> None:
    rng, path = random.Random(7), root / file
    if not path.exists():  # the lines of another file are as wrong as any
        path.parent.mkdir(exist_ok=True)
        path.write_bytes((root / "results/runs/alpha.jsonl").read_bytes())
    sound = path.read_bytes()
    for number in range(12):
        path.write_bytes(damaged(sound, rng) if number else sound + b"\xab")
        run("show", "alpha")
        if number in (0, 7):  # draws figures
            run("report", "alpha")
            run("verify", "alpha")


VALUES = [
    *("", "[1, 2", "{a: 1}", "x" * 3000, "\u2028", "&a [*a]", "1" * 5000, "a\nb", "\udcff", "--", "=", "'", "-1", "0"),
    *("1e999", "nan", "null", "true", "!!python/name:os.system", "../..", "~nobody_at_all/x", "2.5", "-7"),
]
KEYS = [
    *("--model", "--model.temperature", "--model.x.y", "--model.init_args.temperature", "--data", "--data.noise"),
    *("--trainer", "--trainer.max_steps", "--trainer.devices", "--trainer.precision", "--trainer.callbacks"),
    *(
        "--config",
        "-c",
        "--seed_everything",
        "--ckpt_path",
        "--init_from",
        "--x",
        "--data.batch_size",
        "--trainer.max_time",
    ),
]


def test_overrides(root: Path, run: Callable[..., int]) -> None:
    rng = random.Random(4)
    for number in range(200):
        words = []
        for _ in range(rng.randint(1, 2)):
            key, value = rng.choice(KEYS), rng.choice(VALUES)
            words += [f"{key}={value}"] if rng.random() < 0.4 else [key, value]
        # Parsed to the end by LightningCLI, and stopped before anything is built; most are refused before that.
        run("fit", "alpha", *words, *(["--print_config"] if number % 20 == 0 else ["--unknown", "1"]))
    for key in ("--seeds", "--workers", "--experiment", "--recipe", "--precision", "--devices", "--results"):
        for value in VALUES:
            run("rerun", "alpha", key, value.replace("\0", ""), "--dry-run", "--experiment", "nothing")


def archive_bytes(kind: str) -> bytes:
    buffer, files = io.BytesIO(), {"a/one.txt": b"one", "b/two.txt": b"two" * 4000}
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return buffer.getvalue()
    with tarfile.open(fileobj=buffer, mode="w:xz" if kind == "deb" else "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    data = buffer.getvalue()
    if kind == "tgz":
        return data
    header = f"{'data.tar.xz':<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode()
    return b"!<arch>\n" + header + data


@pytest.mark.parametrize(("kind", "suffix"), [("zip", ".whl"), ("tgz", ".tgz"), ("deb", ".deb")])
def test_archives(tmp_path: Path, kind: str, suffix: str) -> None:
    rng, sound = random.Random(5), archive_bytes(kind)
    path, target = tmp_path / f"x{suffix}", tmp_path / "unpacked.tar"
    for _ in range(200):
        path.write_bytes(damaged(sound, rng))
        try:
            with clear_damage(path, "toy"):
                if kind == "deb":
                    unpack_deb(path, target)
                    found = dict(Archive(target, "toy").files())
                else:
                    found = dict(Archive(path, "toy").files())
            assert all(isinstance(content, bytes) for content in found.values())
        except UserError as error:
            assert "\n" not in str(error) and len(str(error)) < 600
    assert {entry.name for entry in tmp_path.iterdir()} <= {path.name, target.name}


class Executes:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, ("executed", "w")


def test_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rng, buffer = random.Random(6), io.BytesIO()
    torch.save({"state_dict": {"w": torch.ones(50)}, "hyper_parameters": {"lr": 0.1}}, buffer)
    old = io.BytesIO()
    torch.save({"state_dict": {"w": torch.ones(50)}}, old, _use_new_zipfile_serialization=False)
    code = io.BytesIO()
    torch.save({"state_dict": {"w": Executes()}}, code)
    sound = [buffer.getvalue(), old.getvalue(), code.getvalue(), pickle.dumps(Executes()), json.dumps([1]).encode()]
    taken = 0
    for number in range(300):
        content = sound[number % len(sound)]
        Path("x.ckpt").write_bytes(damaged(content, rng) if number >= len(sound) else content)
        try:
            assert isinstance(read_checkpoint("x.ckpt", "--ckpt_path")["state_dict"], dict)
            taken += 1
        except UserError as error:
            assert "\n" not in str(error) and len(str(error)) < 400
    assert taken >= 2 and not Path("executed").exists()
