import dataclasses

import numpy as np
import pytest
from scipy import stats

from common.experiments.card import Arm, Claim, Comparison, Property
from common.experiments.records import Record
from common.experiments.verdict import Verdict, interval, judge, judge_claim, judge_property


def record(arm: str, seed: int, value: float, metric: str = "m", experiment: str = "main") -> Record:
    values = dict.fromkeys((f.name for f in dataclasses.fields(Record)), "")
    return Record(**values | {"experiment": experiment, "arm": arm, "seed": seed, "metrics": {metric: value}})


def records(method: list[float], baseline: list[float]) -> list[Record]:
    return [
        *(record("method", seed, value) for seed, value in enumerate(method)),
        *(record("baseline", seed, value) for seed, value in enumerate(baseline)),
    ]


def claim(better: str = "higher") -> Claim:
    return Claim("text", "method", "baseline", "m", better)


def test_an_interval_by_hand():
    # mean 3, variance (4 + 1 + 0 + 1 + 4) / 4 = 2.5, t(4; 0.975) = 2.776445
    found = interval([1.0, 2.0, 3.0, 4.0, 5.0])
    half = 2.776445105 * (2.5 / 5) ** 0.5
    assert (found.mean, found.n) == (3.0, 5)
    assert found.std == pytest.approx(2.5**0.5)
    assert (found.low, found.high) == (pytest.approx(3 - half), pytest.approx(3 + half))


@pytest.mark.parametrize("n", [2, 3, 5, 20])
def test_the_difference_is_scipys_paired_test(n):
    rng = np.random.default_rng(n)
    method, baseline = rng.normal(0.6, 0.05, n), rng.normal(0.55, 0.05, n)
    found = judge_claim(claim(), records(list(method), list(baseline)))
    test = stats.ttest_rel(method, baseline)
    low, high = test.confidence_interval(0.95)
    assert found.difference.low == pytest.approx(low, rel=1e-9)
    assert found.difference.high == pytest.approx(high, rel=1e-9)
    # The interval excludes zero exactly if the two-sided test rejects at 5%.
    expected = Verdict.REPRODUCED if test.pvalue < 0.05 else Verdict.DIRECTION_ONLY
    assert found.verdict == (expected if test.statistic > 0 else Verdict.NOT_REPRODUCED)


@pytest.mark.parametrize(
    ("method", "baseline", "verdict"),
    [
        ([0.9, 0.91, 0.92], [0.5, 0.52, 0.51], Verdict.REPRODUCED),
        ([0.9, 0.5, 0.6], [0.5, 0.52, 0.55], Verdict.DIRECTION_ONLY),
        ([0.5, 0.52, 0.51], [0.9, 0.91, 0.92], Verdict.NOT_REPRODUCED),
        ([0.5, 0.55, 0.5], [0.52, 0.51, 0.55], Verdict.NOT_REPRODUCED),
        # No spread: the seeds agree to the last digit.
        ([0.6, 0.7, 0.8], [0.5, 0.6, 0.7], Verdict.REPRODUCED),
        ([0.6, 0.6, 0.6], [0.5, 0.5, 0.5], Verdict.REPRODUCED),
        ([0.5, 0.5, 0.5], [0.5, 0.5, 0.5], Verdict.NOT_REPRODUCED),
        # One seed has no interval.
        ([0.9], [0.1], Verdict.DIRECTION_ONLY),
        ([0.1], [0.9], Verdict.NOT_REPRODUCED),
        ([], [0.9], Verdict.NOT_RUN),
        ([0.9], [], Verdict.NOT_RUN),
    ],
)
def test_verdicts_by_hand_on_either_side(method, baseline, verdict):
    assert judge_claim(claim("higher"), records(method, baseline)).verdict == verdict
    mirrored = records([-v for v in method], [-v for v in baseline])
    assert judge_claim(claim("lower"), mirrored).verdict == verdict


def test_pairing_finds_what_the_spread_of_the_seeds_would_hide():
    method, baseline = [0.11, 0.52, 0.91, 0.31], [0.10, 0.50, 0.90, 0.30]
    assert judge_claim(claim(), records(method, baseline)).verdict == Verdict.REPRODUCED
    assert stats.ttest_ind(method, baseline).pvalue > 0.9


def test_only_seeds_of_both_arms_count():
    found = judge_claim(claim(), records([0.9, 0.8, 0.7, 99.0], [0.5, 0.5, 0.5]))
    assert found.seeds == (0, 1, 2)
    assert found.difference.mean == pytest.approx(0.3)
    assert found.method.n == 4 and found.baseline.n == 3


def test_one_value_has_a_mean_and_no_interval():
    found = interval([0.3])
    assert (found.mean, found.low, found.high, found.std) == (0.3, None, None, None)
    with pytest.raises(ValueError, match="at least one value"):
        interval([])


def test_equal_values_have_an_interval_of_width_zero():
    found = interval([0.1] * 3)
    assert found.low == found.high == found.mean
    assert found.std == 0.0


PROPERTY = Property("bound", "property", "a:b", 1e-3, 3, "claim", "eq. 1")


@pytest.mark.parametrize(
    ("deviations", "verdict", "worst"),
    [
        ([0.0, 1e-4, 1e-3], Verdict.HOLDS, 1e-3),
        ([0.0, 1e-4, 1.1e-3], Verdict.VIOLATED, 1.1e-3),
        ([0.0, -2e-3, 1e-4], Verdict.VIOLATED, -2e-3),
        ([], Verdict.NOT_RUN, None),
    ],
)
def test_a_property_holds_up_to_its_tolerance(deviations, verdict, worst):
    runs = [record("bound", s, d, "deviation", "bound") for s, d in enumerate(deviations)]
    found = judge_property(PROPERTY, runs)
    assert (found.verdict, found.deviation, len(found.seeds)) == (verdict, worst, len(deviations))


def test_judging_an_experiment_leaves_out_the_records_of_others():
    arms = {name: Arm(name, name, {}) for name in ("method", "baseline")}
    main = Comparison("main", "compare", "mini.yaml", 2, arms, (claim("higher"), claim("lower")))
    runs = [*records([0.9, 0.8], [0.1, 0.1]), record("method", 0, -5.0, experiment="other")]
    runs.append(record("bound", 0, 0.0, "deviation", "bound"))
    assert [r.verdict for r in judge(main, runs)] == [Verdict.REPRODUCED, Verdict.NOT_REPRODUCED]
    assert [r.verdict for r in judge(PROPERTY, runs)] == [Verdict.HOLDS]
