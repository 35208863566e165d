"""The commands of docs/guides/train-for-real.md are such that `papers` takes them."""

import shlex

import pytest

from harness.cli.parser import build_parser
from harness.fitting.best import Best
from harness.fitting.learning import Learning, geometry, negatives
from harness.fitting.watch import EVERY
from harness.recipes import catalog
from harness.recipes.catalog import REPOSITORY
from harness.recipes.options import check_options, recipe_named, spelled_out

GUIDE = (REPOSITORY / "docs/guides/train-for-real.md").read_text(encoding="utf-8")
COMMANDS = [
    line.removeprefix("srun ").partition("#")[0].strip()
    for line in GUIDE.splitlines()
    if line.startswith(("papers ", "srun papers "))
]


def test_there_are_commands():
    assert len(COMMANDS) >= 10


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_taken(command, monkeypatch):
    # Whether a logger is installed is the machine's affair.
    monkeypatch.setattr("harness.recipes.early.LOGGERS", {})
    given = build_parser().parse_args(shlex.split(command)[1:])
    assert given.command == "fit"
    check_options(catalog.find(given.slug), spelled_out(recipe_named(given.overrides)))


def test_what_is_told_of_the_log_is_what_is_logged():
    named = {name for line in GUIDE.splitlines() if line.startswith("| `") for name in line.split("|")[1].split("`")}
    documented = Learning.__doc__ or ""
    for name in ("positive", "hardest_negative", "found", "alignment", "uniformity", "effective_rank", "spread"):
        assert name in named and name in documented
    assert {"same_id", "same_class", "temperature", "gradient_norm"} <= named
    assert geometry and negatives and Best.__doc__ and EVERY == 600 and "every ten minutes" in GUIDE
