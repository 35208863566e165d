"""Files are read out of every kind of archive, and damage is named."""

import gzip
import io
import itertools
import random
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from common.errors import UserError
from data import archives
from data.archives import Archive, clear_damage, unpack_deb

FILES = {"a/one.txt": b"one", "a/two.bin": b"\x00\x01", "b/three.txt": b"three" * 5000}


def tar(mode: str, prefix: str = "", files: dict[str, bytes] = FILES, kind: bytes = tarfile.REGTYPE) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(prefix + name)
            member.size, member.type, member.linkname = len(content), kind, "a/one.txt"
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def wheel(files: dict[str, bytes] = FILES, method: int = zipfile.ZIP_DEFLATED, mode: int = 0o100644) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            member = zipfile.ZipInfo(name)
            member.external_attr, member.compress_type = mode << 16, method
            archive.writestr(member, content)
    return buffer.getvalue()


def encrypted(content: bytes) -> bytes:
    """A zip whose first member is marked as encrypted, in the directory at its end."""
    at = content.index(b"PK\x01\x02") + 8
    return content[:at] + bytes([content[at] | 1]) + content[at + 1 :]


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
        path.write_bytes(wheel())
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
    path.write_bytes((wheel() if kind == "whl" else tar("w:gz"))[:-60])
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


BOMB = {"a/zeros": bytes(3 << 20)}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.whl", wheel(BOMB), r"holds 3,145,728 bytes or more; at most 1,\d+,\d+ are read"),
        ("x.zip", wheel({str(k): bytes(1 << 20) for k in range(4)}), "holds .* bytes or more"),
        ("x.tgz", tar("w:gz", files=BOMB), "holds 3,145,728 bytes or more"),
        ("x.tgz", gzip.compress(tar("w", files={})[:512] + bytes(9 << 20)), "holds more than .* bytes"),
        ("x.whl", encrypted(wheel()), r"is encrypted \('a/one\.txt'\)"),
        ("x.whl", wheel(method=zipfile.ZIP_BZIP2), "is compressed in a way that is not read, number 12"),
        ("x.whl", wheel(mode=0o120777), r"holds 'a/one\.txt' as a link or device; it must be a file"),
        ("x.tar", tar("w", kind=tarfile.SYMTYPE, files={"a/b": b""}), "holds 'a/b' as a link"),
        ("x.tar", tar("w", kind=tarfile.LNKTYPE, files={"a/b": b""}), "holds 'a/b' as a link"),
        ("x.tar", tar("w", kind=tarfile.CHRTYPE, files={"a/b": b""}), "holds 'a/b' as a link or device"),
        *((name, make({inner: b""}), f"holds the path '.*{inner}', which leads out of it")
          for inner in ("../x", "/x", "a/../../x")
          for name, make in (("x.zip", wheel), ("x.tgz", lambda files: tar("w:gz", files=files)))),
        ("x.rar", b"Rar!", r"is of the kind '\.rar'; it must be one of \.whl"),
    ],
    # By number: the content of a .tgz holds the time, and all workers must call a test the same.
    ids=itertools.count(),
)  # fmt: skip
def test_archive_that_is_not_read_is_named(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"^source sample: .*{name} {message}") as caught:
        dict(Archive(tmp_path / name, "sample").files())
    assert "\n" not in str(caught.value)


def test_number_of_members_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MEMBERS", 2)
    for name, content in (("x.zip", wheel()), ("x.tgz", tar("w:gz"))):
        with pytest.raises(UserError, match="holds more than 2 members"):
            Archive(Path(name), "sample", content).read("a/one.txt")


def test_zip_that_declares_less_than_it_holds() -> None:
    """No more is unfolded than was declared, and the checksum tells."""
    content = wheel({"zeros": bytes(1000)}).replace((1000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    with pytest.raises(UserError, match="is damaged"):
        Archive(Path("x.zip"), "sample", content).read("zeros")


@pytest.mark.parametrize("mode", ["w:xz", "w:gz"])
def test_debian_package_that_unfolds_too_far(mode: str, tmp_path: Path) -> None:
    (tmp_path / "x.deb").write_bytes(deb(tar(mode, files=BOMB), f"data.tar.{mode[2:]}"))
    with pytest.raises(UserError, match="holds more than"), clear_damage(tmp_path / "x.deb", "sample"):
        unpack_deb(tmp_path / "x.deb", tmp_path / "x.tar")


def test_archive_inside_an_archive() -> None:
    outer = Archive(Path("x.zip"), "sample", wheel({"in.tgz": tar("w:gz"), "in.gz": gzip.compress(b"text")}))
    assert dict(outer.inner("in.tgz").files()) == FILES
    assert outer.unzipped("in.gz") == [b"text"]
    for inner in (wheel({"in.gz": gzip.compress(bytes(3 << 20))}), wheel({"in.gz": b"text"})):
        with pytest.raises(UserError, match=r"in\.gz (holds more than|is damaged)"):
            Archive(Path("x.zip"), "sample", inner).unzipped("in.gz")


DAMAGED: dict[str, Callable[[], bytes]] = {
    "x.whl": wheel, "x.tgz": lambda: tar("w:gz"), "x.tar": lambda: tar("w"), "x.deb": lambda: deb(tar("w:xz"))
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_any_damage_is_one_line(name: str, tmp_path: Path) -> None:
    """Flipped, cut, moved and foreign bytes: what comes out is files or one line, never another error."""
    sound, draw = DAMAGED[name](), random.Random(0)
    contents = [sound[:1], b"", sound[: len(sound) // 2], sound + b"more", *(make() for make in DAMAGED.values())]
    for _ in range(50):
        content = bytearray(sound)
        content[draw.randrange(len(sound))] ^= 1 << draw.randrange(8)
        contents += [bytes(content), sound[(at := draw.randrange(len(sound))) :] + sound[:at]]
    path = tmp_path / name
    for content in contents:
        path.write_bytes(content)
        try:
            if path.suffix == ".deb":
                with clear_damage(path, "sample"):
                    unpack_deb(path, tmp_path / "unpacked.tar")
            dict(Archive(tmp_path / "unpacked.tar" if path.suffix == ".deb" else path, "sample").files())
        except UserError as error:
            assert "\n" not in str(error) and len(str(error)) < 500


@pytest.mark.parametrize("size", [b"-4        ", b"1e3       ", b"1_0       ", b"          ", b"9999999999"])
def test_debian_package_with_a_bad_size(size: bytes, tmp_path: Path) -> None:
    content = deb(tar("w:xz"))
    (tmp_path / "x.deb").write_bytes(content[: 8 + 48] + size + content[8 + 58 :])
    with pytest.raises(UserError, match="is damaged"), clear_damage(tmp_path / "x.deb", "sample"):
        unpack_deb(tmp_path / "x.deb", tmp_path / "x.tar")
