"""Curves of losses: thinned, written as a line a run, read strictly."""

from pathlib import Path

import pytest

from common.experiments.loss_curves import MOST_POINTS, CurveLedger, LossCurve
from common.experiments.records import ItemKey

KEY = ItemKey("main", "alpha", "abc", 3)


def test_a_curve_comes_back_to_four_digits(tmp_path: Path) -> None:
    ledger = CurveLedger(tmp_path / "curves")
    ledger.append("toy", KEY, LossCurve(10, (1.23456, 0.5)))
    ledger.append("toy", KEY, LossCurve(10, (4.0, 0.000123456)))
    ledger.append("toy", KEY._replace(seed=4), LossCurve(50, ()))
    assert ledger.read("toy") == {KEY: LossCurve(10, (4.0, 0.0001235)), KEY._replace(seed=4): LossCurve(50, ())}
    assert ledger.read("other") == {}


def test_a_long_curve_is_thinned_to_means_of_longer_intervals() -> None:
    curve = LossCurve(10, tuple(map(float, range(2 * MOST_POINTS + 1)))).thinned()
    assert curve.every == 30 and len(curve.losses) == 67 <= MOST_POINTS
    assert curve.losses[:2] == (1.0, 4.0) and curve.points()[:2] == [(15.0, 1.0), (45.0, 4.0)]
    short = LossCurve(10, (1.0,) * MOST_POINTS)
    assert short.thinned() is short


@pytest.mark.parametrize(
    "line",
    [
        '{"experiment": "main"}',
        '{"experiment": "main", "arm": "a", "recipe_hash": "b", "seed": -1, "every": 1, "losses": []}',
        '{"experiment": "main", "arm": "a", "recipe_hash": "b", "seed": 0, "every": 0, "losses": []}',
        '{"experiment": "main", "arm": "a", "recipe_hash": "b", "seed": 0, "every": 1, "losses": 5}',
        '{"experiment": "main", "arm": "a", "recipe_hash": "b", "seed": 0, "every": 1, "losses": ["1"]}',
        '{"experiment": "main", "arm": "a", "recipe_hash": "b", "seed": 0, "every": 1, "losses": [NaN]}',
    ],
)
def test_a_broken_line_is_left_out(tmp_path: Path, line: str) -> None:
    ledger = CurveLedger(tmp_path)
    ledger.append("toy", KEY, LossCurve(1, (1.0,)))
    ledger.path("toy").open("a").write(line + "\n")
    assert list(ledger.read("toy")) == [KEY]
