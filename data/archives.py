"""Reads files out of wheels, sdists, npm tarballs, Debian packages and folders. Nothing is installed or run."""

import lzma
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from common.errors import UserError


@contextmanager
def clear_damage(path: Path, source: str) -> Iterator[None]:
    """Turns what the readers raise about a damaged archive into a UserError of one line."""
    try:
        yield
    except (zipfile.BadZipFile, tarfile.TarError, lzma.LZMAError, zlib.error, EOFError) as error:
        raise UserError(f"source {source}: {path} is damaged ({error}); delete it and fetch again") from error


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
        with clear_damage(self.path, self.source):
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
            with clear_damage(self.path, self.source), zipfile.ZipFile(self.path) as file:
                found = {path: file.read(path) for path in wanted & set(file.namelist())}
        else:
            found = {path: content for path, content in self.files(suffix=tuple(wanted)) if path in wanted}
        if missing := sorted(wanted - set(found)):
            raise UserError(f"source {self.source}: {missing[0]} is missing in {self.path}")
        return found


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
        for member in archive:
            name = member.name.removeprefix("./")
            if member.isfile() and name.startswith(prefix) and name.endswith(suffix):
                content = archive.extractfile(member)
                assert content is not None  # regular files and hard links always have one
                yield name, content.read()


def unpack_deb(path: Path, target: Path) -> None:
    """Writes the data member of a Debian package to `target` as a plain tar.

    The compressed member allows no jumping about: every look inside would cost a pass of many seconds. A .deb is an ar
    archive: an eight-byte magic, then members with a header of 60 bytes (name in the first 16, size in decimal at byte
    48), each padded to an even length.
    """
    with path.open("rb") as file, target.open("wb") as tar:
        if file.read(8) != b"!<arch>\n":
            raise tarfile.ReadError("not a Debian package")
        while len(header := file.read(60)) == 60:
            name, size = header[:16].decode("ascii").strip().rstrip("/"), int(header[48:58])
            if name.startswith("data.tar"):
                return _decompress(file, size, tar, name.removeprefix("data.tar"))
            file.seek(size + size % 2, 1)
    raise tarfile.ReadError("no data member in the Debian package")


def _decompress(file: BinaryIO, size: int, target: BinaryIO, kind: str) -> None:
    if kind == ".zst" and sys.version_info >= (3, 14):
        from compression.zstd import ZstdDecompressor

        stream = ZstdDecompressor()
    elif kind in (".xz", ".gz"):
        stream = lzma.LZMADecompressor() if kind == ".xz" else zlib.decompressobj(wbits=31)
    else:
        raise UserError(
            f"a Debian package is compressed with {kind or 'nothing'}; it must be .xz, .gz or, since Python 3.14, .zst"
        )
    while size and (chunk := file.read(min(size, 1 << 20))):
        target.write(stream.decompress(chunk))
        size -= len(chunk)
    if not stream.eof:
        raise EOFError("it ends too early")


_WALKS = {".whl": _walk_zip, ".zip": _walk_zip, ".gz": _walk_tar, ".tgz": _walk_tar, ".tar": _walk_tar}
