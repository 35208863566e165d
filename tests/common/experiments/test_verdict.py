import dataclasses
import math
import random

import numpy as np
import pytest
from scipy import stats

from common.experiments.card import Arm, Claim, Comparison, Property, untrained
from common.experiments.items import Items
from common.experiments.records import Record
from common.experiments.verdict import RunItems, Verdict, judge, judge_claim, judge_property

RECORD = Record(**dict.fromkeys((f.name for f in dataclasses.fields(Record)), "") | {"experiment": "main"})


def record(arm: str, seed: int, value: float, metric: str = "m", experiment: str = "main") -> Record:
    return dataclasses.replace(RECORD, experiment=experiment, arm=arm, seed=seed, metrics={metric: value})


def records(method: list[float], baseline: list[float], bases: float = -100.0) -> list[Record]:
    """Runs of both arms, and of the baseline untrained."""
    return [
        *(record("method", seed, value) for seed, value in enumerate(method)),
        *(record("baseline", seed, value) for seed, value in enumerate(baseline)),
        *(record(untrained("baseline"), seed, bases) for seed in range(len(baseline))),
    ]


def items_of(runs: list[Record], spread: float = 0.0, total: int = 100) -> RunItems:
    """Scores item by item whose mean is the run's metric; with `spread` the method's deviate by it, up and down."""
    signs = np.resize([1.0, -1.0], total)
    return {
        (r.experiment, r.arm, r.recipe_hash, r.seed): {
            name: Items(value + signs * spread * (r.arm == "method"), total) for name, value in r.metrics.items()
        }
        for r in runs
    }


def claim(better: str = "higher", **fields: object) -> Claim:
    return Claim("text", "method", "baseline", "m", better, **{"margin": 0.001, "primary": True} | fields)


def judged(given: Claim, runs: list[Record], floors: dict | None = None):
    return judge_claim(given, runs, items=items_of(runs), floors=floors or {})


SPREAD = [-0.02, -0.01, 0.0, 0.01, 0.02]
"""Mean 0, s 0.0158; with 5 seeds the interval is +-0.0247, with 10 (twice over) +-0.0127."""


def differing(by: float, n: int = 5) -> list[Record]:
    return records([0.5 + by + SPREAD[i % 5] for i in range(n)], [0.5] * n)


def test_the_interval_of_a_look_by_hand():
    # t(4; 0.9875) = 3.495406, s = sqrt(0.0010 / 4)
    found = judged(claim(), differing(0.03))
    half = 3.495406 * math.sqrt(0.001 / 4) / math.sqrt(5)
    assert (found.difference.mean, found.difference.n) == (pytest.approx(0.03), 5)
    assert (found.difference.low, found.difference.high) == (pytest.approx(0.03 - half), pytest.approx(0.03 + half))
    test = stats.ttest_rel([0.5 + 0.03 + d for d in SPREAD], [0.5] * 5)
    assert found.p == pytest.approx(test.pvalue) and found.corrected_p == pytest.approx(2 * test.pvalue)


@pytest.mark.parametrize(
    ("by", "n", "margin", "verdict", "look"),
    [
        (0.03, 5, 0.001, Verdict.REPRODUCED, 5),
        (-0.03, 5, 0.001, Verdict.CONTRADICTED, 5),
        (0.0, 5, 0.03, Verdict.NO_DIFFERENCE, 5),
        (0.03, 5, 0.06, Verdict.NO_DIFFERENCE, 5),  # beyond zero, and too small to be of interest
        (0.02, 5, 0.001, Verdict.UNDECIDED, 5),
        (0.02, 10, 0.001, Verdict.REPRODUCED, 10),
        (-0.02, 10, 0.001, Verdict.CONTRADICTED, 10),
        (0.01, 10, 0.001, Verdict.UNDECIDED, 10),
        (0.0, 10, 0.015, Verdict.NO_DIFFERENCE, 10),
        (0.02, 9, 0.001, Verdict.UNDECIDED, 5),  # no look between 5 and 10
        (0.02, 30, 0.001, Verdict.REPRODUCED, 10),  # nor beyond
        (0.03, 4, 0.001, Verdict.NOT_RUN, 4),
        (0.03, 0, 0.001, Verdict.NOT_RUN, 0),
    ],
)
def test_verdicts_by_hand_on_either_side(by, n, margin, verdict, look):
    runs = differing(by, n)
    found = judged(claim(margin=margin), runs)
    assert (found.verdict, len(found.seeds)) == (verdict, look)
    mirrored = [dataclasses.replace(r, metrics={"m": -r.metrics["m"]}) for r in runs]
    for base in mirrored:
        base.metrics["m"] *= 1 if base.arm != untrained("baseline") else 100
    mirrored = [r if "@" not in r.arm else record(r.arm, r.seed, 100.0) for r in mirrored]
    assert judged(claim("lower", margin=margin), mirrored).verdict == verdict


def test_what_is_decided_at_five_seeds_stays_so_whatever_comes_after():
    runs = differing(0.03, 5) + [
        r for s in range(5, 10) for r in (record("method", s, 0.0), record("baseline", s, 0.5))
    ]
    found = judged(claim(), runs)
    assert (found.verdict, found.seeds, found.asks_for) == (Verdict.REPRODUCED, (0, 1, 2, 3, 4), 5)


def test_more_seeds_are_asked_for_where_they_can_decide():
    assert judged(claim(), differing(0.02)).asks_for == 10
    assert judged(claim(primary=False), differing(0.02)).asks_for == 5
    assert judged(claim(), differing(0.03)).asks_for == 5
    assert judged(claim(), differing(0.02, 4)).asks_for == 5
    assert judge_claim(claim(), differing(0.03)).asks_for == 5, "more seeds would not score the untrained network"


def test_only_the_first_seeds_of_both_arms_count():
    runs = [r for r in differing(0.03, 10) if (r.arm, r.seed) != ("method", 4)]
    found = judged(claim(), runs)
    assert (found.verdict, found.reason) == (Verdict.NOT_RUN, "a verdict takes seeds 0 to 4 of both arms")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_value_that_is_no_number_never_counts(value):
    runs = [record("method", 0, value) if (r.arm, r.seed) == ("method", 0) else r for r in differing(0.03)]
    found = judge_claim(Claim("t", "method", "baseline", "m", "higher"), runs)
    assert found.verdict is Verdict.NOT_RUN and found.seeds == (1, 2, 3, 4)
    assert math.isfinite(found.difference.mean)


def test_pairing_finds_what_the_spread_of_the_seeds_would_hide():
    baseline = [0.10, 0.50, 0.90, 0.30, 0.70]
    method = [value + 0.01 + d / 50 for value, d in zip(baseline, SPREAD, strict=True)]
    assert judged(claim(), records(method, baseline)).verdict is Verdict.REPRODUCED
    assert stats.ttest_ind(method, baseline).pvalue > 0.9


@pytest.mark.parametrize(("metric", "better"), [(0.7, "higher"), (0.2, "lower")])
def test_the_margin_is_a_share_of_the_headroom_above_the_best_floor(metric, better):
    floors = {"chance": {"m": 0.45}, "raw pixels": {"m": metric}, "of another metric": {"else": 0.99}}
    given = claim(better, margin=None, learns="not asked for here")
    found = judged(given, differing(0.0), floors)
    assert found.margin == pytest.approx(0.02 * (0.3 if better == "higher" else 0.2))
    of_percent = {"chance": {"m": 10.0}}
    assert judged(dataclasses.replace(given, better="higher", ceiling=100.0), differing(0.0), of_percent).margin == 1.8
    found = judged(dataclasses.replace(given, better="higher"), differing(0.0), of_percent)
    assert found.incomplete and "the floor 'chance' (10.000) is beyond the ceiling of 1" in found.reason
    assert judge_claim(given, differing(0.03)).reason == "what needs no learning is not measured on this data yet"
    found = judged(given, differing(0.03))
    assert (found.verdict, found.incomplete) == (Verdict.UNDECIDED, True)
    assert found.reason == "no floor of m is on record, so the claim must state its 'margin'"


@pytest.mark.parametrize("better", ["higher", "lower"])
def test_no_test_where_the_baseline_has_not_learnt(better):
    side = 1 if better == "higher" else -1
    method, baseline = [0.9 * side] * 5, [side * (0.1 + d) for d in SPREAD]
    given = claim(better)
    assert judged(given, records(method, baseline, -side)).verdict is Verdict.REPRODUCED
    found = judged(given, records(method, baseline, 0.09 * side))
    assert found.verdict is Verdict.NO_TEST and "does not beat its own untrained network" in found.reason
    found = judged(given, records(method, baseline, -side), {"chance": {"m": 0.09 * side}, "raw": {"m": 0.05 * side}})
    assert found.verdict is Verdict.NO_TEST and "does not beat 'chance', which learns nothing" in found.reason
    assert judged(given, records(method, baseline, -side), {"chance": {"m": 0.05 * side}}).verdict is Verdict.REPRODUCED
    exempt = dataclasses.replace(given, learns="the claim is that the baseline stays at chance")
    assert judged(exempt, records(method, baseline, 0.09 * side)).verdict is Verdict.REPRODUCED


def test_what_is_not_on_record_leaves_a_claim_undecided():
    runs = differing(0.03)
    found = judge_claim(claim(), runs, floors={})
    assert (found.verdict, found.incomplete) == (Verdict.UNDECIDED, True) and "item by item" in found.reason
    found = judge_claim(claim(), runs, items=items_of(runs))
    assert found.incomplete and "needs no learning is not measured" in found.reason
    found = judged(claim(margin=None), [r for r in runs if "@" not in r.arm])
    assert found.incomplete and "untrained network is not scored" in found.reason and "'margin'" in found.reason
    lacking = items_of(runs)
    del lacking[("main", "method", "", 3)]
    assert judge_claim(claim(), runs, items=lacking, floors={}).item_error is None


def test_one_untrained_network_stands_for_all_seeds():
    runs = [r for r in differing(0.03) if "@" not in r.arm]
    found = judged(claim(), [*runs, record(untrained("baseline"), 0, 0.4)])
    assert found.verdict is Verdict.REPRODUCED
    assert judged(claim(), [*runs, record(untrained("baseline"), 0, 0.5)]).verdict is Verdict.NO_TEST


def test_other_test_items_must_not_turn_a_difference():
    runs = differing(0.03)
    # 100 items, whose differences are 0.03 +- spread: the standard error is spread * sqrt(100 / 99) / 10.
    found = judge_claim(claim(), runs, items=items_of(runs, spread=0.14), floors={})
    assert found.item_error == pytest.approx(0.014 * math.sqrt(100 / 99))
    assert found.verdict is Verdict.REPRODUCED
    found = judge_claim(claim(), runs, items=items_of(runs, spread=0.16), floors={})
    assert found.verdict is Verdict.UNDECIDED and not found.incomplete and "other test items" in found.reason


def test_the_error_over_items_is_of_all_items_scored_though_few_are_kept():
    runs = differing(0.03)
    kept = {run: {"m": Items(one["m"].values, 10_000)} for run, one in items_of(runs, spread=0.14).items()}
    assert judge_claim(claim(), runs, items=kept, floors={}).item_error == pytest.approx(0.0014 * math.sqrt(100 / 99))


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


def comparison(*claims: Claim) -> Comparison:
    return Comparison("main", "compare", "mini.yaml", {name: Arm(name, name, {}) for name in ("a", "b")}, claims)


def test_judging_an_experiment_leaves_out_the_records_of_others():
    runs = [
        *differing(0.03),
        record("method", 0, -5.0, experiment="other"),
        record("bound", 0, 0.0, "deviation", "bound"),
    ]
    found = judge(comparison(claim()), runs, items=items_of(runs[:15]), floors={"baseline": {}})
    assert [r.verdict for r in found] == [Verdict.REPRODUCED]
    assert [r.verdict for r in judge(PROPERTY, runs)] == [Verdict.HOLDS]


def test_a_claim_is_held_against_the_floor_of_its_baselines_data():
    runs = differing(0.03)
    floors = {"baseline": {"raw": {"m": 0.4}}, "method": {"raw": {"m": 0.9}}}
    (found,) = judge(comparison(claim(margin=None)), runs, items=items_of(runs), floors=floors)
    assert (found.verdict, found.margin) == (Verdict.REPRODUCED, pytest.approx(0.012))


def test_claims_beside_the_primary_are_judged_at_its_last_look():
    beside = claim(primary=False, margin=0.0005)

    def looks(by: float, *claims: Claim) -> list[int]:
        runs = differing(by, 10)
        return [len(r.seeds) for r in judge(comparison(*claims), runs, items=items_of(runs), floors={"baseline": {}})]

    assert looks(0.02, claim(), beside) == [10, 10]
    assert looks(0.03, claim(), beside) == [5, 5]
    assert looks(0.02, beside) == [5], "more seeds than the rule asks for change no verdict"


def simulated(effect: float, trials: int, seed: int) -> dict[Verdict, float]:
    """How often the whole procedure ends with each verdict, where d is normal with s = 1 and mean `effect`."""
    draw = random.Random(seed)
    given = claim(learns="simulated", margin=1e-9)
    baselines = [record("baseline", s, 0.0) for s in range(10)]
    methods = [record("method", s, 0.0) for s in range(10)]
    runs = methods + baselines
    items = items_of(runs, total=2)
    ends = dict.fromkeys(Verdict, 0)
    for _ in range(trials):
        for one in methods:
            one.metrics["m"] = draw.gauss(effect, 1)
        ends[judge_claim(given, runs, items=items, floors={}).verdict] += 1
    return {verdict: count / trials for verdict, count in ends.items()}


def test_the_rule_errs_rarely_and_finds_large_differences():
    trials = 4000
    chance = 3 * math.sqrt(0.025 / trials)  # three standard errors of the simulation
    null = simulated(0.0, trials, 1)
    for verdict in (Verdict.REPRODUCED, Verdict.CONTRADICTED):
        assert 0.0125 < null[verdict] <= 0.025 + chance
    assert null[Verdict.REPRODUCED] + null[Verdict.CONTRADICTED] <= 0.05
    # In standard deviations of d.
    for effect, expected in ((1.0, 0.70), (1.14, 0.815), (1.5, 0.967), (2.0, 1.0)):
        assert simulated(effect, 1000, 2)[Verdict.REPRODUCED] == pytest.approx(expected, abs=0.04)


def test_the_smallest_detectable_difference_is_found_at_eighty_percent():
    found = judged(claim(), differing(0.0, 10))
    s = found.difference.std
    # P(T > t(9; 0.9875)) with T noncentral t: the one-sided power of a look with ten seeds.
    power = stats.nct.sf(stats.t.ppf(0.9875, 9), 9, found.detectable * math.sqrt(10) / s)
    assert power == pytest.approx(0.8, abs=1e-6)
    assert found.detectable / s == pytest.approx(1.139, abs=0.001)


def test_an_old_name_of_undecided_still_resolves():
    assert Verdict.DIRECTION_ONLY is Verdict.UNDECIDED
