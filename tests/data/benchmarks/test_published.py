"""The loaders of published data sets, on tiny fixtures laid out like the real ones."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from common.errors import UserError
from data.benchmarks.cifar import TEST, TRAIN, Cifar10
from data.benchmarks.sts import SICK, STS, STSB, YEARS


class LengthAndVowels(nn.Module):
    """A sentence by its length and its vowels: enough for a correlation."""

    def embed_text(self, texts: list[str]) -> torch.Tensor:
        return torch.tensor([[len(t), 1.0 + sum(t.count(v) for v in "aeiou")] for t in texts])


@pytest.fixture
def cifar(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for k, file in enumerate([*TRAIN, TEST]):
        labels = np.arange(20, dtype=np.uint8) % 10
        records = np.concatenate([labels[:, None], random.integers(0, 256, (20, 3072), dtype=np.uint8)], axis=1)
        records[0, 1:] = k  # red, green and blue of the first picture of each file
        (tmp_path / file).parent.mkdir(exist_ok=True)
        records.tofile(tmp_path / file)
    return tmp_path


def test_cifar_reads_labels_and_planes_of_the_binary_version(cifar: Path) -> None:
    benchmark = Cifar10(batch_size=10, data_root=str(cifar))
    benchmark.gallery_per_class = 10
    benchmark.prepare_data()
    benchmark.setup()
    train, test = benchmark.splits["train"], benchmark.splits["test"]
    assert train.pixels.shape == (100, 3, 32, 32) and test.pixels.shape == (20, 3, 32, 32)
    assert train.labels.bincount().tolist() == [10] * 10
    assert (train.pixels[20] == 1).all() and (test.pixels[0] == 5).all()
    assert not set(train.ids.tolist()) & set(test.ids.tolist())
    batch = benchmark.augmented(next(iter(benchmark.train_dataloader())), epoch=0)
    assert batch.views.shape == (2, 10, 3, 32, 32)
    assert benchmark.val_dataloader() == []
    with pytest.raises(UserError, match="split is 'val'; it must be 'test'"):
        benchmark.evaluate(nn.Module(), "val")


def test_a_missing_data_set_says_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data_root is None; get it from https://www\.cs\.tor.*cite Krizhevsky"):
        Cifar10().prepare_data()
    with pytest.raises(UserError, match=r"wiki1m_for_simcse\.txt is not in"):
        STS(data_root=str(tmp_path)).prepare_data()


@pytest.fixture
def sts(tmp_path: Path) -> Path:
    pairs = [("a cat", "the cat sat", "4.5"), ("dogs bark loudly", "a dog", "3.0"), ("xyz", "queueing aeons", "0.5")]
    for year, names in YEARS.items():
        folder = tmp_path / "STS" / f"{year}-en-test"
        folder.mkdir(parents=True)
        for name in names:
            unrated = [("never", "rated", "")]
            rows = pairs + unrated
            (folder / f"STS.input.{name}.txt").write_text("".join(f"{a}\t{b}\n" for a, b, _ in rows))
            (folder / f"STS.gs.{name}.txt").write_text("".join(f"{g}\n" for _, _, g in rows))
    (tmp_path / "STS/STSBenchmark").mkdir()
    for file in STSB.values():
        (tmp_path / file).write_text("".join(f"main-news\tMSRpar\t2012\t1\t{g}\t{a}\t{b}\n" for a, b, g in pairs))
    (tmp_path / "SICK").mkdir()
    rows = "".join(f"{k}\t{a}\t{b}\t{g}\tNEUTRAL\n" for k, (a, b, g) in enumerate(pairs))
    (tmp_path / SICK).write_text("pair_ID\tsentence_A\tsentence_B\trelatedness_score\tentailment_judgment\n" + rows)
    (tmp_path / "wiki1m_for_simcse.txt").write_text("One sentence.\nAnother one.\n\nA third.\n")
    with (tmp_path / "nli_for_simcse.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["sent0", "sent1", "hard_neg"], ["p", "e, with a comma", "c"], ["p2", "e2", "c2"]])
    return tmp_path


def test_sts_scores_every_year_as_one_list(sts: Path) -> None:
    benchmark = STS(data_root=str(sts))
    tasks = benchmark.tasks("test")
    assert list(tasks) == ["sts12", "sts13", "sts14", "sts15", "sts16", "stsb", "sick-r"]
    assert len(tasks["sts12"].gold) == 3 * 5, "unrated pairs are left out, subsets are joined"
    assert tasks["sick-r"].first[1] == "dogs bark loudly" and tasks["stsb"].gold == [4.5, 3.0, 0.5]
    metrics = benchmark.evaluate(LengthAndVowels())
    assert metrics["spearman/sts7"] == pytest.approx(sum(v for k, v in metrics.items() if k != "spearman/sts7") / 7)
    assert list(benchmark.evaluate(LengthAndVowels(), "val")) == ["spearman/stsb-dev"]


def test_sts_trains_on_both_published_sets(sts: Path) -> None:
    wiki = next(iter(STS(batch_size=3, data_root=str(sts)).train_dataloader()))
    assert sorted(wiki.text) == ["A third.", "Another one.", "One sentence."]
    nli = next(iter(STS(train="nli", batch_size=2, data_root=str(sts)).train_dataloader()))
    assert sorted(zip(nli.anchor, nli.positive, nli.negative, strict=True)) == [
        ("p", "e, with a comma", "c"),
        ("p2", "e2", "c2"),
    ]
