"""Reads files out of a wheel, an sdist, an npm tarball, a Debian package or a folder. Nothing is installed or run."""

import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from common.errors import UserError


class Archive:
    """The files of one source by their path inside its archive, such as "usr/share/x/y.gz" for a Debian package.

    Args:
        path: the archive's file, or a folder that holds the same inner paths.
        source: the source's name, for messages.
    """

    def __init__(self, path: Path, source: str) -> None:
        self.path = path
        self.source = source

    def files(self, prefix: str = "", suffix: str | tuple[str, ...] = "") -> Iterator[tuple[str, bytes]]:
        """Yields (path, content) of the files below `prefix` with this suffix, in one pass over the archive."""
        walk = _walk_folder if self.path.is_dir() else _WALKS[self.path.suffix]
        with self._clear_damage():
            yield from walk(self.path, prefix, suffix)

    def read(self, path: str) -> bytes:
        """The content of one file."""
        return self.read_all([path])[path]

    def read_all(self, paths: Iterable[str]) -> dict[str, bytes]:
        """The contents of several files, in one pass.

        Raises:
            UserError: a file is missing or the archive is damaged.
        """
        wanted = set(paths)
        if self.path.is_dir():
            found = {path: (self.path / path).read_bytes() for path in wanted if (self.path / path).is_file()}
        elif zipfile.is_zipfile(self.path):
            with self._clear_damage(), zipfile.ZipFile(self.path) as file:
                found = {path: file.read(path) for path in wanted & set(file.namelist())}
        else:
            found = {path: content for path, content in self.files(suffix=tuple(wanted)) if path in wanted}
        if missing := sorted(wanted - set(found)):
            raise UserError(f"source {self.source}: {missing[0]} is missing in {self.path}")
        return found

    @contextmanager
    def _clear_damage(self) -> Iterator[None]:
        try:
            yield
        except (zipfile.BadZipFile, tarfile.TarError, lzma.LZMAError, zlib.error, EOFError) as error:
            raise UserError(
                f"source {self.source}: {self.path} is damaged ({error}); delete it and fetch again"
            ) from error


def _walk_folder(path: Path, prefix: str, suffix: str | tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    # `prefix` is a folder or the beginning of names in one; walking from that folder keeps "/" usable as a root.
    folder = path / prefix if prefix.endswith("/") else (path / prefix).parent if prefix else path
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(path).as_posix()
        if name.startswith(prefix) and name.endswith(suffix) and file.is_file():
            yield name, file.read_bytes()


def _walk_zip(path: Path, prefix: str, suffix: str | tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.startswith(prefix) and name.endswith(suffix) and not name.endswith("/"):
                yield name, archive.read(name)


def _walk_tar(path: Path, prefix: str, suffix: str | tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(path) as archive:
        yield from _members(archive, prefix, suffix)


def _walk_deb(path: Path, prefix: str, suffix: str | tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    with path.open("rb") as file:
        name = _seek_data(file)
        if name.endswith(".zst") and "zst" not in tarfile.TarFile.OPEN_METH:
            raise UserError(
                f"{path.name} is compressed with Zstandard, which this Python cannot read; use 3.14 or later"
            )
        with tarfile.open(fileobj=_Window(file)) as archive:  # type: ignore[arg-type]
            yield from _members(archive, prefix, suffix)


def _members(archive: tarfile.TarFile, prefix: str, suffix: str | tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    for member in archive:
        name = member.name.removeprefix("./")
        if member.isfile() and name.startswith(prefix) and name.endswith(suffix):
            content = archive.extractfile(member)
            assert content is not None  # regular files and hard links always have one
            yield name, content.read()


def _seek_data(file: BinaryIO) -> str:
    """Moves `file`, a .deb, to the first byte of its data member and returns that member's name.

    A .deb is an ar archive: an eight-byte magic, then members with a 60-byte header (name 16, ..., size in decimal at
    byte 48), each padded to an even length.
    """
    if file.read(8) != b"!<arch>\n":
        raise tarfile.ReadError("not a Debian package")
    while len(header := file.read(60)) == 60:
        name, size = header[:16].decode("ascii").strip().rstrip("/"), int(header[48:58])
        if name.startswith("data.tar"):
            return name
        file.seek(size + size % 2, 1)
    raise tarfile.ReadError("no data member in the Debian package")


class _Window:
    """A file seen from where it stands now, so that tarfile may seek inside one member of a .deb."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.start = file.tell()

    def read(self, size: int = -1) -> bytes:
        return self.file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.file.seek(offset + self.start if whence == 0 else offset, whence) - self.start

    def tell(self) -> int:
        return self.file.tell() - self.start

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True


_WALKS = {".whl": _walk_zip, ".zip": _walk_zip, ".gz": _walk_tar, ".tgz": _walk_tar, ".deb": _walk_deb}
