"""Tables and folders in every form that `datasets` reads, and what is told where there is none."""

from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from datasets import Dataset, DatasetDict

from common.errors import UserError
from data.readers import read_own, split_of
from tests.data.benchmarks import own_files

ROWS = [{"a": f"text {i}", "b": i} for i in range(6)]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTRASTIVE_PAPERS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def sizes(path: str, **options) -> dict[str, int]:
    return {split: len(source) for split, source in read_own(path, "data.path", **options).items()}


def test_every_kind_of_file_gives_the_same_texts() -> None:
    own_files.lines(Path("own.jsonl"), ROWS)
    table = Dataset.from_list(ROWS)
    table.to_csv("own.csv", index=False)
    table.to_csv("own.tsv", index=False, sep="\t")
    table.to_json("own.json", lines=False)
    table.to_parquet("own.parquet")
    table.save_to_disk("saved")
    for path in ("own.jsonl", "own.csv", "own.tsv", "own.json", "own.parquet", "saved"):
        (source,) = read_own(path, "data.path").values()
        assert source.columns == ["a", "b"] and len(source) == 6
        assert [str(row["b"]) for row in source.rows] == list("012345")
        assert source.rows.cache_files, "the rows lie on the disk, and a read takes what it asks for"
        assert source.where(4) in (f"{path}, row 5", f"{path} (train), row 5")


def test_a_parquet_file_is_read_some_rows_at_a_time_however_large_its_row_groups_are() -> None:
    rows, size = 20_000, 2000
    blob = np.random.default_rng(0).bytes(rows * size)
    table = pyarrow.table({"a": [blob[i * size : (i + 1) * size] for i in range(rows)], "b": range(rows)})
    pyarrow.parquet.write_table(table, "own.parquet", row_group_size=rows, compression="none", use_dictionary=False)
    del table, blob
    before, pool = pyarrow.default_memory_pool(), pyarrow.proxy_memory_pool(pyarrow.system_memory_pool())
    pyarrow.set_memory_pool(pool)
    try:
        (source,) = read_own("own.parquet", "data.path").values()
    finally:
        pyarrow.set_memory_pool(before)
    assert pool.max_memory() < rows * size / 3
    assert (
        len(source) == rows and source.cells("b", [0, rows - 1]) == [0, rows - 1] and len(source.rows[7]["a"]) == size
    )


def test_what_is_empty_in_other_libraries_is_a_text_here() -> None:
    Path("own.csv").write_text("a,b\n007,NA\nNone,null\n")
    (source,) = read_own("own.csv", "data.path").values()
    assert source.rows[:] == {"a": ["007", "None"], "b": ["NA", "null"]}


def test_splits_by_files_folders_and_saved_data_sets() -> None:
    table = Dataset.from_list(ROWS)
    DatasetDict({"train": table, "validation": table.select([0]), "unsupervised": table}).save_to_disk("saved")
    assert sizes("saved") == {"train": 6, "val": 1}
    Path("files").mkdir()
    for name in ("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"):
        table.to_parquet(f"files/{name}.parquet")
    found = read_own("files", "data.path")
    assert {split: len(source) for split, source in found.items()} == {"train": 12, "test": 6}
    assert found["train"].where(7) == "files/train-00001-of-00002.parquet, row 2"
    own_files.pictures(Path("pictures/train"), 2, ["red", "blue"])
    own_files.pictures(Path("pictures/val"), 1, ["red", "blue"])
    assert sizes("pictures", media="image") == {"train": 4, "val": 2}
    assert [split_of(name) for name in ("dev", "Validation", "test.v2", "trainer", "cats")] == [
        "val", "val", "test", None, None]  # fmt: skip


def test_a_folder_of_pictures_is_one_split_whatever_the_files_are_called() -> None:
    own_files.pictures(Path("pictures"), 3, ["red", "blue"])
    Path("pictures/red/0.png").rename("pictures/red/test_0.png")
    Path("pictures/notes.txt").write_text("no picture")
    (source,) = read_own("pictures", "data.path", "image").values()
    assert len(source) == 6 and source.rows.features["label"].names == ["blue", "red"]
    assert source.where(5) == "pictures/red/test_0.png"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "data.path is missing; it must be a csv, tsv"),
        ("own.txt", "own.txt: its name must end in .csv, .tsv, .json"),
        ("other.csv", "data.path is 'other.csv'; there is no such file or folder"),
        ("twice.csv", "twice.csv:1: the columns are a, a; each needs a name of its own"),
        ("empty", "data.path is 'empty', a folder without a csv, tsv, json, jsonl or parquet file"),
        ("some/set", "data.path is 'some/set'; there is no such file or folder, and the hub does not give it: "),
        ("differ", "differ/two.jsonl: its columns are c; those of differ/one.jsonl are a, b"),
    ],
)
def test_what_cannot_be_read_is_named(path: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise ConnectionError("no network in tests")

    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", refuse)
    Path("own.txt").write_text("x")
    Path("twice.csv").write_text("a,a\n1,2\n")
    Path("empty").mkdir()
    Path("differ").mkdir()
    own_files.lines(Path("differ/one.jsonl"), ROWS)
    own_files.lines(Path("differ/two.jsonl"), [{"c": "x"}])
    with pytest.raises(UserError) as error:
        read_own(path, "data.path")
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


def test_code_of_a_data_set_is_never_run(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {}

    def load(*arguments: object, **options: object) -> Dataset:
        given.update(options)
        return {"train": Dataset.from_list(ROWS)}

    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", lambda *_, **__: None)
    monkeypatch.setattr("datasets.load_dataset", load)
    assert sizes("some/set", subset="small") == {"train": 6} and "trust_remote_code" not in given
    assert "trust_remote_code" not in Path(__file__).parents[2].joinpath("data/readers.py").read_text()
