"""Reads files out of wheels, sdists, npm tarballs, Debian packages and folders. Nothing is installed, run or written.

An archive may hold no more than `RATIO` times its own size and `SLACK`, in at most `MEMBERS` members of at most
`LARGEST` bytes: a bomb is refused before it unfolds. Links, devices and paths that lead out of it are refused too.
"""

import errno
import gzip
import io
import lzma
import re
import stat
import struct
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from common.errors import UserError

RATIO, SLACK = 20, 1 << 20
MEMBERS = 100_000
LARGEST = 1 << 29
_CHUNK = 1 << 20

_DAMAGE = (zipfile.BadZipFile, tarfile.TarError, lzma.LZMAError, zlib.error, struct.error, EOFError,
           ValueError, OverflowError, RuntimeError, LookupError)  # fmt: skip
"""What the readers of the standard library raise about bytes that are no sound archive."""


class Refused(UserError):
    """An archive that is sound, and is not read for what it holds; or one that is none."""


@contextmanager
def clear_damage(path: Path, source: str) -> Iterator[None]:
    """Turns what the readers raise about a damaged archive into a UserError of one line."""
    try:
        yield
    except Refused as error:
        raise UserError(f"source {source}: {path} {_line(error)}") from None
    except (*_DAMAGE, OSError) as error:
        # Of the system's errors only this one is about the bytes: a place to read from that lies before the file.
        if isinstance(error, OSError) and not isinstance(error, gzip.BadGzipFile) and error.errno != errno.EINVAL:
            raise
        raise UserError(f"source {source}: {path} is damaged ({_line(error)}); delete it and fetch again") from error


def _line(error: Exception) -> str:
    """What an error says, in one line of a bearable length: some quote a name as long as the archive."""
    said = " ".join(str(error).split()) or type(error).__name__
    return said if len(said) <= 200 else f"{said[:200]} ..."


class Archive:
    """The files of one source by their path inside its archive, such as "usr/share/x/y.gz" for a Debian package.

    Args:
        path: the archive's file, or a folder that holds the same inner paths.
        source: the source's name, for messages.
        content: the archive itself where it is not a file; `path` then only names it.
    """

    def __init__(self, path: Path, source: str, content: bytes | None = None) -> None:
        self.path = path
        self.source = source
        self._content = content

    def files(self, prefix: str = "", suffix: str | tuple[str, ...] = "") -> Iterator[tuple[str, bytes]]:
        """Yields (path, content) of the files below `prefix` with this suffix, in one pass over the archive.

        Raises:
            UserError: the archive is damaged, too large once unpacked, or holds what no source needs.
        """
        if self._content is None and self.path.is_dir():
            yield from self._files_of_folder(prefix, suffix)
        else:
            yield from self._members(lambda name: name.startswith(prefix) and name.endswith(suffix))

    def read(self, path: str) -> bytes:
        """The content of one file."""
        return self.read_all([path])[path]

    def read_all(self, paths: Iterable[str]) -> dict[str, bytes]:
        """The contents of several files, in one pass.

        Raises:
            UserError: a file is missing, or as in `files`.
        """
        wanted = set(paths)
        if self._content is None and self.path.is_dir():
            found = {path: self._file(self.path / path) for path in wanted if (self.path / path).is_file()}
        else:
            found = dict(self._members(wanted.__contains__))
        if missing := sorted(wanted - set(found)):
            raise UserError(f"source {self.source}: {missing[0]} is missing in {self.path}")
        return found

    def inner(self, path: str) -> "Archive":
        """The archive that is one of the files."""
        return Archive(self.path / path, self.source, self.read(path))

    def unzipped(self, *paths: str) -> list[bytes]:
        """The contents of files that are compressed by gzip, each by itself."""
        files = self.read_all(paths)
        contents = []
        for path in paths:
            with clear_damage(self.path / path, self.source), gzip.open(io.BytesIO(files[path])) as stream:
                contents.append(b"".join(_bounded(stream, len(files[path]))))
        return contents

    def _members(self, chosen: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
        with clear_damage(self.path, self.source):
            kind = self.path.suffix
            if kind not in _WALKS:
                raise Refused(f"is of the kind {kind or 'without a suffix'!r}; it must be one of {', '.join(_WALKS)}")
            with self.path.open("rb") if self._content is None else io.BytesIO(self._content) as file:
                size = file.seek(0, io.SEEK_END)
                file.seek(0)
                yield from _WALKS[kind](file, size, chosen)

    def _files_of_folder(self, prefix: str, suffix: str | tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
        # `prefix` is a folder or the beginning of names in one; walking from there keeps "/" usable as a root.
        below = self.path / prefix
        for file in sorted((below if prefix.endswith("/") or not prefix else below.parent).rglob("*")):
            name = file.relative_to(self.path).as_posix()
            if name.startswith(prefix) and name.endswith(suffix) and file.is_file():
                yield name, self._file(file)

    def _file(self, path: Path) -> bytes:
        try:
            return path.read_bytes()
        except OSError as error:
            raise UserError(f"source {self.source}: {path} cannot be read: {error.strerror}") from None


def _walk_zip(file: BinaryIO, size: int, chosen: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(file) as archive:
        total = 0
        for number, member in enumerate(archive.infolist(), start=1):
            total += member.file_size
            _check(member.filename, member.file_size, number, total, size)
            if member.flag_bits & 0x1:
                raise Refused(f"is encrypted ({member.filename!r})")
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise Refused(f"is compressed in a way that is not read, number {member.compress_type}")
        for member in archive.infolist():
            if chosen(member.filename) and not member.is_dir():
                if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG):
                    raise Refused(f"holds {member.filename!r} as a link or device; it must be a file")
                with archive.open(member) as stream:
                    # Never more than is declared and checked, whatever the compressed bytes unfold to.
                    yield member.filename, stream.read(member.file_size + 1)


def _walk_tar(file: BinaryIO, size: int, chosen: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    stream = _Bounded(file, size)
    # In one direction only: so no header makes the reader ask for more than `_Bounded` gives.
    with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Header) as archive:
        total = 0
        for number, member in enumerate(archive, start=1):
            name, total = member.name.removeprefix("./"), total + member.size
            _check(name, member.size, number, total, size)
            if member.isdir() or not (member.isreg() or chosen(name)):
                continue
            if not member.isreg() or member.issparse():
                raise Refused(f"holds {name!r} as a link or device; it must be a file")
            if chosen(name):
                content = archive.extractfile(member)
                assert content is not None  # regular files always have one
                yield name, content.read()
    while stream.read(_CHUNK):  # to its end, where gzip keeps the checksum
        pass


def _walk_tgz(file: BinaryIO, size: int, chosen: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    with gzip.open(file) as stream:
        yield from _walk_tar(stream, size, chosen)


_WALKS = {".whl": _walk_zip, ".zip": _walk_zip, ".gz": _walk_tgz, ".tgz": _walk_tgz, ".tar": _walk_tar}


def _check(name: str, length: int, number: int, total: int, size: int) -> None:
    if name.startswith("/") or ".." in name.split("/") or "\0" in name:
        raise Refused(f"holds the path {name!r}, which leads out of it")
    if number > MEMBERS:
        raise Refused(f"holds more than {MEMBERS:,} members")
    if not 0 <= length <= LARGEST or total > _most(size):
        raise Refused(f"holds {max(length, total):,} bytes or more; at most {min(LARGEST, _most(size)):,} are read")


def _most(size: int) -> int:
    return RATIO * size + SLACK


def _bounded(stream: BinaryIO, size: int) -> Iterator[bytes]:
    """The chunks of a decompressed stream, as long as they are no more than an archive of `size` bytes may hold."""
    total = 0
    while chunk := stream.read(_CHUNK):
        total += len(chunk)
        if total > _most(size):
            raise Refused(f"holds more than {_most(size):,} bytes")
        yield chunk


class _Bounded:
    """A stream that ends in an error where more is read than an archive of `size` bytes may hold."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream = stream
        # The headers of a tar come on top of its files: one or two blocks each, and the padding.
        self._most = self._left = _most(size) + 2048 * (_most(size) // 1024)

    def read(self, length: int) -> bytes:
        chunk = self._stream.read(min(length, self._left + 1))
        self._left -= len(chunk)
        if self._left < 0:
            raise Refused(f"holds more than {self._most:,} bytes")
        return chunk


class _Header(tarfile.TarInfo):
    """By itself the reader takes a broken header for the end of the archive."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> "tarfile.TarInfo":
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"broken header: {error}") from None


# Name (16 bytes), owner and times (32), size in decimal (10), and two bytes that end the header.
_AR_HEADER = re.compile(rb"(.{16}).{32}(?=.{10}`\n)([0-9]+) *`\n", re.DOTALL)


def unpack_deb(path: Path, target: Path) -> None:
    """Writes the data member of a Debian package to `target` as a plain tar.

    The compressed member allows no jumping about: every look inside would cost a pass of many seconds. A .deb is an ar
    archive: an eight-byte magic, then members with a header of 60 bytes, each padded to an even length.
    """
    with path.open("rb") as file, target.open("wb") as tar:
        end = file.seek(0, io.SEEK_END)
        file.seek(0)
        if file.read(8) != b"!<arch>\n":
            raise tarfile.ReadError("not a Debian package")
        while header := file.read(60):
            if (match := _AR_HEADER.fullmatch(header)) is None:
                raise tarfile.ReadError("broken header in the Debian package")
            name, size = match[1].decode("ascii").strip().rstrip("/"), int(match[2])
            if file.tell() + size > end:
                raise EOFError("it ends too early")
            if name.startswith("data.tar"):
                with _decompressed(io.BufferedReader(_Part(file, size)), name.removeprefix("data.tar")) as stream:
                    tar.writelines(_bounded(stream, end))
                return
            file.seek(size + size % 2, io.SEEK_CUR)
    raise tarfile.ReadError("no data member in the Debian package")


def _decompressed(file: BinaryIO, kind: str) -> BinaryIO:
    if kind == ".zst" and sys.version_info >= (3, 14):
        from compression.zstd import ZstdFile

        return ZstdFile(file)
    if kind in (".xz", ".gz"):
        return lzma.open(file) if kind == ".xz" else gzip.open(file)
    raise Refused(f"is compressed with {kind or 'nothing'}; it must be .xz, .gz or, since Python 3.14, .zst")


class _Part(io.RawIOBase):
    """The next `size` bytes of a file."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._left = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        chunk = self._file.read(min(len(buffer), self._left))
        self._left -= len(chunk)
        buffer[: len(chunk)] = chunk
        return len(chunk)
