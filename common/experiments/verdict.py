"""Does a claim hold? The rule, fixed before anything runs (README, "The rule").

Both arms of a claim train with the same seeds, and what counts is the difference d of each pair. It is looked at with 5
seeds and, if a primary claim is undecided then, with 10; the two looks share an error of 5%, so that the interval of
each is mean(d) +- t(n - 1; 0.9875) s / sqrt(n).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from common.experiments.card import LOOKS, Claim, Comparison, Experiment, Property, untrained
from common.experiments.paired import Interval, detectable, interval, item_error, p_value
from common.experiments.records import ItemKey, Record
from common.experiments.texts import number, with_interval

if TYPE_CHECKING:
    from common.experiments.items import Items  # loads numpy

CONFIDENCE = 1 - 0.05 / len(LOOKS)
"""Of the interval at a look."""
MARGIN = 0.02
"""The margin of a claim that states none, as a share of the headroom from the best floor to the ceiling."""
ITEM_ERRORS = 1.96
"""How many standard errors over the test items a difference must exceed."""

RunItems = Mapping[ItemKey, Mapping[str, "Items"]]
"""Metrics item by item, by the run."""
Floors = Mapping[str, Mapping[str, float]]
"""What needs no learning: metrics by the name of the floor."""


class Verdict(StrEnum):
    """In the order of reports; `judge_claim` asks in its own."""

    REPRODUCED = "reproduced"
    """The interval lies on the claimed side of zero, and other test items would not have turned it."""
    CONTRADICTED = "contradicted"
    """The same on the other side."""
    NO_DIFFERENCE = "no difference"
    """The interval lies within plus and minus the margin."""
    UNDECIDED = "undecided"
    """None of the others: too few seeds for so small a difference."""
    NO_TEST = "no test"
    """The baseline has not learnt, so that beating it would show nothing."""
    NOT_RUN = "not run"
    """Fewer pairs of seeds are on record than the first look takes."""
    HOLDS = "holds"
    """A property: no deviation is above the tolerance."""
    VIOLATED = "violated"
    # What an interval around zero was called before there were margins and looks.
    DIRECTION_ONLY = "undecided"


@dataclass(frozen=True)
class ClaimResult:
    """A claim, put to the test. Values are as measured; only the verdict knows which side was claimed."""

    claim: Claim
    method: Interval | None
    """Over the seeds that count, or all of the arm where none do. None: the arm has no record."""
    baseline: Interval | None
    difference: Interval | None
    """method - baseline, over the seeds that count."""
    seeds: tuple[int, ...]
    """Those of the look; fewer, those that both arms have, where the claim is not run."""
    verdict: Verdict
    reason: str | None = None
    """Why there is no test, or what is missing or short where the claim is undecided."""
    incomplete: bool = False
    """Undecided since something is not on record, which more seeds would not change."""
    margin: float | None = None
    item_error: float | None = None
    """Standard error over the test items; None where they are not kept."""
    detectable: float | None = None
    """The smallest difference that as many seeds would have found with a chance of 80%."""
    p: float | None = None
    """Of the look alone, two-sided."""

    @property
    def primary(self) -> bool:
        return self.claim.primary

    @property
    def control(self) -> bool:
        return self.claim.control

    @property
    def side(self) -> int:
        """1 if the interval of the difference lies on the claimed side of zero, -1 on the other, 0 if on both."""
        return 0 if self.difference is None else self.difference.side * _side(self.claim)

    @property
    def is_tested(self) -> bool:
        """Whether seeds and precondition allowed a test."""
        return self.verdict not in (Verdict.NOT_RUN, Verdict.NO_TEST) and self.p is not None

    @property
    def corrected_p(self) -> float | None:
        """p for both looks together."""
        return None if self.p is None else min(1.0, len(LOOKS) * self.p)

    @property
    def asks_for(self) -> int:
        """How many seeds the rule wants on record."""
        undecided = self.verdict is Verdict.UNDECIDED and not self.incomplete
        return LOOKS[-1] if self.claim.primary and undecided else LOOKS[0]


@dataclass(frozen=True)
class PropertyResult:
    """A property, checked."""

    experiment: Property
    deviation: float | None
    """The largest over the seeds."""
    seeds: tuple[int, ...]
    verdict: Verdict

    @property
    def primary(self) -> bool:
        return self.experiment.primary

    @property
    def control(self) -> bool:
        return self.experiment.control


def arm_values(records: Iterable[Record], arm: str, metric: str) -> dict[int, float]:
    """The finite value of each seed of an arm; `records` are those of one experiment and recipe (`records.current`)."""
    return {
        r.seed: r.metrics[metric]
        for r in records
        if r.arm == arm and metric in r.metrics and math.isfinite(r.metrics[metric])
    }


def judge_claim(
    claim: Claim,
    records: Sequence[Record],
    *,
    items: RunItems | None = None,
    floors: Floors | None = None,
    last: int = LOOKS[-1],
) -> ClaimResult:
    """Puts a claim to the test by what is on record.

    Args:
        records: the current ones of one experiment and recipe.
        items: metrics item by item of these runs.
        floors: what needs no learning on the claim's data; None if it is not measured. Without the claim's metric in
            it, the claim must state its margin.
        last: the look after which no seeds count; a claim that is not primary is judged there.
    """
    method = arm_values(records, claim.method, claim.metric)
    baseline = arm_values(records, claim.baseline, claim.metric)
    paired = sorted(method.keys() & baseline.keys())
    looks = [n for n in LOOKS if n <= last and set(range(n)) <= set(paired)]
    if not looks:
        return ClaimResult(
            claim,
            _mean(method, paired or method),
            _mean(baseline, paired or baseline),
            _difference(method, baseline, paired) if paired else None,
            tuple(paired),
            Verdict.NOT_RUN,
            f"a verdict takes seeds 0 to {LOOKS[0] - 1} of both arms" if method or baseline else None,
        )
    bases = arm_values(records, untrained(claim.baseline), claim.metric)
    for n in looks if claim.primary else looks[-1:]:
        result = _look(claim, n, method, baseline, bases, _item_error(claim, n, records, items or {}), floors)
        if result.asks_for <= n:
            break
    return result


def _look(
    claim: Claim,
    n: int,
    method: Mapping[int, float],
    baseline: Mapping[int, float],
    bases: Mapping[int, float],
    error: float | None,
    floors: Floors | None,
) -> ClaimResult:
    """The verdict with seeds 0 to n - 1."""
    seeds, side = range(n), _side(claim)
    difference = _difference(method, baseline, seeds)
    margin, no_margin = _margin(claim, floors)
    verdict, reason, incomplete = Verdict.UNDECIDED, None, False
    failed, unknown = _precondition(claim, {s: baseline[s] for s in seeds}, bases, floors)
    if failed:
        verdict, reason = Verdict.NO_TEST, failed
    elif unknown or margin is None:
        reason, incomplete = "; ".join(dict.fromkeys(text for text in (unknown, no_margin) if text)), True
    elif difference.within(margin):
        verdict = Verdict.NO_DIFFERENCE
    elif not difference.side:
        pass  # other differences than zero are as likely: undecided
    elif error is None:
        reason, incomplete = "the interval excludes zero, but no scores item by item are kept", True
    elif abs(difference.mean) <= ITEM_ERRORS * error:
        reason = f"the interval excludes zero, but other test items might turn it ({ITEM_ERRORS} SE over items)"
    else:
        verdict = Verdict.REPRODUCED if difference.side == side else Verdict.CONTRADICTED
    return ClaimResult(
        claim,
        _mean(method, seeds),
        _mean(baseline, seeds),
        difference,
        tuple(seeds),
        verdict,
        reason,
        incomplete,
        margin,
        error,
        detectable(difference, CONFIDENCE),
        p_value(difference),
    )


def _precondition(
    claim: Claim, baseline: Mapping[int, float], bases: Mapping[int, float], floors: Floors | None
) -> tuple[str | None, str | None]:
    """Whether the baseline beats its own untrained network and what needs no learning: its interval lies beyond them.

    Returns:
        Why it does not, and what is missing to tell; both None if it does.
    """
    if claim.learns is not True:
        return None, None
    side = _side(claim)
    seeds = sorted(baseline.keys() & bases.keys())
    if not seeds:
        return None, "the baseline's untrained network is not scored yet"
    if len(seeds) == 1:  # it is the same for all seeds
        gain = interval([value - bases[seeds[0]] for value in baseline.values()], CONFIDENCE)
    else:
        gain = _difference(baseline, bases, seeds)
    if gain.side != side:
        return f"the baseline does not beat its own untrained network ({with_interval(gain, sign=True)})", None
    if floors is None:
        return None, _NO_FLOORS
    best = best_floor(claim, floors)
    if best is not None:
        name, value = best
        gain = interval([one - value for one in baseline.values()], CONFIDENCE)
        if gain.side != side:
            gap = with_interval(gain, sign=True)
            return f"the baseline does not beat '{name}', which learns nothing ({number(value)}; {gap})", None
    return None, None


_NO_FLOORS = "what needs no learning is not measured on this data yet"


def _margin(claim: Claim, floors: Floors | None) -> tuple[float | None, str | None]:
    """The margin, or why there is none."""
    if claim.margin is not None:
        return claim.margin, None
    if floors is None:
        return None, _NO_FLOORS
    best = best_floor(claim, floors)
    if best is None:
        return None, f"no floor of {claim.metric} is on record, so the claim must state its 'margin'"
    room = headroom(claim, floors)
    if room is None:
        beyond = f"the floor '{best[0]}' ({number(best[1])}) is beyond the ceiling of {ceiling(claim):g}"
        return None, f"{beyond}, so the claim must state its 'margin' or 'ceiling'"
    return MARGIN * room, None


def headroom(claim: Claim, floors: Floors) -> float | None:
    """From the best floor to the ceiling, in the metric's unit; None where no floor of it is below the ceiling."""
    best = best_floor(claim, floors)
    room = 0.0 if best is None else (ceiling(claim) - best[1]) * _side(claim)
    return room if room > 0 else None


def ceiling(claim: Claim) -> float:
    """The best value that the claim's metric can have."""
    return claim.ceiling if claim.ceiling is not None else float(_side(claim) > 0)


def best_floor(claim: Claim, floors: Floors) -> tuple[str, float] | None:
    """Name and value of what scores best in the claim's metric without learning; None where nothing has it."""
    rows = [(name, row[claim.metric]) for name, row in floors.items() if claim.metric in row]
    return max(rows, key=lambda row: row[1] * _side(claim), default=None)


def _item_error(claim: Claim, n: int, records: Sequence[Record], items: RunItems) -> float | None:
    found: dict[str, list[Items]] = {claim.method: [], claim.baseline: []}
    for record in sorted(records, key=lambda record: record.seed):
        if record.arm in found and record.seed < n:
            of_run = items.get(ItemKey(record.experiment, record.arm, record.recipe_hash, record.seed), {})
            found[record.arm] += [of_run[claim.metric]] if claim.metric in of_run else []
    method, baseline = found.values()
    return item_error(method, baseline) if len(method) == len(baseline) == n else None


def _side(claim: Claim) -> int:
    return 1 if claim.better == "higher" else -1


def _mean(values: Mapping[int, float], seeds: Iterable[int]) -> Interval | None:
    chosen = [values[seed] for seed in seeds]
    return interval(chosen) if chosen else None


def _difference(method: Mapping[int, float], baseline: Mapping[int, float], seeds: Iterable[int]) -> Interval:
    return interval([method[seed] - baseline[seed] for seed in seeds], CONFIDENCE)


def judge_property(experiment: Property, records: Sequence[Record]) -> PropertyResult:
    """Compares the largest deviation on record with the tolerance."""
    deviations = arm_values(records, experiment.name, "deviation")
    if not deviations:
        return PropertyResult(experiment, None, (), Verdict.NOT_RUN)
    worst = max(deviations.values(), key=abs)
    holds = abs(worst) <= experiment.tolerance
    return PropertyResult(experiment, worst, tuple(sorted(deviations)), Verdict.HOLDS if holds else Verdict.VIOLATED)


def judge(
    experiment: Experiment,
    records: Sequence[Record],
    *,
    items: RunItems | None = None,
    floors: Mapping[str, Floors | None] | None = None,
) -> list[ClaimResult] | list[PropertyResult]:
    """The result of each claim of an experiment, in the order of the card.

    The claims beside the primary one are judged at its last look; those of an experiment without it, at the first.

    Args:
        records: current records (see `records.current`) of one recipe file, of this experiment or of the whole paper.
        items: as in `judge_claim`.
        floors: by the arm, what needs no learning on its data; a claim is held against that of its baseline.
    """
    own = [r for r in records if r.experiment == experiment.name]
    if not isinstance(experiment, Comparison):
        return [judge_property(experiment, own)]

    def result(claim: Claim, last: int) -> ClaimResult:
        return judge_claim(claim, own, items=items, floors=(floors or {}).get(claim.baseline), last=last)

    last = LOOKS[0]
    if experiment.primary is not None:
        last = max(last, len(result(experiment.primary, LOOKS[-1]).seeds))
    return [result(claim, last) for claim in experiment.claims]
