import dataclasses
import re
from pathlib import Path

import pytest

from common.experiments.records import Ledger
from harness.cli import show
from harness.files import write_text
from harness.recipes import catalog
from harness.records.standing import Standing, standing
from tests.harness import house

Capture = pytest.CaptureFixture[str]


def alpha(root: Path, results: str = "results") -> Standing:
    return standing(catalog.find("alpha", root), Ledger(root / results / "runs"))


def on_a_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)


@pytest.mark.parametrize("columns", [80, 120])
def test_a_paper_reads_at_the_width_of_the_terminal(
    root: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    card = root / "papers/toys/alpha/paper.yaml"
    long = "Alpha beats Beta, " + "by whatever one asks of the two of them, " * 3
    card.write_text(card.read_text().replace("text: Alpha beats Beta,", f'text: "{long.strip()}",'))
    on_a_terminal(monkeypatch, columns)
    show.print_paper(alpha(root), root / "results")
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in lines if "/" not in line) <= columns  # paths do not break
    claim = next(i for i, line in enumerate(lines) if line.startswith("  reproduced: Alpha beats Beta"))
    numbers = next(line for line in lines[claim:] if line.startswith("    Difference"))
    assert "+0.100 [+0.089, +0.111] over 5 seeds, margin" in numbers


def test_in_a_pipe_a_paper_reads_at_80_columns(root: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    card = root / "papers/toys/alpha/paper.yaml"
    card.write_text(card.read_text().replace("text: Alpha beats Beta,", f'text: "{"Alpha beats Beta, " * 9}",'))
    show.print_paper(alpha(root), root / "results")
    assert max(len(line) for line in capsys.readouterr().out.splitlines() if "Figure" not in line) <= 80


def test_on_a_terminal_papers_stand_by_family_a_line_each(
    root: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    on_a_terminal(monkeypatch, 40)
    show.print_papers(house.papers(root))
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines == ["toys (2)", "  alpha  2020  reproduced  Alpha: a | …", "  beta         baseline    Alpha: a | …"]


def test_a_wide_terminal_shows_the_verdicts_and_families_align(
    root: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    on_a_terminal(monkeypatch, 200)
    toys = house.papers(root)
    far = dataclasses.replace(toys[1], card=dataclasses.replace(toys[1].card, slug="of_a_longer_name", family="others"))
    show.print_papers([*toys, far])
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip() for line in capsys.readouterr().out.splitlines()]
    counts = "1 reproduced, 1 contradicted, 1 holds  Alpha: a | paper"
    assert lines[1] == f"  alpha             2020  reproduced  {counts}"
    assert {line.index("Alpha: a") for line in lines if "Alpha: a" in line} == {lines[1].index("Alpha: a")}


def test_arms_stand_below_each_other_where_metrics_leave_no_room(
    root: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "36")
    show.print_trials(alpha(root), alpha(root).trials[:1])
    narrow = capsys.readouterr().out
    assert narrow.count("arm ") == 2 and narrow.count("Alpha      5") == 2
    monkeypatch.setenv("COLUMNS", "80")
    show.print_trials(alpha(root), alpha(root).trials[:1])
    assert capsys.readouterr().out.count("arm ") == 1


def test_runs_of_ones_own_stand_beside_the_record(root: Path, capsys: Capture) -> None:
    # On record: mean 0.92, s 0.0158; one more seed lies within 2.776 s sqrt(6 / 5) = 0.048, said as 0.05.
    for seed, value in ((0, 0.91), (1, 0.92), (2, 0.5)):
        record = dataclasses.replace(house.RECORD, seed=seed, metrics={"probe/top1": value}, recipe_hash="own")
        Ledger(root / "own/runs").append(record)
    show.print_beside_record(alpha(root, "own"), alpha(root), root / "results")
    assert "Figure" not in capsys.readouterr().out, "none was drawn"
    write_text(root / "results/figures/alpha.svg", "<svg/>")
    show.print_beside_record(alpha(root, "own"), alpha(root), root / "results")
    out = capsys.readouterr().out
    assert (
        "main: probe/top1\n"
        "  Alpha, seed 0: 0.910 here, 0.900 on record, within 0.05\n"
        "  Alpha, seed 1: 0.920 here, 0.920 on record, the same\n"
        "  Alpha, seed 2: 0.500 here, 0.940 on record; seeds differ by no more than 0.05\n"
    ) in out
    assert "main: loss" not in out, "it was not scored here"
    assert "The verdicts of alpha on record: 1 reproduced, 1 contradicted, 1 holds." in out
    assert "  reproduced: Alpha beats Beta (primary)" in out and "results/figures/alpha.svg" in out
