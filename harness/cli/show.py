"""A paper on the console: its card beside its records."""

import math
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill, shorten

from common.experiments.card import Comparison, Published
from common.experiments.paired import interval
from common.experiments.texts import number, with_interval, with_spread
from common.experiments.verdict import ClaimResult, arm_values
from harness.console import STYLES, print_table, shown_path
from harness.pages import claim_text
from harness.records.standing import Standing, Trial, verdict_words

OF_A_TITLE = 60
"""Columns that are left to titles where a terminal shows how many claims have which verdict."""


def width() -> int:
    """Columns that text may fill: those of the terminal, or in a pipe of COLUMNS or 80, up to a readable line."""
    return min(120, shutil.get_terminal_size((80, 24)).columns)


def listed(paper: Standing) -> dict[str, object]:
    """A paper as `papers list` has it: `verdict` is that of the central claim."""
    card = paper.card
    return {
        "paper": card.slug,
        "family": card.family,
        "year": card.year,
        "verdict": str(paper.primary[1].verdict) if paper.primary else None,
        "verdicts": {str(verdict): count for verdict, count in paper.verdicts.items()},
        "benchmarks": list(paper.benchmarks),
        "modalities": list(card.modalities),
        "title": card.title,
        "surveyed": card.surveyed,
    }


def print_papers(papers: Sequence[Standing]) -> None:
    """A line a paper: in a pipe all of it, on a terminal by family and as much of it as has room."""
    if not sys.stdout.isatty():
        columns = ("paper", "family", "year", "central", "verdicts", "benchmark", "title")
        print_table(columns, [(*_line(paper), ", ".join(paper.benchmarks), paper.card.title) for paper in papers])
        return
    from rich.console import Console
    from rich.text import Text

    console, lines = Console(), [_line(paper) for paper in papers]
    widths = [max((len(line[i]) for line in lines), default=0) for i in range(5)]
    shown = [0, 2, 3]
    room = console.width - 2 - sum(widths[i] + 2 for i in shown)
    if room - widths[4] - 2 >= OF_A_TITLE:
        shown, room = [*shown, 4], room - widths[4] - 2
    for family in dict.fromkeys(line[1] for line in lines):
        own = [both for both in zip(lines, papers, strict=True) if both[0][1] == family]
        console.print(Text(f"{family} ({len(own)})", style="bold"))
        for line, paper in own:
            cells = [(f"{line[i]:{widths[i] + 2}}", STYLES.get(line[3], "") if i == 3 else "") for i in shown]
            title = shorten(paper.card.title, max(1, room), placeholder=" …")
            console.print(Text.assemble("  ", *cells, title), soft_wrap=True)


def _line(paper: Standing) -> tuple[str, str, str, str, str]:
    """Name, family, year, the central claim's verdict, and how many there are of each."""
    card = paper.card
    central = str(paper.primary[1].verdict) if paper.primary else "" if card.surveyed else "baseline"
    year = str(card.year) if card.surveyed else ""
    return (
        card.slug,
        card.family,
        year,
        central,
        verdict_words(paper.verdicts) if paper.trials else "baseline of others",
    )


def print_paper(paper: Standing, results: Path) -> None:
    """Idea, loss, differences, published numbers, claims with verdicts, commands."""
    card = paper.card
    print(fill(card.title, width()))
    year = "" if str(card.year) in card.venue else f" ({card.year})"
    print(fill(f"{', '.join(card.authors)}. {card.venue}{year}" if card.surveyed else "a baseline", width()))
    for link in (f"https://arxiv.org/abs/{card.arxiv}" if card.arxiv else None, card.code):
        if link:
            print(link)
    print(f"\nIdea\n{fill(card.idea, width())}\n\nLoss\n{fill(card.loss, width())}")
    if card.differences:
        print("\nWhere paper and code differ")
        _list(card.differences)
    if card.no_full:
        print(f"\nNo full recipe\n{fill(card.no_full, width())}")
    if card.published:
        print("\nPublished")
        _list([_published(row) for row in card.published])
    print_trials(paper, paper.trials)
    print("\nCommands")
    commands = [f"papers rerun {card.slug}"] if len(paper.trials) > 1 else []
    commands += [trial.command for trial in paper.trials]
    recipes = sorted((path.name for path in card.folder.glob("*.yaml") if path.name != "paper.yaml"), reverse=True)
    commands += [f"papers fit {card.slug} --config {recipe}" for recipe in recipes]
    print(*(f"  {command}" for command in commands), sep="\n")
    if paper.records:
        print(f"\nFigure: {shown_path(results / 'figures' / f'{card.slug}.svg')}")


def print_trials(paper: Standing, trials: Sequence[Trial]) -> None:
    """Each comparison with its arms and claims; then all properties."""
    for trial in trials:
        if isinstance(trial.experiment, Comparison):
            title = f"{trial.experiment.name}: {trial.recipe} on {trial.benchmark}"
            if trial.records:
                _print_arms(trial, fill(f"{title}; mean and (standard deviation) of each arm", width()))
            print()
            print(title)
            _print_claims(paper, trial)
    checks = [trial for trial in trials if not isinstance(trial.experiment, Comparison)]
    if checks:
        print("\nProperties")
    for trial in checks:
        _print_claims(paper, trial)


def print_beside_record(own: Standing, recorded: Standing, results: Path) -> None:
    """Runs of one's own beside those on record, seed by seed, and the recorded verdicts.

    The same seed need not give the same number on another kind of processor, where a run parts from its record as from
    that of another seed. So two values agree if they differ by no more than one more seed would: s t(n - 1; 0.975)
    sqrt(1 + 1 / n), over the n seeds on record.

    Args:
        own: the paper by the records just made.
        recorded: the paper by the records of the repository.
        results: the repository's folder of results.
    """
    known = {(trial.experiment.name, trial.recipe): trial for trial in recorded.trials}
    for trial in own.trials:
        there = known.get((trial.experiment.name, trial.recipe))
        if there is None or not isinstance(trial.experiment, Comparison):
            continue
        for metric in trial.experiment.metrics:
            lines = [line for arm in trial.comparison.arms for line in _beside(trial, there, arm, metric)]
            if lines:
                print(f"\n{trial.experiment.name}: {metric}")
                print(*lines, sep="\n")
    print(f"\nThe verdicts of {recorded.card.slug} on record: {verdict_words(recorded.verdicts)}.")
    for trial in recorded.trials:
        if trial.records and any(trial.experiment.name == mine.experiment.name for mine in own.trials if mine.records):
            _print_claims(recorded, trial)
    if (drawn := results / "figures" / f"{recorded.card.slug}.svg").is_file():  # a package comes without
        print(f"\nFigure on record: {shown_path(drawn)}")


def _beside(own: Trial, recorded: Trial, arm: str, metric: str) -> list[str]:
    """ "SupCon (L_out), seed 0: 0.970 here, 0.978 on record, within 0.02"."""
    mine, theirs = (arm_values(trial.records, arm, metric) for trial in (own, recorded))
    label = own.comparison.arms[arm].label
    lines = []
    for seed in sorted(mine.keys() & theirs.keys()):
        text = f"  {label}, seed {seed}: {number(mine[seed])} here, {number(theirs[seed])} on record"
        # An interval of the mean is t s / sqrt(n); that of one more value is wider by sqrt(n + 1).
        mean = interval(list(theirs.values()))
        apart = abs(mine[seed] - theirs[seed])
        if apart == 0:
            lines.append(f"{text}, the same")
        elif mean.high is None:
            lines.append(text)
        else:
            allowed = _rounded_up((mean.high - mean.mean) * math.sqrt(mean.n + 1))
            within = f", within {allowed:g}" if apart <= allowed else f"; seeds differ by no more than {allowed:g}"
            lines.append(text + within)
    return lines


def _rounded_up(value: float) -> float:
    """To one digit, up: 0.02 for 0.0117."""
    if value <= 0:
        return 0.0
    digit = 10.0 ** math.floor(math.log10(value))
    return float(f"{math.ceil(value / digit - 1e-9) * digit:.1g}")


def _print_claims(paper: Standing, trial: Trial) -> None:
    """A claim on its own line behind its verdict, its numbers below."""
    for result in trial.results:
        text = f"{result.verdict}: {claim_text.title(trial, result)}"
        lines = claim_text.lines(paper, trial, result)
        if isinstance(result, ClaimResult) and result.primary and (opposing := trial.opposing(result)):
            told = "; ".join(f"{metric} {with_interval(d, sign=True)}" for metric, d in opposing.items())
            lines.append(f"Metrics that go the other way: {told}.")
        text = fill(text, width(), initial_indent="  ", subsequent_indent="    ")
        if sys.stdout.isatty():
            from rich.console import Console
            from rich.text import Text

            shown = Text(text)
            shown.stylize(STYLES.get(str(result.verdict), ""), 2, 2 + len(str(result.verdict)))
            Console(soft_wrap=True).print(shown)
        else:
            print(text)
        print(*(fill(x, width(), initial_indent="    ", subsequent_indent="      ") for x in lines), sep="\n")


def _print_arms(trial: Trial, title: str) -> None:
    """The arms by the claimed metrics, as many beside each other as the terminal has room for."""
    arms = trial.comparison.arms.values()
    metrics = list(trial.experiment.metrics)
    room = width() - 10 - max(len(trial.label(arm.name)) for arm in arms)
    while metrics:
        taken = [metrics.pop(0)]
        while metrics and sum(max(len(metric), 15) + 2 for metric in [*taken, metrics[0]]) <= room:
            taken.append(metrics.pop(0))
        rows = [
            (
                trial.label(arm.name),
                str(len(trial.seeds(arm.name))),
                *(with_spread(trial.arm(arm.name, m)) for m in taken),
            )
            for arm in arms
        ]
        print()
        print_table(("arm", "seeds", *taken), rows, title)


def _published(row: Published) -> str:
    """ "top-1 (%), CIFAR-10: SupCon 96, cross-entropy 95 (Table 2)"."""
    baseline = f", {row.baseline or 'baseline'} {row.baseline_value:g}" if row.baseline_value is not None else ""
    protocol = f", {row.protocol}" if row.protocol else ""
    return f"{row.metric}, {row.dataset}{protocol}: {row.method} {row.value:g}{baseline} ({row.source})"


def _list(texts: Sequence[str]) -> None:
    for text in texts:
        print(fill(text, width(), initial_indent="- ", subsequent_indent="  "))
