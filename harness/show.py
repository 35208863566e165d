"""A paper on the console: its card beside its records."""

from pathlib import Path
from textwrap import fill

from common.experiments.card import Comparison
from common.experiments.texts import NOTHING, with_interval
from common.experiments.verdict import ClaimResult, PropertyResult
from harness.console import print_table, shown_path
from harness.standing import Standing, Trial

WIDTH = 100


def print_paper(paper: Standing, results: Path) -> None:
    """Idea, loss, differences, published numbers, claims with verdicts, commands."""
    card = paper.card
    print(card.title)
    year = "" if str(card.year) in card.venue else f" ({card.year})"
    print(fill(f"{', '.join(card.authors)}. {card.venue}{year}" if card.surveyed else "a baseline", WIDTH))
    for link in (f"https://arxiv.org/abs/{card.arxiv}" if card.arxiv else None, card.code):
        if link:
            print(link)
    print(f"\nIdea\n{fill(card.idea, WIDTH)}\n\nLoss\n{fill(card.loss, WIDTH)}")
    if card.differences:
        print("\nWhere paper and code differ")
        for text in card.differences:
            print(fill(text, WIDTH, initial_indent="- ", subsequent_indent="  "))
    if card.published:
        columns = ("dataset", "metric", "method", "value", "baseline", "its value", "source")
        rows = [
            (p.dataset, p.metric, p.method, f"{p.value:g}", p.baseline or "", _value(p.baseline_value), p.source)
            for p in card.published
        ]
        print()
        print_table(columns, rows, title="Published")
    print_trials(paper.trials)
    print("\nCommands")
    commands = [f"papers rerun {card.slug}"] if len(paper.trials) > 1 else []
    commands += [trial.command for trial in paper.trials]
    recipes = sorted((path.name for path in card.folder.glob("*.yaml") if path.name != "paper.yaml"), reverse=True)
    commands += [f"papers fit {card.slug} --config {recipe}" for recipe in recipes]
    print(*(f"  {command}" for command in commands), sep="\n")
    if paper.records:
        print(f"\nFigure: {shown_path(results / 'figures' / f'{card.slug}.svg')}")


def print_trials(trials: tuple[Trial, ...]) -> None:
    """Each comparison with its arms and claims; then all properties in one table."""
    for trial in trials:
        if isinstance(trial.experiment, Comparison):
            _print_comparison(trial)
    checks = [result for trial in trials for result in trial.results if isinstance(result, PropertyResult)]
    if checks:
        columns = ("property", "where", "largest deviation", "allowed", "seeds", "verdict")
        rows = [
            (
                check.experiment.claim,
                check.experiment.where,
                NOTHING if check.deviation is None else f"{check.deviation:.2g}",
                f"{check.experiment.tolerance:.2g}",
                str(len(check.seeds)),
                str(check.verdict),
            )
            for check in checks
        ]
        print()
        print_table(columns, rows, title="Properties")


def _print_comparison(trial: Trial) -> None:
    title = f"{trial.experiment.name}: {trial.recipe} on {trial.benchmark}"
    labels = {arm.name: arm.label for arm in trial.experiment.arms.values()}
    if trial.records:
        metrics = trial.experiment.metrics
        rows = [
            (label, str(len(trial.seeds(arm))), *(with_interval(trial.arm(arm, metric)) for metric in metrics))
            for arm, label in labels.items()
        ]
        print()
        print_table(("arm", "seeds", *metrics), rows, title=f"{title}; mean and 95% interval of each arm")
    columns = ("claim", "metric", "difference", "verdict", "compared")
    rows = [
        (
            result.claim.text,
            result.claim.metric + (" (lower is better)" if result.claim.better == "lower" else ""),
            with_interval(result.difference, sign=True),
            str(result.verdict),
            f"{labels[result.claim.method]} vs {labels[result.claim.baseline]}",
        )
        for result in trial.results
        if isinstance(result, ClaimResult)
    ]
    print()
    print_table(columns, rows, title=f"{title}; claims")


def _value(value: float | None) -> str:
    return "" if value is None else f"{value:g}"
