"""Where the records and logs of a command lie."""

import argparse
from pathlib import Path

from common.errors import UserError
from common.paths import as_path
from harness.files import is_installed, workplace


def results_of(given: argparse.Namespace) -> Path:
    """The records that a command reads: those that the repository or the package came with, or of --results."""
    option = getattr(given, "results", None)
    return given.root / "results" if option is None else Path.cwd() / as_path(option, "--results")


def kept_in(given: argparse.Namespace) -> Path:
    """Where a command puts what it runs on record: as `results_of`, and never among the files of a package."""
    return workplace(given.root) / "results" if getattr(given, "results", None) is None else results_of(given)


def logs_of(given: argparse.Namespace) -> Path:
    return workplace(given.root) / "logs" if given.results is None else results_of(given) / "logs"


def needs_checkout(given: argparse.Namespace) -> None:
    """Raises UserError where a command would write among the files of an installed package."""
    if is_installed(given.root):
        words = " ".join([given.command, *([given.action] if hasattr(given, "action") else [])])
        raise UserError(
            f"papers {words} writes into a checkout of the repository, and only the package is installed here: "
            "clone the repository and run it there"
        )
