"""The cache folder outside the repository: a file in it is whole or absent, for any number of processes at once."""

import errno
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from common.errors import UserError
from common.paths import as_path

if TYPE_CHECKING:
    from torch import Tensor

    from data.sources.base import Source

VARIABLE = "CONTRASTIVE_PAPERS_CACHE"


def cache_root() -> Path:
    """The cache folder: what CONTRASTIVE_PAPERS_CACHE says, else ~/.cache/contrastive-papers."""
    return as_path(os.environ.get(VARIABLE) or "~/.cache/contrastive-papers", VARIABLE)


@contextmanager
def clear_disk_errors() -> Iterator[None]:
    """Turns a full disk and a folder without write permission into a UserError of one line."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"the disk that holds the cache {cache_root()} is full; free some space, or set {VARIABLE} to a "
                "folder on another disk"
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EFBIG):
            raise UserError(
                f"cannot write to the cache {cache_root()} ({error.strerror}); set {VARIABLE} to a folder that you may "
                "write to"
            ) from error
        raise


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Holds the lock `name` of the cache; a second process waits here until the first is done."""
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
    """Yields a temporary path to write; it takes the place of `path` only once it is complete and on the disk."""
    with clear_disk_errors():
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".part-", suffix=path.suffix)
        os.close(handle)
        part = Path(name)
        try:
            yield part
            # Without the sync, a power cut after the rename could leave an empty file under the final name.
            with part.open("rb") as file:
                os.fsync(file.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def cached_tensors(
    name: str,
    build: Callable[[], "dict[str, Tensor]"],
    sources: "Sequence[Source]",
    version: int,
    data_root: str | None = None,
    **options: Any,
) -> "dict[str, Tensor]":
    """The tensors that `build` returns, built once and read from a safetensors file afterwards.

    Args:
        name: what they are, for the file's name.
        build: makes them.
        sources: what they are made from; another checksum is another file.
        version: of `build`; raise it with every change to what it makes.
        data_root: files in a folder carry no checksum, so with one nothing is cached and `build` runs each time.
        options: plain values that `build` depends on.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file, save_file

    if data_root is not None:
        return build()
    key = json.dumps([version, [source.sha256 for source in sources], options], sort_keys=True)
    path = cache_root() / "derived" / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.safetensors"
    with locked(f"derived-{name}"):
        if path.exists():
            with suppress(SafetensorError):  # damaged after it was written: build it again
                return load_file(path)
        tensors = {key: tensor.contiguous() for key, tensor in build().items()}
        with whole_file(path) as part:
            try:
                save_file(tensors, part)
            except SafetensorError as error:  # the system's error, of which only the text is left
                if number := re.search(r"os error (\d+)", str(error)):
                    raise OSError(int(number[1]), os.strerror(int(number[1]))) from error
                raise
    return tensors
