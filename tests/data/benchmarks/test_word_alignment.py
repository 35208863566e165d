"""Word alignment as published, on a fixture in the author's layout."""

from pathlib import Path

import pytest
from torch import nn

from common.errors import UserError
from common.evaluation.alignment import Links
from data.benchmarks.published.word_alignment import WordAlignment


class Diagonal(nn.Module):
    def align_words(self, source: list[list[str]], target: list[list[str]]) -> list[Links]:
        return [{(at, at) for at in range(min(map(len, pair)))} for pair in zip(source, target, strict=True)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "ro-en").mkdir()
    files = {
        "merge": "Casa mea\tMy  house \nDa .\tYes .\nNu\u00a0prea\tNo\nfara tab\n",
        "test": "Casa mea\tMy house\nDa .\tYes .\n",
        "test-wa": "num-1 1 -> 2 S\nnum-1 2 -> 1 S\nnum-2 1 -> 1 S\nnum-2 2 -> 2 P\n",
    }
    for part, text in files.items():
        (tmp_path / "ro-en" / f"ro-en-{part}.txt").write_text(text, encoding="utf-8")
    return tmp_path


def test_lines_become_words_and_links(folder: Path) -> None:
    benchmark = WordAlignment("ro-en", batch_size=3, data_root=str(folder))
    benchmark.prepare_data()
    assert benchmark.sizes() == {"train": 3, "test": 2} and benchmark.val_dataloader() == []
    assert [*benchmark.parallel()] == [
        (["casa", "mea"], ["my", "house"]), (["da", "."], ["yes", "."]), (["nu\u00a0prea"], ["no"])
    ]  # fmt: skip
    batch = next(iter(benchmark.train_dataloader()))
    assert {*map(tuple, batch.source)} == {("casa", "mea"), ("da", "."), ("nu\u00a0prea",)}
    assert batch.target[batch.source.index(["nu\u00a0prea"])] == ["no"]
    found = benchmark.evaluate(Diagonal())
    # Of four links one is sure and one more possible; of three sure ones one is found.
    assert found["precision/sentences"] == pytest.approx(2 / 4) and found["recall/sentences"] == pytest.approx(1 / 3)
    assert found["aer/sentences"] == pytest.approx(1 - (1 + 2) / (4 + 3))


def test_bad_requests_are_named(folder: Path) -> None:
    with pytest.raises(UserError, match=r"data.pair is 'en-zh'; it must be 'en-fr', 'ro-en' or 'de-en'"):
        WordAlignment("en-zh")
    benchmark = WordAlignment("ro-en", data_root=str(folder))
    with pytest.raises(UserError, match="split is 'val'; word_alignment has none but 'test'"):
        benchmark.evaluate(Diagonal(), "val")
    (folder / "ro-en" / "ro-en-test-wa.txt").write_text("num-3 1 -> 1 S\n")
    with pytest.raises(UserError, match="expected a link of a sentence, such as 'num-3 1 -> 2 S'"):
        WordAlignment("ro-en", data_root=str(folder)).setup()
