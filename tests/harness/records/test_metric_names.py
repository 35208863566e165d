from pathlib import Path

import pytest

from common.experiments.records import Ledger
from harness import cli
from harness.recipes import catalog
from harness.running.plan import plan
from harness.running.runner import execute


def test_a_metric_that_was_never_seen_is_named_with_those_that_were(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(root))
    for command in (["show", "alpha"], ["rerun", "alpha", "--dry-run"]):
        assert cli.main(command, root) == 0 and capsys.readouterr().err == ""
    card = root / "papers/toys/alpha/paper.yaml"
    card.write_text(card.read_text().replace("metric: loss", "metric: probe/top2"))
    for command in (["show", "alpha"], ["rerun", "alpha", "--dry-run"]):
        assert cli.main(command, root) == 0
        assert capsys.readouterr().err == (
            "papers: alpha/main: nothing on record for coins has the metric 'probe/top2' (did you mean 'probe/top1'?); "
            "there are: knn/top1, loss, probe/top1\n"
        )


def test_nothing_trains_for_a_metric_that_does_not_exist(toy_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(toy_root))
    path = toy_root / "papers/toys/toy/paper.yaml"
    text = path.read_text().replace("metric: repeat/error", "metric: repeat/eror")
    path.write_text(text.replace("        learns: the baseline is the untrained network itself\n", ""))
    card, ledger = catalog.find("toy", toy_root), Ledger(toy_root / "results/runs")
    runs = plan(card, ledger, experiments=["main"], seeds=1).runs
    assert runs[0].arm.endswith("@untrained")
    outcome = execute(runs, ledger, workers=1)
    # The arm `plain` is in no claim, so it owes nothing.
    assert outcome.exit_code == 2 and [r.arm for r in outcome.finished if r.steps] == ["plain"]
    assert outcome.failed[0].message == (
        "a claim is about the metric 'repeat/eror'; numbers gives: repeat/error, weight/norm"
    )
    assert {f.run.arm for f in outcome.failed[1:]} == {"repeat", "untrained"}
