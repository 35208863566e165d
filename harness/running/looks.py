"""`papers rerun` by the rule: every arm with the seeds of the first look, and of the second where it is asked for."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.experiments.card import LOOKS, Card, Comparison, untrained
from common.experiments.records import Ledger
from common.experiments.verdict import ClaimResult
from harness.console import print_lines, say, working
from harness.records.measured_floors import measure_floors
from harness.records.standing import Standing, standing
from harness.running.plan import Plan, plan
from harness.running.runner import Hire, execute


def second_looks(paper: Standing, recipe: str | None = None) -> dict[tuple[str, str], int]:
    """How many seeds each arm of an undecided primary claim is to have, by experiment and arm; the rest has the first.

    Args:
        recipe: the recipe file that is asked about instead of each experiment's own.
    """
    found: dict[tuple[str, str], int] = {}
    for trial in paper.trials:
        if not isinstance(trial.experiment, Comparison) or trial.recipe != (recipe or trial.experiment.recipe):
            continue
        for result in trial.results:
            if isinstance(result, ClaimResult) and result.asks_for > LOOKS[0]:
                claim = result.claim
                for arm in (claim.method, claim.baseline, untrained(claim.baseline)):
                    found[trial.experiment.name, arm] = result.asks_for
    return found


def plans(
    cards: Sequence[Card],
    ledger: Ledger,
    *,
    experiments: Sequence[str] | None = None,
    seeds: int | None = None,
    recipe: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    fetch: bool = True,
) -> list[Plan]:
    """What the rule asks for by what is on record now; all cards, before anything runs.

    Args:
        seeds: so many instead, for numbers that leave the verdict alone.
        overrides: as in `plan`.
    """
    return [
        plan(
            card,
            ledger,
            experiments=experiments,
            seeds=seeds,
            recipe=recipe,
            overrides=overrides,
            looks=second_looks(standing(card, ledger), recipe),
            fetch=fetch,
        )
        for card in cards
    ]


def rerun(
    cards: Sequence[Card],
    ledger: Ledger,
    *,
    experiments: Sequence[str] | None = None,
    seeds: int | None = None,
    recipe: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    workers: int,
    logs: Path,
    hire: Hire | None = None,
) -> int:
    """Runs what the rule asks for and is not on record until it asks for no more; returns the exit code.

    Args:
        overrides: as in `plan`.
        seeds: as in `plans`; then there is one round, whatever the verdict.
        workers, logs, hire: as in `execute`.

    Raises:
        UserError: as `plan` and `execute` do.
    """
    options = {"experiments": experiments, "seeds": seeds, "recipe": recipe, "overrides": overrides}
    with working("reading the recipes"):
        planned = plans(cards, ledger, **options)
    for warning in dict.fromkeys(warning for one in planned for warning in one.warnings):
        say(warning)
    for _ in LOOKS:
        print_lines(line for one in planned for line in one.describe(workers))
        runs = [run for one in planned for run in one.runs]
        code = execute(runs, ledger, workers=workers, logs=logs, hire=hire).exit_code
        if code:
            return code
        # What needs no learning is a part of the verdict.
        measure_floors([standing(card, ledger) for card in cards], ledger.folder.parent, say)
        planned = plans(cards, ledger, **options)
        if not any(one.runs for one in planned):
            return 0
        say("a primary claim is undecided with the seeds so far, so it gets those of the second look")
    return 0
