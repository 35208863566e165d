"""Where the records and logs of a command lie."""

import argparse
from pathlib import Path

from common.paths import as_path


def results_of(given: argparse.Namespace) -> Path:
    option = getattr(given, "results", None)
    return given.root / "results" if option is None else Path.cwd() / as_path(option, "--results")


def logs_of(given: argparse.Namespace) -> Path:
    return given.root / "logs" if given.results is None else results_of(given) / "logs"
