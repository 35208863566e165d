"""The rows of the site's tables: every claim, every paper, every place in a ranking. What is shown is what is here."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from common.experiments.card import Comparison
from common.experiments.records import select
from common.experiments.texts import NOTHING, deviation, duration, with_interval, with_spread
from common.experiments.verdict import ClaimResult, PropertyResult, headroom
from harness.pages.claim_text import title
from harness.pages.compare import Ranking
from harness.pages.figures import Difference
from harness.pages.report import turned
from harness.records.floors import Floor, floors_of
from harness.records.standing import Standing, Trial
from harness.site.published import published_gain, reproduced_gain


def floors_under(trial: Trial, arm: str, floors: Sequence[Floor]) -> dict[str, dict[str, float]]:
    """What needs no learning on the data of an arm."""
    return floors_of(select(trial.records, arm=arm), floors) or {}


def in_percent(trial: Trial, result: ClaimResult, floors: Sequence[Floor]) -> Difference | None:
    """A claim's difference in percent of the headroom from the best floor to the ceiling, positive as claimed.

    None where nothing is on record, or no floor of the metric.
    """
    room = headroom(result.claim, floors_under(trial, result.claim.baseline, floors))
    if room is None or result.difference is None:
        return None

    def percent(value: float | None) -> float | None:
        return None if value is None else 100 * value / room

    towards, values = turned(trial, result)
    scaled = {end: percent(getattr(towards, end)) for end in ("mean", "low", "high", "std")}
    interval = dataclasses.replace(towards, **scaled)
    seeds = tuple(100 * value / room for value in values)
    return Difference(title(trial, result), "", interval, seeds, str(result.verdict), percent(result.margin))


def claims(papers: Sequence[Standing], q: Mapping[str, float], floors: Sequence[Floor]) -> Iterator[dict[str, object]]:
    """A row for each claim and each property, in the order of the cards."""
    for paper in papers:
        for trial in paper.trials:
            for result in trial.results:
                row = _of_paper(paper) | {
                    "kind": "control" if result.control else "central" if result.primary else "other",
                    "verdict": str(result.verdict),
                    "benchmark": trial.benchmark or NOTHING,
                    "seeds": len(result.seeds),
                    "q": q.get(paper.card.slug) if result.primary else None,
                }
                yield row | (
                    _claim(paper, trial, result, floors) if isinstance(result, ClaimResult) else _check(result)
                )


def _claim(paper: Standing, trial: Trial, result: ClaimResult, floors: Sequence[Floor]) -> dict[str, object]:
    claim, found = result.claim, in_percent(trial, result, floors)
    row = paper.card.published_row(claim)
    printed = NOTHING
    if row is not None:
        before = "" if row.baseline_value is None else f"{row.baseline_value:g} → "
        printed = f"{before}{row.value:g} {row.metric}, {row.dataset}"
    return {
        "claim": claim.text,
        "metric": claim.metric + (", lower is better" if claim.better == "lower" else ""),
        "difference": with_interval(result.difference, sign=True),
        "effect": _rounded(found.difference.mean if found else None),
        "p": result.corrected_p if result.is_tested else None,
        "printed": printed,
        "published": _rounded(published_gain(row)),
        "gain": _rounded(reproduced_gain(result)),
    }


def _check(result: PropertyResult) -> dict[str, object]:
    worst, tolerance = result.deviation, result.experiment.tolerance
    return {
        "claim": result.experiment.claim,
        "metric": "largest deviation",
        "difference": NOTHING if worst is None else f"{deviation(worst, tolerance)} allowed",
        "effect": None,
        "p": None,
        "printed": NOTHING,
        "published": None,
        "gain": None,
    }


def listed(papers: Sequence[Standing], q: Mapping[str, float], floors: Sequence[Floor]) -> Iterator[dict[str, object]]:
    """A row for each paper: where its central claim stands."""
    for paper in papers:
        verdict, found = NOTHING, None
        if paper.primary is not None:
            trial, result = paper.primary
            verdict = str(result.verdict)
            found = in_percent(trial, result, floors) if isinstance(result, ClaimResult) else None
        yield _of_paper(paper) | {
            "title": paper.card.title,
            "venue": paper.card.venue,
            "surveyed": "surveyed" if paper.card.surveyed else "baseline",
            "verdict": verdict,
            "effect": _rounded(found.difference.mean if found else None),
            "q": q.get(paper.card.slug),
            "claims": sum(not result.control for result in paper.results),
            "benchmark": paper.benchmarks,
            "experiments": sum(isinstance(trial.experiment, Comparison) for trial in paper.trials),
        }


def ranked(rankings: Sequence[Ranking], papers: Sequence[Standing]) -> Iterator[dict[str, object]]:
    """A row for each place in a ranking, floors among them."""
    family = {paper.card.slug: paper.card.family for paper in papers}
    for ranking in rankings:
        for row in ranking.rows:
            yield {
                "benchmark": ranking.title,
                "rank": row.rank,
                "ranks": row.may_be,
                "method": row.label,
                "paper": row.slug or "floor",
                "family": family.get(row.slug or "", ""),
                "metric": ranking.metric,
                "value": row.estimate.mean,
                "shown": with_spread(row.estimate),
                "seeds": row.estimate.n if row.slug else None,
                "steps": row.steps if row.slug else None,
                "time": duration(row.seconds) if row.slug else NOTHING,
                "seconds": round(row.seconds, 1),
            }


def _of_paper(paper: Standing) -> dict[str, object]:
    card = paper.card
    return {"paper": card.slug, "family": card.family, "year": card.year, "modality": list(card.modalities)}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
