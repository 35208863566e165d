import dataclasses
import sys

import pytest

from common.errors import UserError
from common.experiments.items import ItemKey, ItemLedger
from common.experiments.records import Ledger, Record
from harness.recipes import recipe
from harness.recipes.catalog import find
from harness.records.identity import check_hash
from harness.running import plan as plans
from harness.running import twins
from harness.running.plan import plan


@pytest.fixture
def root(toy_root, monkeypatch):
    monkeypatch.syspath_prepend(str(toy_root))
    monkeypatch.setattr(sys, "argv", ["papers"])
    twins.fingerprint.cache_clear()
    return toy_root


@pytest.fixture
def ledger(root):
    return Ledger(root / "results" / "runs")


def toy_plan(root, ledger, **options):
    return plan(find("toy", root), ledger, **options)


def write_records(root, ledger, runs, **changes) -> None:
    """Puts runs on record as if they had been done."""
    for run in runs:
        data_hash = recipe.build_benchmark(run.config["data"]).fingerprint() if run.config else ""
        required = (f.name for f in dataclasses.fields(Record) if f.default is dataclasses.MISSING)
        values = dict.fromkeys(required, "")
        for name in ("paper", "experiment", "arm", "recipe", "seed", "recipe_hash"):
            values[name] = getattr(run, name)
        values |= {"metrics": {"repeat/error": 0.5}, "versions": {}, "steps": 8, "threads": 1, "git_dirty": False}
        values |= {"seconds": 3.0, "cpu_seconds": 2.5, "peak_memory_mb": 1.0, "data_hash": data_hash} | changes
        ledger.append(Record(**values))


def edit(root, old: str, new: str, file: str = "papers/toys/toy/mini.yaml") -> None:
    path = root / file
    assert path.read_text().count(old) == 1
    path.write_text(path.read_text().replace(old, new))


def names(found) -> list[tuple[str, int]]:
    return [(run.arm, run.seed) for run in found]


def test_everything_is_missing_at_first_seed_by_seed(root, ledger):
    found = toy_plan(root, ledger, experiments=["main"])
    arms = ("repeat", "plain", "untrained")
    assert names(found.runs) == [(arm, seed) for seed in range(5) for arm in arms]
    assert found.recorded == () and found.estimate() is None
    run = found.runs[3]
    assert run.config["seed_everything"] == run.config["data"]["init_args"]["seed"] == 1
    assert run.metrics == ("repeat/error",)
    assert not ledger.folder.exists()


def test_an_arm_owes_the_metrics_of_its_own_claims(root, ledger):
    sides = "method: repeat, baseline: plain, metric: weight/norm, better: lower"
    claim = f"      - {{text: one beats the other, {sides}, learns: not asked here}}\n"
    edit(root, "    claims:\n", "    claims:\n" + claim, "papers/toys/toy/paper.yaml")
    owed = {run.arm: run.metrics for run in toy_plan(root, ledger, experiments=["main"]).runs}
    expected = {"repeat": ("weight/norm", "repeat/error"), "plain": ("weight/norm",), "untrained": ("repeat/error",)}
    assert owed == expected


def test_the_untrained_network_of_a_baseline_that_is_to_learn_is_scored_beside_it(root, ledger):
    claim = "      - {text: one beats the other, method: repeat, baseline: plain, metric: weight/norm, better: lower}\n"
    edit(root, "    claims:\n", "    claims:\n" + claim, "papers/toys/toy/paper.yaml")
    found = toy_plan(root, ledger, experiments=["main"]).runs
    runs = [run for run in found if run.arm == "plain@untrained"]
    assert [run.seed for run in runs] == list(range(5)) and runs[0].metrics == ("weight/norm",)
    assert runs[3].config["trainer"] == {"accelerator": "cpu", "max_steps": 0}
    assert not runs[3].keeps_items and found[0].arm != found[-1].arm and found[-1].keeps_items
    assert runs[3].config["model"]["class_path"] == "toylab.Plain" and runs[3].config["seed_everything"] == 3
    # How long the arm trains is nothing to its untrained network.
    edit(root, "max_epochs: 2", "max_epochs: 3")
    again = toy_plan(root, ledger, experiments=["main"]).runs
    same = {run.arm for run in again} - {
        a.arm for a, b in zip(again, found, strict=True) if a.recipe_hash != b.recipe_hash
    }
    assert same == {"plain@untrained"}


def test_a_second_look_asks_for_the_seeds_of_two_arms(root, ledger):
    looks = {("main", "repeat"): 10, ("main", "untrained"): 10}
    found = names(toy_plan(root, ledger, experiments=["main"], looks=looks).runs)
    assert [pair for pair in found if pair[1] == 4] == [("repeat", 4), ("plain", 4), ("untrained", 4)]
    assert [pair for pair in found if pair[1] == 5] == [("repeat", 5), ("untrained", 5)]
    assert len(found) == 25
    # A number of seeds on the command line leaves looks alone.
    assert len(toy_plan(root, ledger, experiments=["main"], looks=looks, seeds=2).runs) == 6


def test_a_budget_is_no_part_of_a_run_and_says_how_long_a_first_one_takes(root, ledger):
    before = toy_plan(root, ledger, experiments=["main"])
    assert before.describe()[-1] == "time with 1 worker: unknown: some arm has not been run before"
    edit(root, "seed_everything: 0\n", "seed_everything: 0\nbudget_s: 30\n")
    after = toy_plan(root, ledger, experiments=["main"])
    assert after.runs == before.runs
    assert after.describe(workers=2)[-1] == (
        "time with 2 workers: at most 4 min, as their recipes say: some arm has not been run before"
    )
    edit(root, "budget_s: 30", "budget_s: -3")
    with pytest.raises(
        UserError, match=r"^papers/toys/toy/mini.yaml:3: 'budget_s' is -3; it must be a number above 0$"
    ):
        toy_plan(root, ledger, experiments=["main"])


def test_the_check_of_a_property_may_move(root, ledger):
    write_records(root, ledger, toy_plan(root, ledger, experiments=["slow"]).runs, benchmark="property")
    (root / "checks").mkdir()
    (root / "toychecks.py").rename(root / "checks" / "moved.py")
    edit(root, "check: toychecks:slow", "check: checks.moved:slow", "papers/toys/toy/paper.yaml")
    assert toy_plan(root, ledger, experiments=["slow"]).runs == ()


class Pinned:
    """A source that is not there yet."""

    name, size, fetched = "numbers1k", 61_000_000, False

    def open(self, data_root):
        raise AssertionError("fetched")


def test_a_plan_that_fetches_nothing_says_what_it_would(root, ledger, monkeypatch):
    write_records(root, ledger, toy_plan(root, ledger, experiments=["main"]).runs)
    plans.unfetched.cache_clear()
    twins.fingerprint.cache_clear()
    monkeypatch.setattr(sys.modules["toylab"].Numbers, "sources", (Pinned,))
    found = toy_plan(root, ledger, experiments=["main"], fetch=False)
    assert found.runs == () and found.to_fetch == ("numbers1k (61 MB)",)
    assert "would fetch: numbers1k (61 MB)" in found.describe()[1]
    plans.unfetched.cache_clear()


def test_a_record_without_the_items_that_a_claim_asks_for_is_run_anew(root, ledger):
    runs = toy_plan(root, ledger, experiments=["main"], seeds=1).runs
    write_records(root, ledger, runs, means=("repeat/error",))
    # No claim is about `plain`.
    assert names(toy_plan(root, ledger, experiments=["main"], seeds=1).runs) == [("repeat", 0), ("untrained", 0)]
    for run in runs:
        key = ItemKey(run.experiment, run.arm, run.recipe_hash, run.seed)
        ItemLedger(ledger.folder.parent / "items").append("toy", key, {"repeat/error": [0.5]})
    assert toy_plan(root, ledger, experiments=["main"], seeds=1).runs == ()
    write_records(root, ledger, runs, cpu_seconds=0.0)
    assert len(toy_plan(root, ledger, experiments=["main"], seeds=1).runs) == 2


def test_a_record_without_a_metric_that_a_claim_asks_for_is_run_anew(root, ledger):
    runs = toy_plan(root, ledger, experiments=["main"], seeds=1).runs
    write_records(root, ledger, runs, metrics={"repeat/other": 0.5})
    assert names(toy_plan(root, ledger, experiments=["main"], seeds=1).runs) == [("repeat", 0), ("untrained", 0)]
    write_records(root, ledger, runs)
    assert toy_plan(root, ledger, experiments=["main"], seeds=1).runs == ()


def test_what_is_on_record_is_not_run_again(root, ledger):
    write_records(root, ledger, toy_plan(root, ledger, experiments=["main"]).runs[:4])
    found = toy_plan(root, ledger, experiments=["main"])
    assert names(found.recorded) == [("repeat", 0), ("plain", 0), ("untrained", 0), ("repeat", 1)]
    assert len(found.runs) == 11
    assert found.estimate(workers=1) == 33.0 and found.estimate(workers=2) == 16.5
    assert found.describe(workers=2) == [
        "toy/main (mini.yaml): 4 on record, 11 to run: plain seed 1-4; untrained seed 1-4; repeat seed 2-4",
        "time with 2 workers: about 16 s",
    ]


def test_more_seeds_than_the_card_says(root, ledger):
    assert len(toy_plan(root, ledger, experiments=["main"], seeds=5).runs) == 15
    assert len(toy_plan(root, ledger, experiments=["main"], seeds=1).runs) == 3


def test_a_changed_recipe_is_run_anew_and_so_is_one_that_goes_back(root, ledger):
    first = toy_plan(root, ledger, experiments=["main"]).runs
    write_records(root, ledger, first)
    edit(root, "lr: 5e-2", "lr: 6e-2")
    second = toy_plan(root, ledger, experiments=["main"]).runs
    # `plain` has another class, so it takes nothing of the recipe's arguments.
    assert names(second) == [(arm, seed) for seed in range(5) for arm in ("repeat", "untrained")]
    write_records(root, ledger, second)
    assert toy_plan(root, ledger, experiments=["main"]).runs == ()
    edit(root, "lr: 6e-2", "lr: 5e-2")
    assert names(toy_plan(root, ledger, experiments=["main"]).runs) == names(second)


def test_changed_data_are_run_anew(root, ledger, monkeypatch):
    runs = toy_plan(root, ledger, experiments=["main"]).runs
    write_records(root, ledger, runs)
    numbers = sys.modules["toylab"].Numbers
    monkeypatch.setattr(numbers, "fingerprint", lambda self: "another version")
    twins.fingerprint.cache_clear()
    assert names(toy_plan(root, ledger, experiments=["main"]).runs) == names(runs)
    assert toy_plan(root, ledger, experiments=["main"], check_data=False).runs == ()


def test_a_fingerprint_may_depend_on_the_seed(root, ledger):
    edit(root, "    size: 32\n", "    size: 32\n    noisy: true\n")
    write_records(root, ledger, toy_plan(root, ledger, experiments=["main"]).runs)
    assert len(set(r.data_hash for r in ledger.read("toy")[0])) == 5
    assert toy_plan(root, ledger, experiments=["main"]).runs == ()


def test_another_recipe_of_the_paper_has_records_of_its_own(root, ledger):
    folder = root / "papers" / "toys" / "toy"
    (folder / "full.yaml").write_text((folder / "mini.yaml").read_text())
    write_records(root, ledger, toy_plan(root, ledger, experiments=["main"]).runs)
    found = toy_plan(root, ledger, recipe="full.yaml")
    assert {(run.experiment, run.recipe) for run in found.runs} == {("main", "full.yaml")}
    with pytest.raises(UserError, match=r"^toy has no recipe 'fool.yaml'; it has: full.yaml, mini.yaml$"):
        toy_plan(root, ledger, recipe="fool.yaml")


def test_a_property_is_run_anew_when_its_code_changes_and_not_its_comments(root, ledger):
    write_records(root, ledger, toy_plan(root, ledger, experiments=["slow"]).runs)
    assert toy_plan(root, ledger, experiments=["slow"]).runs == ()
    edit(root, "import os\n", "import os  # a comment\n", "toychecks.py")
    assert toy_plan(root, ledger, experiments=["slow"]).runs == ()
    edit(root, "seed * 1e-6", "seed * 1e-7", "toychecks.py")
    assert len(toy_plan(root, ledger, experiments=["slow"]).runs) == 12


def test_a_check_without_a_file_is_one_clear_line(root):
    card = find("toy", root)
    check = dataclasses.replace(card.experiment("slow"), check="toychicks:slow")
    with pytest.raises(UserError, match=r"^toy/slow: the check 'toychicks:slow' has no file: No such file"):
        check_hash(card, check)


def test_unknown_experiments_are_refused(root, ledger):
    with pytest.raises(
        UserError, match=r"^toy has no experiment 'mian' \(did you mean 'main'\?\); it has: main, exact"
    ):
        toy_plan(root, ledger, experiments=["mian"])


def test_a_broken_record_is_reported_and_the_rest_still_counts(root, ledger):
    write_records(root, ledger, toy_plan(root, ledger, experiments=["slow"]).runs)
    with ledger.path("toy").open("a") as file:
        file.write('{"paper": "toy", "exp')
    found = toy_plan(root, ledger, experiments=["slow"])
    assert found.runs == ()
    assert len(found.warnings) == 1 and found.warnings[0].startswith(f"{ledger.path('toy')}:13: skipped")
