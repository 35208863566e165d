"""What `papers rerun --set` does: the changed arm at the recorded seeds, and what came of it beside the record."""

import argparse
from pathlib import Path
from textwrap import fill
from typing import Any

from common.errors import UserError
from common.experiments.records import Ledger
from common.paths import as_path
from harness.cli.hands import hands
from harness.cli.places import results_of
from harness.cli.show import width
from harness.console import print_lines, print_table, say, shown_path
from harness.recipes import catalog
from harness.recipes.written import full_recipes
from harness.running.knobs import read_sets, settable


def change(given: argparse.Namespace) -> int:
    """Runs what the folder of the user lacks, then prints and, for a sweep, draws it beside the record."""
    if given.all or not given.slugs:
        raise UserError("--set and --keys are for one paper's arm: name the paper")
    if len(set(given.slugs)) > 1:
        raise UserError(f"--set changes one paper's arm; {len(set(given.slugs))} papers are named")
    from harness.running import change as changes

    card = catalog.find(given.slugs[0], given.root)
    choice = changes.choose(card, given.experiment, given.arm)
    if given.recipe == "full":
        choice = changes.choose(
            card, given.experiment, given.arm, next(iter(full_recipes(card, choice.experiment.name)))
        )
    if given.keys:
        print(*settable(choice.config, card.root), sep="\n")
        return 0
    asked_for = changes.with_precision(choice, read_sets(given.set), given.precision)
    results = results_of(given)
    ledger = Ledger(_folder(given, results) / "runs")
    asked = changes.changed(choice, asked_for)
    beside = changes.on_record(asked, results, given.seeds)
    if not given.dry_run:
        ledger.check_writable(card.slug)
    overrides, folder = _overrides(given), ledger.folder.parent
    planned = changes.plan_change(asked, beside, ledger, overrides, given.keep_checkpoints, fetch=not given.dry_run)
    for warning in planned.warnings:
        say(warning)
    for value in asked.at_record:
        say(f"{asked.swept}={value} is the recorded value: it is shown from the record")
    from harness.running.runner import execute

    logs, code = folder / "logs", 0
    with hands(given) as (workers, hire):
        print_lines(planned.describe(workers))
        print(f"records: {shown_path(ledger.path(card.slug))}", flush=True)
        if planned.runs and not given.dry_run:
            code = execute(planned.runs, ledger, workers=workers, logs=logs, hire=hire).exit_code
    if given.dry_run or code > 128:
        return code
    _conclude(asked, beside, ledger)
    if given.keep_checkpoints:
        _say_weights(asked, beside, logs)
    return code


def _folder(given: argparse.Namespace, results: Path) -> Path:
    """Where the records of the changed arm go: never among those that they are put beside."""
    out = Path.cwd() / (as_path(given.out, "--out") if given.out is not None else f"changed-{given.slugs[0]}")
    for kept in {results, given.root / "results"}:
        if out.resolve().is_relative_to(kept.resolve()):
            raise UserError(
                f"--out is '{shown_path(out)}', among the records that are compared with; it must be another folder"
            )
    return out


def _overrides(given: argparse.Namespace) -> dict[str, Any]:
    trainer = {key: getattr(given, key) for key in ("devices", "accelerator") if getattr(given, key) is not None}
    overrides: dict[str, Any] = {"trainer": trainer} if trainer else {}
    if given.data_root is not None:
        overrides["data"] = {"init_args": {"data_root": str(as_path(given.data_root, "--data-root"))}}
    return overrides


def _conclude(asked: Any, beside: Any, ledger: Ledger) -> None:
    from harness.files import write_text
    from harness.pages import changed, figures
    from harness.running import change as changes

    found = changes.compare(asked, beside, ledger)
    print()
    if asked.swept is None:
        columns, rows = changed.arms(asked, found, beside)
        print_table(columns, rows, fill(f"{changed.title(asked)}; mean and (standard deviation)", width()))
        print()
        for line in changed.differences(asked, found[0]):
            print(fill(line, width(), subsequent_indent="    "))
    else:
        columns, rows = changed.sweep(asked, found, beside)
        lower = asked.choice.claim.better
        print_table(
            columns, rows, fill(f"{changed.title(asked)}; {lower} is better; mean and (standard deviation)", width())
        )
        drawn, numbers = changed.figure(asked, found, beside)
        path = (
            ledger.folder.parent
            / "figures"
            / f"{asked.choice.card.slug}-{asked.choice.experiment.name}-{asked.swept}.svg"
        )
        write_text(path, figures.render(drawn, numbers))
        print(f"\nFigure: {shown_path(path)}")
    print()
    for line in changes.cautions(found, beside, asked.choice):
        print(fill(f"Mind: {line}.", width(), subsequent_indent="    "))
    print(fill(changed.NOTE, width()))


def _say_weights(asked: Any, beside: Any, logs: Path) -> None:
    from harness.running.run import WEIGHTS

    choice = asked.choice
    for one in asked.arms:
        folder = logs / choice.card.slug / choice.experiment.name / one.arm.name
        there = [seed for seed in range(beside.seeds) if (folder / f"seed{seed}" / WEIGHTS).is_file()]
        if there:
            print(f"weights: {shown_path(folder)}/seed*/{WEIGHTS}")
        if missing := beside.seeds - len(there):
            why = "those on record are not trained again; another --out does"
            say(f"{missing} of {beside.seeds} runs of {one.arm.name} left no weights: {why}")
