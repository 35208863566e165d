"""Parallel text as published, on a fixture in the layout of its authors."""

from pathlib import Path

import pytest
import torch
from torch import nn

from common.errors import UserError
from data.benchmarks.published.parallel_text import ParallelText

LINES = {
    "parallel/en-fr.en.txt": "one\ntwo\nthree\nfour\nfive\n",
    "parallel/en-fr.fr.txt": "un\ndeux\ntrois\nquatre\ncinq\n",
    "parallel/en-tr.en.txt": "six\nseven\n",
    "parallel/en-tr.tr.txt": "alti\nyedi\n",
    "tatoeba/tatoeba.fra-eng.fra": "deux\nun\n",
    "tatoeba/tatoeba.fra-eng.eng": "two\none\n",
    "tatoeba/tatoeba.tur-eng.tur": "alti\nyedi\n",
    "tatoeba/tatoeba.tur-eng.eng": "six\nseven\n",
}


class Dictionary(nn.Module):
    """Knows French, and of Turkish nothing."""

    def embed_text(self, texts: list[str]) -> torch.Tensor:
        known = {"one": 0, "un": 0, "two": 1, "deux": 1}
        return torch.eye(3)[[known.get(text, 2) for text in texts]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in LINES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_lines_go_in_groups_of_one_pair_of_languages(folder: Path) -> None:
    benchmark = ParallelText(batch_size=6, together=2, data_root=str(folder))
    benchmark.prepare_data()
    assert benchmark.sizes() == {"train": 6} and benchmark.languages == ["en", "fr", "tr"]  # the fifth line is over
    assert next(iter(benchmark.texts)) == ("one", "un") and len(benchmark.texts) == 6
    loader = benchmark.train_dataloader()
    seen = set()
    for epoch in range(8):
        loader.order.set_epoch(epoch)
        (batch,) = loader
        assert sorted(batch.ids.tolist()) == [0, 1, 2, 3, 4, 5]
        for k, (source, target, first, second, number) in enumerate(zip(*batch, strict=True)):
            pair = {("en", "fr", "tr")[first]: source, ("en", "fr", "tr")[second]: target}
            assert pair["en"] == ("one", "two", "three", "four", "six", "seven")[number]
            assert pair.get("fr", pair.get("tr")) == ("un", "deux", "trois", "quatre", "alti", "yedi")[number]
            together = k - k % 2
            assert first == batch.source_language[together] and second == batch.target_language[together]
            seen.add((int(first), int(second)))
    assert seen == {(0, 1), (1, 0), (0, 2), (2, 0)}


def test_translations_are_found_both_ways(folder: Path) -> None:
    benchmark = ParallelText(batch_size=4, data_root=str(folder))
    found = benchmark.evaluate(Dictionary())
    assert found["recall@1_fra/tatoeba"] == 1.0 and found["recall@1_tur/tatoeba"] == 0.0
    assert found[benchmark.primary] == 0.5
    with pytest.raises(UserError, match="split is 'val'; parallel_text has none but 'test'"):
        benchmark.evaluate(Dictionary(), "val")


def test_bad_requests_are_named(folder: Path) -> None:
    with pytest.raises(UserError, match=r"data.together is 3; it must divide data.batch_size, which is 64"):
        ParallelText(together=3)
    (folder / "parallel" / "en-tr.tr.txt").write_text("alti\n")
    with pytest.raises(UserError, match=r"en-tr.en.txt"):
        ParallelText(batch_size=4, data_root=str(folder)).setup()
    for path in (folder / "parallel").iterdir():
        path.unlink()
    with pytest.raises(UserError, match=r"holds no pair of files such as en-zh.en.txt and en-zh.zh.txt"):
        ParallelText(batch_size=4, data_root=str(folder)).setup()
