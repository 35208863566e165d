import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from common.errors import UserError
from harness.pages.compare import rank_intervals, rankings
from harness.records.floors import Floor, read_floors, write_floor
from harness.records.measured_floors import floor_of, measure_floors
from tests.harness import house


def test_rankings_put_the_floor_in_its_place(root: Path) -> None:
    floors = measure_floors(house.papers(root), root / "results", print)
    (ranking,) = rankings(house.papers(root), floors, "coins")
    assert (ranking.title, ranking.metric) == ("coins", "probe/top1")
    found = [(row.rank, row.label, row.slug, round(row.estimate.mean, 3)) for row in ranking.rows]
    assert found == [(1, "Alpha", "alpha", 0.92), (2, "Beta", "alpha", 0.82), (None, "chance", None, 0.5)]
    (by_loss,) = rankings(house.papers(root), floors, "coins", "loss")
    assert [row.label for row in by_loss.rows] == ["Beta", "Alpha"], "lower is better"


def test_rank_intervals_are_those_of_paired_differences() -> None:
    best = {0: 0.9, 1: 0.7, 2: 0.8}
    # Behind the first by as much at each seed, although both spread by ten times that.
    second = {seed: value - 0.01 - 0.001 * seed for seed, value in best.items()}
    unsure = {0: 0.1, 1: 0.9, 2: 0.7}
    alone = {7: 0.99}
    assert rank_intervals([best, second, unsure]) == [(1, 2), (2, 3), (1, 3)]
    assert rank_intervals([best, second, unsure], sign=1) == [(2, 3), (1, 2), (1, 3)], "lower is better"
    assert rank_intervals([best, second, alone]) == [(1, 2), (2, 3), (1, 3)], "no seed in common"
    assert rank_intervals([alone]) == [(1, 1)]


def test_a_ranking_at_equal_budget(root: Path) -> None:
    card = root / "papers/toys/alpha/paper.yaml"
    longer = "      longer: {label: Longer, data: {init_args: {batch_size: 16}}}\n"
    card.write_text(card.read_text().replace("      beta: {label", longer + "      beta: {label", 1))
    for seed in range(5):
        metrics = {"probe/top1": 0.99, "loss": 1.0}
        house.record(root, arm="longer", seed=seed, metrics=metrics)
    (ranking,) = rankings(house.papers(root), read_floors(root / "results"), "coins", "probe/top1")
    assert [row.label for row in ranking.rows] == ["Longer", "Alpha", "Beta", "chance"]
    steps = house.RECORD.steps
    assert [row.budget for row in ranking.rows] == [("Toy", 16 * steps), ("Toy", 4 * steps), ("Other", 4 * steps), None]
    alone = ranking.at_equal_budget()
    assert [(row.label, row.rank, row.ranks) for row in alone.rows] == [("Longer", 1, (1, 1)), ("chance", None, None)]
    assert ranking.given.startswith(f"1 of 3 at one budget, Toy, {16 * steps:,} views of samples in training; ")


def test_a_floor_is_computed_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(root / "results/floors")
    measure_floors(house.papers(root), root / "results", print)
    monkeypatch.setattr("harness.records.measured_floors._measure", lambda *_: pytest.fail("computed again"))
    (floor,) = measure_floors(house.papers(root), root / "results", print)
    assert floor == read_floors(root / "results")[0]
    assert floor.rows == {"chance": {"probe/top1": 0.5, "knn/top1": 0.5}}


def test_other_data_has_a_ranking_of_its_own(root: Path) -> None:
    said = []
    house.record(root, arm="beta", data_hash="coins-0.3", metrics={"probe/top1": 0.7, "loss": 1.0})
    floors = measure_floors(house.papers(root), root / "results", said.append)
    assert any("coins-0." in text and "today" in text for text in said), said
    tables = rankings(house.papers(root), floors, "coins")
    assert [[row.label for row in table.rows] for table in tables] == [["Alpha", "Beta", "chance"], ["Beta"]]
    assert tables[0].rows[1].estimate.n == 4
    assert tables[1].title == "coins (data coins-0.)"


def test_a_training_that_cards_share_is_ranked_once_for_its_own_paper(root: Path) -> None:
    folder = root / "papers/toys/gamma"
    house.write(folder / "paper.yaml", house.CARD.replace("slug: alpha", "slug: gamma").replace("Alpha}", "Gamma}"))
    house.write(folder / "mini.yaml", house.RECIPE.replace("toyhouse.Toy", "papers.toys.gamma.module.Toy"))
    of_both = house.today(root, "main", "beta")
    for seed, value in enumerate(house.BETA[:3]):
        metrics = {"probe/top1": value, "loss": 1.0}
        house.record(root, paper="gamma", arm="alpha", seed=seed, metrics=metrics, recipe_hash=of_both)
    (ranking,) = rankings(house.papers(root), [], "coins", "probe/top1")
    found = [(row.rank, row.label, row.slug, row.estimate.n) for row in ranking.rows]
    assert found == [(1, "Alpha", "alpha", 5), (2, "Gamma", "gamma", 3)]


def test_data_that_each_seed_draws_for_itself_is_ranked_together(root: Path) -> None:
    path = root / "results/runs/alpha.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        line["data_hash"] += f"-drawn-by-{line['seed']}"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (ranking,) = rankings(house.papers(root), [], "coins")
    assert ranking.data_hash.endswith("-drawn-by-0")
    assert [(row.label, row.estimate.n) for row in ranking.rows] == [("Beta", 5), ("Alpha", 5)]


def test_unknown_metric_and_no_record(root: Path) -> None:
    with pytest.raises(UserError, match=r"'top5'; there are: loss, probe/top1"):
        rankings(house.papers(root), [], "coins", "top5")
    with pytest.raises(UserError, match="nothing is on record for the benchmark 'coin'"):
        rankings(house.papers(root), [], "coin")


def test_a_benchmark_without_records_is_ranked_by_its_floor(root: Path) -> None:
    floor = Floor("dice", "d1", "probe/top1", {}, {"chance": {"probe/top1": 0.17}, "raw": {"probe/top1": 0.3}})
    (ranking,) = rankings(house.papers(root), [floor], "dice")
    assert [(row.label, row.rank, row.estimate.mean) for row in ranking.rows] == [
        ("raw", None, 0.3),
        ("chance", None, 0.17),
    ]
    assert all(found.benchmark != "dice" for found in rankings(house.papers(root), [floor]))


def test_a_broken_floor_is_computed_again(root: Path) -> None:
    (path,) = (root / "results/floors").iterdir()
    house.write(path, '{"benchmark": "co\n')
    assert len(measure_floors(house.papers(root), root / "results", print)) == 1
    assert json.loads(path.read_text())["primary"] == "probe/top1"


def test_a_floor_that_lacks_the_metric_of_a_claim_is_computed_again(root: Path) -> None:
    (old,) = read_floors(root / "results")
    write_floor(root / "results", dataclasses.replace(old, rows={"chance": {"knn/top1": 0.5}}))
    assert measure_floors(house.papers(root), root / "results", print) == read_floors(root / "results") == [old]


class Dice:
    name, primary = "dice", "probe/top1"

    def fingerprint(self) -> str:
        return "new"

    def floor(self) -> dict[str, dict[str, float]]:
        return {"chance": {"probe/top1": 0.17}}


def test_a_floor_on_new_data_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    old, other = Floor("dice", "old", "probe/top1", {}, {}), Floor("dice", "six", "probe/top1", {"sides": 6}, {})
    coins = Floor("coins", "c", "probe/top1", {}, {})
    for floor in (old, other, coins):
        write_floor(tmp_path, floor)
    new = floor_of(Dice(), tmp_path)
    assert new == Floor("dice", "new", "probe/top1", {}, {"chance": {"probe/top1": 0.17}})
    assert read_floors(tmp_path) == [coins, new, other]
