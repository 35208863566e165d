import dataclasses
import re
from pathlib import Path

import pytest

from common.experiments.records import Ledger
from harness import cli
from harness.recipes import catalog
from harness.running.plan import plan
from harness.running.runner import execute
from tests.harness import house


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
            "papers: alpha/main: nothing on record for coins has the metric 'probe/top2' "
            "(did you mean 'probe/top1'?); there are: knn/top1, loss, probe/top1\n"
        )


def test_of_many_metrics_the_nearest_are_named_and_where_the_others_stand(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = dataclasses.replace(house.RECORD, metrics={f"recall@{k}/gallery": 0.5 for k in range(1, 40)})
    Ledger(root / "results/runs").append(record)
    card = root / "papers/toys/alpha/paper.yaml"
    card.write_text(card.read_text().replace("metric: loss", "metric: recal@1/gallery"))
    assert cli.main(["show", "alpha"], root) == 0
    err = capsys.readouterr().err
    listing = "papers list --names --by metric --benchmark coins"
    assert "did you mean 'recall@1/gallery' or " in err and f"`{listing}` names the 42 that there are" in err
    assert len(err) < 400
    assert cli.main(listing.split()[1:], root) == 0
    names = capsys.readouterr().out.split()
    assert len(names) == 42 and "recall@7/gallery" in names
    assert cli.main(["list", "--names", "--by", "metric"], root) == 2
    assert "--by metric needs --benchmark" in capsys.readouterr().err


def test_a_metric_that_the_benchmarks_code_spells_is_new(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card, recipe = root / "papers/toys/alpha/paper.yaml", root / "papers/toys/alpha/mini.yaml"
    old = re.search(r"data:\n  class_path: (\S+)", recipe.read_text())[1]
    folder = root / "data_of_ours"
    folder.mkdir()
    (folder / "coins.py").write_text(
        "class Coins:\n    name = 'coins'\n\n    def evaluate(self, k):\n        return {f'recall@{k}/side{k}': 1}\n"
    )
    recipe.write_text(recipe.read_text().replace(old, "data_of_ours.coins.Coins"))
    for metric, new in (("recall@5/side40", True), ("recal@5/side40", False)):
        text = card.read_text()
        card.write_text(text.replace("metric: loss", f"metric: {metric}"))
        assert cli.main(["show", "alpha"], root) == 0
        err = capsys.readouterr().err
        assert ("so it seems to be new" in err) is new and ("nothing on record" in err) is not new and metric in err
        card.write_text(text)


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
        "a claim is about the metric 'repeat/eror', which numbers does not give (did you mean 'repeat/error'?); "
        "there are: repeat/error, weight/norm"
    )
    assert {f.run.arm for f in outcome.failed[1:]} == {"repeat", "untrained"}
