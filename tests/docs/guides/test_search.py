"""The code of docs/guides/search.md, run as it stands there."""

import re
from pathlib import Path

import numpy as np
import pytest

from harness import cli
from papers.sentence.simcse.module import SimCSE
from tests.papers.trained import save

PAGE = Path(__file__).parents[3] / "docs/guides/search.md"


def blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize(("library", "block"), [("faiss", 1), ("hnswlib", 2)])
def test_the_page_finds_the_nearest(library, block, tmp_path, monkeypatch, capsys) -> None:
    pytest.importorskip(library)
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "simcse.ckpt", SimCSE(pooling="mean", layers=1))
    assert cli.main(["export", "simcse", "--ckpt_path", "simcse.ckpt", "--out", "my-simcse"]) == 0
    lines = ["--data", "tests.harness.embedding.lines.Lines", "--data.size", "50", "--normalize"]
    assert cli.main(["embed", "simcse", "--ckpt_path", "my-simcse", *lines, "--out", "glosses.parquet"]) == 0
    names: dict = {}
    exec(blocks()[0], names)
    cosines = names["vectors"] @ names["query"][0]
    capsys.readouterr()
    exec(blocks()[block], names)
    found = [line.split() for line in capsys.readouterr().out.splitlines()]
    best = np.argsort(-cosines)[:5]
    assert [float(cosine) for cosine, _ in found] == pytest.approx(cosines[best], abs=1e-3)
    assert int(found[0][1]) == names["ids"][best[0]]


def test_the_page_has_a_block_for_each_library() -> None:
    assert [re.search(r"import (faiss|hnswlib|papers)", block)[1] for block in blocks()] == [
        "papers",
        "faiss",
        "hnswlib",
    ]
