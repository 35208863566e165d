"""Files are read out of every kind of archive, and damage is named."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from common.errors import UserError
from data.archives import Archive, clear_damage, unpack_deb

FILES = {"a/one.txt": b"one", "a/two.bin": b"\x00\x01", "b/three.txt": b"three" * 5000}


def tar(mode: str, prefix: str = "") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content in FILES.items():
            member = tarfile.TarInfo(prefix + name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def deb(data: bytes, name: str = "data.tar.xz") -> bytes:
    def member(title: str, content: bytes) -> bytes:
        header = f"{title:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode()
        return header + content + b"\n" * (len(content) % 2)

    # The control member has an odd length, so that the padding of ar is met.
    return b"!<arch>\n" + member("debian-binary", b"2.0\n") + member("control.tar.xz", b"odd") + member(name, data)


@pytest.fixture(params=["wheel", "npm", "deb", "deb/", "folder"])
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Archive:
    if request.param == "folder":
        for name, content in FILES.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(content)
        return Archive(tmp_path, "sample")
    if request.param == "wheel":
        path = tmp_path / "x-1-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as file:
            for name, content in FILES.items():
                file.writestr(name, content)
    elif request.param == "npm":
        path = tmp_path / "x-1.tgz"
        path.write_bytes(tar("w:gz"))
    else:
        package, path = tmp_path / "x_1_all.deb", tmp_path / "x_1_all.tar"
        mode, name = {"deb": ("w:xz", "data.tar.xz"), "deb/": ("w:gz", "data.tar.gz/")}[request.param]
        package.write_bytes(deb(tar(mode, "./"), name))
        unpack_deb(package, path)
    return Archive(path, "sample")


def test_reads_files(archive: Archive) -> None:
    assert archive.read("b/three.txt") == FILES["b/three.txt"]
    assert archive.read_all(["a/two.bin", "a/one.txt"]) == {name: FILES[name] for name in ("a/one.txt", "a/two.bin")}


def test_walks_by_prefix_and_suffix(archive: Archive) -> None:
    assert dict(archive.files()) == FILES
    assert [name for name, _ in archive.files("a/")] == ["a/one.txt", "a/two.bin"]
    assert [name for name, _ in archive.files("a/o")] == ["a/one.txt"]
    assert [name for name, _ in archive.files(suffix=(".txt", ".png"))] == ["a/one.txt", "b/three.txt"]


def test_missing_file_is_named(archive: Archive) -> None:
    with pytest.raises(UserError, match=r"source sample: a/none\.txt is missing"):
        archive.read_all(["a/one.txt", "a/none.txt"])


@pytest.mark.parametrize("kind", ["whl", "tgz"])
def test_truncated_archive_is_named(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"x.{kind}"
    if kind == "whl":
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("b/three.txt", FILES["b/three.txt"])
    else:
        path.write_bytes(tar("w:gz"))
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(UserError, match=r"source sample: .* is damaged"):
        Archive(path, "sample").read("b/three.txt")


@pytest.mark.parametrize(
    "content", [deb(tar("w:xz"))[:-60], deb(tar("w:gz"), "data.tar.gz")[:-30], b"text", deb(b"")[:150]]
)
def test_damaged_debian_package_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.deb"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"source sample: .* is damaged"), clear_damage(path, "sample"):
        unpack_deb(path, tmp_path / "x.tar")


def test_unknown_compression_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.deb").write_bytes(deb(b"", "data.tar.lz"))
    with pytest.raises(UserError, match=r"compressed with \.lz; .*\.xz"):
        unpack_deb(tmp_path / "x.deb", tmp_path / "x.tar")
