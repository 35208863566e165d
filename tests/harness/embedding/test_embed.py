"""`papers embed`: the file, going on after an interruption, and what is refused."""

import errno
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import papers
from common.embedding.embedder import Embedder
from harness import cli
from harness.embedding import embed as embedding
from harness.embedding.parts import Parts
from papers.scaling.siglip.module import SigLIP
from tests.harness.embedding.lines import Lines
from tests.papers.trained import save

LINES = "tests.harness.embedding.lines.Lines"
TEXTS = ("--column", "text", "--batch_size", "2")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    method = SigLIP(image_encoder="small_convnet", width=8, text_encoder="bag_of_words")
    return save(tmp_path_factory.mktemp("trained") / "siglip.ckpt", method, image=[3, 24, 24])


@pytest.fixture(autouse=True)
def small_parts(monkeypatch) -> Iterator[None]:
    monkeypatch.setattr(embedding, "PART", 4)
    return


def run(checkpoint: Path, out: Path, *options: str) -> int:
    words = ["embed", "siglip", "--ckpt_path", str(checkpoint), "--data", LINES, "--out", str(out)]
    return cli.main([*words, *options])


def test_vectors_stand_beside_their_ids(checkpoint, tmp_path, capsys) -> None:
    assert run(checkpoint, tmp_path / "a.parquet", *TEXTS) == 0
    table = pq.read_table(tmp_path / "a.parquet")
    vectors = np.stack(table["vector"].to_numpy())
    assert table["id"].to_pylist() == list(range(100, 121)) and vectors.dtype == np.float32
    lines = Lines()
    lines.setup()
    wanted = papers.load("siglip", checkpoint).encode(lines.splits["test"].text)
    assert np.allclose(vectors, wanted, atol=1e-6)
    assert run(checkpoint, tmp_path / "a.npy", *TEXTS) == 0
    assert np.array_equal(np.load(tmp_path / "a.npy"), vectors)
    assert np.load(tmp_path / "a.ids.npy").tolist() == list(range(100, 121))
    assert capsys.readouterr().out.split() == [str(tmp_path / name) for name in ("a.parquet", "a.npy", "a.ids.npy")]
    assert run(checkpoint, tmp_path / "b.npy", "--column", "pixels", "--normalize", "--data.size", "5") == 0
    unit = np.load(tmp_path / "b.npy")
    assert unit.shape == (5, 64) and np.allclose(np.linalg.norm(unit, axis=1), 1, atol=1e-6)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.ids.npy", "a.npy", "a.parquet", "b.ids.npy", "b.npy"]


@pytest.mark.parametrize("suffix", [".parquet", ".npy"])
def test_killed_in_the_middle_it_goes_on_and_ends_in_the_same_file(checkpoint, tmp_path, suffix, monkeypatch) -> None:
    whole, out = tmp_path / f"whole{suffix}", tmp_path / f"out{suffix}"
    assert run(checkpoint, whole, *TEXTS) == 0
    keep = Parts.write

    def killed(self: Parts, part: int, vectors: np.ndarray) -> None:
        if part == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        keep(self, part, vectors)

    child = os.fork()
    if child == 0:
        Parts.write = killed  # type: ignore[method-assign]
        os._exit(run(checkpoint, out, *TEXTS))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    parts = tmp_path / f"out{suffix}.parts"
    assert sorted(path.name for path in parts.glob("0*")) == [f"{part:06}.npy" for part in range(3)]
    assert not out.exists()
    embedded = []
    encode = Embedder.encode
    monkeypatch.setattr(Embedder, "encode", lambda self, items, **o: embedded.append(items) or encode(self, items, **o))
    assert run(checkpoint, out, *TEXTS) == 0
    assert sum(map(len, embedded)) == 21 - 3 * 4
    assert out.read_bytes() == whole.read_bytes() and not parts.exists()


def test_a_full_disk_leaves_the_parts_readable(checkpoint, tmp_path, monkeypatch, capsys) -> None:
    out, save_array = tmp_path / "out.npy", np.save
    with monkeypatch.context() as full:

        def no_space(file, array) -> None:
            if len(list((tmp_path / "out.npy.parts").glob("0*"))) == 2:
                file.write(b"half")
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            save_array(file, array)

        full.setattr(np, "save", no_space)
        assert run(checkpoint, out, *TEXTS) == 2
    error = capsys.readouterr().err
    assert "the disk is full; what is done stays in" in error and error.count("\n") == 1
    kept = sorted((tmp_path / "out.npy.parts").iterdir())
    assert [path.name for path in kept] == ["000000.npy", "000001.npy", "plan.json"]
    assert np.load(kept[0]).shape == (4, 64)
    # Another request does not go on from them, and a part that is no array is named.
    assert run(checkpoint, out, *TEXTS, "--normalize") == 2
    assert "holds parts of another request: its normalize was False and is True" in capsys.readouterr().err
    kept[1].write_bytes(b"half")
    assert run(checkpoint, out, *TEXTS) == 2
    assert "000001.npy is damaged" in capsys.readouterr().err
    kept[1].unlink()
    assert run(checkpoint, out, *TEXTS) == 0
    assert run(checkpoint, tmp_path / "whole.npy", *TEXTS) == 0
    assert out.read_bytes() == (tmp_path / "whole.npy").read_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "lines has several columns to embed: text, pixels; name one with --column"),
        (("--column", "txt"), "--column is 'txt' (did you mean 'text'?); lines has: text, pixels"),
        (("--column", "text", "--split", "dev"), "split is 'dev'; lines has: test"),
        (("--data.sise", "3"), "unknown option data.sise (did you mean 'size'?); Lines takes"),
        (("--column", "text", "--data.size", "many"), "data.size is 'many'; it must be a whole number"),
        (("--batch_size", "0"), "argument --batch_size: '0' is not a whole number of at least 1"),
        (("--device", "abacus"), "--device is 'abacus'; this machine has no such device"),
        (("--colour", "red"), "unknown arguments: --colour red"),
        (("--out", "x.csv"), "--out is 'x.csv'; it must end in .parquet or .npy"),
        (("--ckpt_path", "nowhere.ckpt"), "--ckpt_path: nowhere.ckpt does not exist"),
        (("--config", "fulll.yaml"), "siglip has no recipe 'fulll.yaml'"),
    ],
)
def test_a_wrong_request_is_one_line(checkpoint, tmp_path, capsys, options, message) -> None:
    assert run(checkpoint, tmp_path / "out.npy", *options) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"papers: {message}") and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_there_is_not_replaced(checkpoint, tmp_path, capsys) -> None:
    (tmp_path / "out.npy").write_text("mine")
    assert run(checkpoint, tmp_path / "out.npy", *TEXTS) == 2
    assert "exists; name another file" in capsys.readouterr().err
    assert run(checkpoint, tmp_path / "no/out.npy", *TEXTS) == 2
    assert "there is no folder" in capsys.readouterr().err


def test_the_plan_says_what_decides_the_vectors(checkpoint, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(Parts, "finish", lambda self: [])
    assert run(checkpoint, tmp_path / "out.npy", *TEXTS) == 0
    plan = json.loads((tmp_path / "out.npy.parts/plan.json").read_text())
    assert plan["paper"] == "siglip" and plan["data"] == "lines-21" and len(plan["checkpoint"]) == 64
    assert plan["count"] == 21 and plan["rows"] == 4 and plan["column"] == "text"
