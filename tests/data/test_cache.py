"""The cache holds whole files or none."""

import errno
import multiprocessing
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from common.errors import UserError
from data.cache import cache_root, cached_tensors, locked, whole_file
from data.sources.base import Source

SOURCE = Source("s", "title", "pip", "p", "1", "p-1-py3-none-any.whl", "0" * 64, 3, "licence", "citation")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CONTRASTIVE_PAPERS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_variable_sets_the_folder(cache: Path) -> None:
    assert cache_root() == cache


def test_interrupted_write_leaves_the_old_file(cache: Path) -> None:
    path = cache / "file.txt"
    with whole_file(path) as part:
        part.write_text("old")
    with pytest.raises(KeyboardInterrupt), whole_file(path) as part:
        part.write_text("ne")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(cache.iterdir()) == [path]


@pytest.mark.parametrize(
    ("code", "message"),
    [(errno.ENOSPC, "is full"), (errno.EACCES, "cannot write to the cache"), (errno.EROFS, "cannot")],
)
def test_disk_errors_are_one_line(code: int, message: str, cache: Path) -> None:
    with pytest.raises(UserError, match=message) as caught, whole_file(cache / "file"):
        raise OSError(code, "of the system")
    assert "\n" not in str(caught.value)
    assert "CONTRASTIVE_PAPERS_CACHE" in str(caught.value)


def test_cache_below_a_file_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CONTRASTIVE_PAPERS_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="cannot write to the cache"), locked("x"):
        pass


def test_tensors_are_built_once_and_keyed_by_everything() -> None:
    calls = []

    def build() -> dict[str, torch.Tensor]:
        calls.append(1)
        return {"x": torch.arange(6).view(2, 3).T}

    first = cached_tensors("t", build, [SOURCE], version=1, size=32)
    again = cached_tensors("t", build, [SOURCE], version=1, size=32)
    assert len(calls) == 1
    assert torch.equal(first["x"], again["x"])
    cached_tensors("t", build, [SOURCE], version=2, size=32)
    cached_tensors("t", build, [SOURCE], version=1, size=64)
    cached_tensors("t", build, [], version=1, size=32)
    assert len(calls) == 4
    cached_tensors("t", build, [SOURCE], version=1, size=32, data_root="/folder")
    assert len(calls) == 5


def test_damaged_tensors_are_built_again(cache: Path) -> None:
    def build() -> dict[str, torch.Tensor]:
        return {"x": torch.ones(1000)}

    cached_tensors("t", build, [], version=1)
    (file,) = (cache / "derived").iterdir()
    file.write_bytes(file.read_bytes()[:100])
    assert torch.equal(cached_tensors("t", build, [], version=1)["x"], torch.ones(1000))
    assert torch.equal(cached_tensors("t", build, [], version=1)["x"], torch.ones(1000))


@pytest.mark.parametrize(("code", "message"), [(errno.ENOSPC, "is full"), (errno.EFBIG, "File too large")])
def test_tensors_that_do_not_fit_are_one_line(
    code: int, message: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(tensors: dict, path: Path) -> None:
        raise SafetensorError(f"Error while serializing: I/O error: what the system says (os error {code})")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(UserError, match=message):
        cached_tensors("t", lambda: {"x": torch.ones(2)}, [], version=1)
    assert not list((cache / "derived").iterdir())


def _count(path: Path, times: int) -> None:
    for _ in range(times):
        with locked("count"):
            path.write_text(str(int(path.read_text()) + 1))


def test_lock_holds_between_processes(tmp_path: Path) -> None:
    path = tmp_path / "count"
    path.write_text("0")
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_count, args=(path, 200)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert path.read_text() == "400"
