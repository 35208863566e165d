"""A claim in a few lines, the same ones on the console and on the pages."""

from common.experiments.card import Comparison
from common.experiments.texts import deviation, number, probability, with_interval
from common.experiments.verdict import ClaimResult, PropertyResult, Verdict
from harness.records.standing import Standing, Trial


def title(trial: Trial, result: ClaimResult | PropertyResult) -> str:
    """What is claimed, and whether it is the paper's central claim, a control of ours, or tested by another recipe."""
    claim = result.claim if isinstance(result, ClaimResult) else result.experiment
    text = claim.text if isinstance(result, ClaimResult) else claim.claim
    marks = ["primary"] if claim.primary else ["our control"] if claim.control else []
    if isinstance(trial.experiment, Comparison) and trial.recipe != trial.experiment.recipe:
        marks.append(trial.recipe)
    return text + (f" ({', '.join(marks)})" if marks else "")


def lines(paper: Standing, trial: Trial, result: ClaimResult | PropertyResult, code: str = "") -> list[str]:
    """What stands below the claim: means, the difference and what it is held against, and what else must be known.

    Args:
        code: put around the names of metrics, as "`" in Markdown.
    """
    if isinstance(result, PropertyResult):
        return [_property(result)]
    found = [_means(trial, result, code)]
    if result.difference is not None:
        found.append(difference(result))
    notes = [f"{result.reason[0].upper()}{result.reason[1:]}."] if result.reason else []
    if isinstance(result.claim.learns, str):
        notes.append(f"That the baseline learns is not asked for: {result.claim.learns}.")
    notes.append(tuning(paper, trial, result))
    found.append(" ".join(notes))
    if result.claim.remark and result.side and result.verdict is not Verdict.NOT_RUN:
        found.append(f"{result.claim.remark[0].upper()}{result.claim.remark[1:]}.")
    return found


def _property(result: PropertyResult) -> str:
    tolerance, where = result.experiment.tolerance, result.experiment.where
    if result.deviation is None:
        return f"No seed is on record; {tolerance:.2g} is allowed ({where})."
    found = deviation(result.deviation, tolerance)
    return f"Largest deviation {found} allowed ({where}); {_count(len(result.seeds), 'seed')}."


def _means(trial: Trial, result: ClaimResult, code: str) -> str:
    claim = result.claim
    lower = ", lower is better" if claim.better == "lower" else ""
    means = [
        f"{trial.label(arm)} {number(side.mean)}" if side else f"{trial.label(arm)} not run"
        for arm, side in ((claim.method, result.method), (claim.baseline, result.baseline))
    ]
    return f"{code}{claim.metric}{code}{lower}: {' against '.join(means)}."


def difference(result: ClaimResult) -> str:
    """ "Difference +0.013 [+0.002, +0.024] over 5 seeds, margin 0.004, query SE 0.003, p 0.02." """
    seeds = _count(len(result.seeds), "seed")
    parts = [f"Difference {with_interval(result.difference, sign=True)} over {seeds}"]
    if result.verdict is Verdict.NOT_RUN:
        return f"{parts[0]}."
    error = "not kept" if result.item_error is None else number(result.item_error)
    parts.append(f"margin {'unknown' if result.margin is None else number(result.margin)}")
    parts.append(f"{result.claim.unit} SE {error}")
    parts += [f"p {probability(result.corrected_p)}"] if result.corrected_p is not None else []
    text = ", ".join(parts) + "."
    if result.verdict is Verdict.UNDECIDED and not result.side and result.detectable is not None:
        text += f" As many seeds find {number(result.detectable)} (at 80% power)."
    return text


def tuning(paper: Standing, trial: Trial, result: ClaimResult) -> str:
    """How often method and baseline were tried before."""
    method, baseline = (trial.experiment.tries(arm) for arm in (result.claim.method, result.claim.baseline))
    if not method and not baseline:
        return "No tuning is on record."
    equal = f"{_count(method, 'try', 'tries')} each"
    tried = equal if method == baseline else f"method {method}, baseline {_count(baseline, 'try', 'tries')}"
    return f"Tuned on validation data: {tried}{'' if paper.tuned else ', not on record yet'}."


def _count(n: int, one: str, many: str | None = None) -> str:
    return f"{n} {one if n == 1 else many or f'{one}s'}"
