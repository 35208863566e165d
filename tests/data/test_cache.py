"""The cache holds whole files or none."""

import errno
import multiprocessing
import os
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from common.errors import UserError
from data import cache as module
from data.cache import (
    ReadOnly,
    cache_root,
    cached_tensors,
    checksum,
    is_intact,
    locked,
    recorded_file,
    usage,
    whole_file,
)
from data.pin import Pin

SOURCE = Pin("s", "title", "pip", "p", "1", "p-1-py3-none-any.whl", "0" * 64, 3, "licence", "citation")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CONTRASTIVE_PAPERS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_variable_sets_the_folder(cache: Path) -> None:
    assert cache_root() == cache


def test_files_are_readable_for_whom_the_umask_lets(cache: Path) -> None:
    before = os.umask(0o022)
    try:
        with recorded_file(cache / "x.bin") as part:
            part.write_text("x")
    finally:
        os.umask(before)
    assert {file.stat().st_mode & 0o777 for file in cache.rglob("*") if file.is_file()} == {0o644}


def test_what_a_killed_process_left_is_written_over(cache: Path) -> None:
    cache.mkdir()
    (cache / ".part-x.bin").write_text("half of it")
    with whole_file(cache / "x.bin") as part:
        assert part.read_bytes() == b""
        part.write_text("x")
    assert [path.name for path in cache.iterdir()] == ["x.bin"]


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


@pytest.mark.parametrize("given", [None, "~nobody-of-this-name/cache"])
def test_cache_without_a_home_is_one_line(given: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    if given is None:
        monkeypatch.delenv("CONTRASTIVE_PAPERS_CACHE")
        monkeypatch.setattr(Path, "expanduser", homeless)
    else:
        monkeypatch.setenv("CONTRASTIVE_PAPERS_CACHE", given)
    with pytest.raises(UserError, match="CONTRASTIVE_PAPERS_CACHE"):
        cache_root()


def test_cache_of_too_long_a_name_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTRASTIVE_PAPERS_CACHE", str(tmp_path / ("x" * 300)))
    for use in (lambda: cached_tensors("t", dict, [], version=1), lambda: locked("x").__enter__()):
        with pytest.raises(UserError, match="cannot write to the cache"):
            use()


def test_checksum_is_computed_once_for_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, calls = tmp_path / "x", []
    path.write_bytes(b"one")
    compute = module.hashlib.file_digest
    monkeypatch.setattr(module.hashlib, "file_digest", lambda *given: calls.append(1) or compute(*given))
    first = checksum(path)
    assert checksum(path) == first and len(calls) == 1
    (tmp_path / "y").write_bytes(b"two")
    os.utime(tmp_path / "y", ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    (tmp_path / "y").replace(path)  # another file of the same size and time
    assert checksum(path) != first and len(calls) == 2


def test_record_tells_every_change(cache: Path) -> None:
    path = cache / "folder" / "x.bin"
    with recorded_file(path, "made of y\n") as part:
        part.write_bytes(bytes(range(50)))
    assert is_intact(path, "made of y\n") and not is_intact(path, "made of z\n")
    path.write_bytes(bytes(range(1, 51)))
    assert not is_intact(path, "made of y\n")
    path.unlink()
    assert not is_intact(path, "made of y\n")
    assert usage() == {
        "checksums": sum(file.stat().st_size for file in (cache / "checksums/folder").iterdir()),
        "folder": 0,
    }


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


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "another"])
def test_damaged_tensors_are_built_again(damage: str, cache: Path) -> None:
    def build() -> dict[str, torch.Tensor]:
        return {"x": torch.ones(1000)}

    cached_tensors("t", build, [], version=1)
    (file,) = (cache / "derived").iterdir()
    content = file.read_bytes()
    flipped = content[:-10] + bytes([content[-10] ^ 1]) + content[-9:]
    file.write_bytes({"cut": content[:100], "flipped": flipped, "empty": b"", "another": content[::-1]}[damage])
    assert torch.equal(cached_tensors("t", build, [], version=1)["x"], torch.ones(1000))
    assert torch.equal(cached_tensors("t", build, [], version=1)["x"], torch.ones(1000))
    assert file.read_bytes() == content


def test_tensors_of_a_cache_that_is_only_read(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there is read without a lock; what is not is built and not kept."""
    calls = []

    def build() -> dict[str, torch.Tensor]:
        calls.append(1)
        return {"x": torch.ones(3)}

    def read_only(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    cached_tensors("t", build, [], version=1)
    monkeypatch.setattr(module, "FileLock", read_only)
    cached_tensors("t", build, [], version=1)
    assert len(calls) == 1
    assert torch.equal(cached_tensors("t", build, [], version=2)["x"], torch.ones(3))
    assert len(calls) == 2 and len(list((cache / "derived").iterdir())) == 1
    with pytest.raises(ReadOnly, match="cannot write to the cache"), locked("x"):
        pass


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
