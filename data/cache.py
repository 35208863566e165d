"""The cache folder outside the repository: a file in it is whole or absent, for any number of processes at once.

What is in it may be read without writing anything, so that many people may share a cache that they cannot write to.
"""

import errno
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from common.errors import UserError
from common.paths import as_path
from data.pin import Pin

if TYPE_CHECKING:
    from torch import Tensor

VARIABLE = "CONTRASTIVE_PAPERS_CACHE"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)
# A file where a folder should be, a name that is too long, a network folder without locks, a broken disk ...
_UNUSABLE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.EFBIG, errno.ENAMETOOLONG, errno.ELOOP,
             errno.EIO, errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.ENOTEMPTY)  # fmt: skip


class ReadOnly(UserError):
    """The cache is there and may not be written to; what it holds can still be read."""


def cache_root() -> Path:
    """The cache folder: what CONTRASTIVE_PAPERS_CACHE says, else ~/.cache/contrastive-papers.

    Raises:
        UserError: there is no such home folder.
    """
    return as_path(os.environ.get(VARIABLE) or "~/.cache/contrastive-papers", VARIABLE)


def _there() -> bool:
    try:
        return cache_root().is_dir()
    except OSError:  # a folder above it may not be entered
        return False


@contextmanager
def clear_disk_errors() -> Iterator[None]:
    """Turns a full disk and a folder without write permission into a UserError of one line."""
    try:
        yield
    except (OSError, NotImplementedError) as error:
        # NotImplementedError is what the lock raises on a file system that has none.
        number = error.errno if isinstance(error, OSError) else errno.ENOLCK
        if number in _FULL:
            raise UserError(
                f"the disk that holds the cache {cache_root()} is full; free some space, or set {VARIABLE} to a "
                "folder on another disk"
            ) from error
        if number in (*_READ_ONLY, *_UNUSABLE):
            kind = ReadOnly if number in _READ_ONLY and _there() else UserError
            raise kind(
                f"cannot write to the cache {cache_root()} ({os.strerror(number)}); set {VARIABLE} to a folder that "
                "you may write to"
            ) from error
        raise


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Holds the lock `name` of the cache; a second process waits here until the first is done.

    Raises:
        ReadOnly: the cache may not be written to.
        UserError: it cannot be used at all.
    """
    with clear_disk_errors():
        folder = cache_root() / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f"{name}.lock")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yields a temporary path to write; it takes the place of `path` only once it is complete and on the disk.

    Whoever writes holds a lock for this path.
    """
    with clear_disk_errors():
        path.parent.mkdir(parents=True, exist_ok=True)
        # Always the same name: what a killed process left there is written over, and takes no room for ever.
        part = path.with_name(f".part-{path.name}")
        part.unlink(missing_ok=True)
        part.touch()
        try:
            yield part
            # Without the sync, a power cut after the rename could leave an empty file under the final name.
            with part.open("rb") as file:
                os.fsync(file.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


_checksums: dict[Path, tuple[tuple[int, ...], str]] = {}


def checksum(path: Path) -> str:
    """The SHA-256 of a file, computed once in a process for as long as the file stays the same."""
    status = path.stat()
    # The time of change (ctime) is there because nobody can set it back, as they can the time of modification.
    state = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
    if path not in _checksums or _checksums[path][0] != state:
        with path.open("rb") as file:
            _checksums[path] = state, hashlib.file_digest(file, "sha256").hexdigest()
    return _checksums[path][1]


@contextmanager
def recorded_file(path: Path, origin: str = "") -> Iterator[Path]:
    """As `whole_file`, for a file of the cache; a note of its checksum and its origin is kept for `is_intact`."""
    with whole_file(path) as part:
        yield part
    with whole_file(_note(path)) as part:
        part.write_text(_noted(path, origin), encoding="utf-8")


def is_intact(path: Path, origin: str = "") -> bool:
    """Whether a recorded file is what was once written there, out of this origin. Needs no lock."""
    with clear_disk_errors():
        try:
            return _note(path).read_bytes() == _noted(path, origin).encode()
        except (FileNotFoundError, PermissionError):
            return False


def _note(path: Path) -> Path:
    return cache_root() / "checksums" / f"{path.relative_to(cache_root())}.sha256"


def _noted(path: Path, origin: str) -> str:
    return f"{checksum(path)}  {path.name}\n{origin}"  # as sha256sum writes and checks it


def cached_tensors(
    name: str,
    build: Callable[[], "dict[str, Tensor]"],
    sources: Sequence[Pin],
    version: int,
    data_root: str | None = None,
    **options: Any,
) -> "dict[str, Tensor]":
    """The tensors that `build` returns, built once and read from a safetensors file afterwards.

    A file that is no longer what was written is built again. Where a shared cache lacks them and may not be written
    to, they are built and not kept.

    Args:
        name: what they are, for the file's name.
        build: makes them.
        sources: what they are made from; another checksum is another file.
        version: of `build`; raise it with every change to what it makes.
        data_root: files in a folder carry no checksum, so with one nothing is cached and `build` runs each time.
        options: plain values that `build` depends on.
    """
    from safetensors.torch import load_file

    if data_root is not None:
        return build()
    key = json.dumps([version, [source.sha256 for source in sources], options], sort_keys=True)
    path = cache_root() / "derived" / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.safetensors"
    if is_intact(path):
        return load_file(path)
    with ExitStack() as held:
        try:
            held.enter_context(locked(f"derived-{name}"))
        except ReadOnly:
            return build()
        if is_intact(path):  # another process was faster
            return load_file(path)
        tensors = {key: tensor.contiguous() for key, tensor in build().items()}
        with recorded_file(path) as part:
            _save(tensors, part)
    return tensors


def _save(tensors: "dict[str, Tensor]", path: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(tensors, path)
    except SafetensorError as error:  # the system's error, of which only the text is left
        if number := re.search(r"os error (\d+)", str(error)):
            raise OSError(int(number[1]), os.strerror(int(number[1]))) from error
        raise


def usage() -> dict[str, int]:
    """Bytes that each folder of the cache takes: "archives" as fetched and unpacked, "derived" tensors, "locks"."""
    with clear_disk_errors():
        folders = [folder for folder in sorted(cache_root().glob("*")) if folder.is_dir()]
        return {
            folder.name: sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) for folder in folders
        }
