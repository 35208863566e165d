"""Where the recorded runs lie in the plane of alignment and uniformity, and what of their scores it says.

python -m papers.theory.align_uniform.plane [--results results]

A row for each arm; then the rank correlation of the score with each of the two, and with the best sum of both.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from common.evaluation.similarity import spearman
from common.experiments.records import Ledger, Record, current

SCORE, AXES = "linear_r2/latents", ("alignment/views", "uniformity/views")


def ranks(values: Tensor) -> Tensor:
    """From 0 on, (n,); tied values have their mean rank."""
    below, not_above = values[:, None] > values, values[:, None] >= values
    return (below.sum(dim=1) + not_above.sum(dim=1) - 1).double() / 2


def explained(runs: Sequence[Record]) -> dict[str, float]:
    """Of the score over runs: its rank correlation with each axis, and with the sum of their ranks that is nearest."""
    score, *axes = (torch.tensor([run.metrics[name] for run in runs], dtype=torch.float64) for name in (SCORE, *AXES))
    columns = torch.stack([*map(ranks, axes), torch.ones(len(runs), dtype=torch.float64)], dim=1)
    nearest = columns @ torch.linalg.lstsq(columns, ranks(score)[:, None], driver="gelsd").solution.flatten()
    return {name: float(spearman(axis, score)) for name, axis in (*zip(AXES, axes, strict=True), ("both", nearest))}


def table(runs: Sequence[Record]) -> str:
    """Markdown: the mean of each arm, and what `explained` finds over all runs."""
    lines = [f"| arm | runs | {' | '.join((SCORE, *AXES))} |", "|---|---|---|---|---|"]
    for arm in dict.fromkeys(run.arm for run in runs):
        own = [run.metrics for run in runs if run.arm == arm]
        means = [sum(metrics[name] for metrics in own) / len(own) for name in (SCORE, *AXES)]
        lines.append(f"| {arm} | {len(own)} | {' | '.join(f'{mean:.3f}' for mean in means)} |")
    found = ", ".join(f"{name} {value:+.2f}" for name, value in explained(runs).items())
    return "\n".join([*lines, "", f"Rank correlation of {SCORE} over {len(runs)} runs: {found}"])


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=Path("results"))
    given = parser.parse_args(arguments)
    records, _ = Ledger(given.results / "runs").read("align_uniform")
    runs = [run for run in current(records) if SCORE in run.metrics]
    print(table(runs) if len(runs) > 2 else "fewer than three runs are on record; papers rerun align_uniform")


if __name__ == "__main__":
    main()
