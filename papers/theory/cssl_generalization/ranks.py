"""How the recorded augmentations rank by sigma, and how by error.

python -m papers.theory.cssl_generalization.ranks [--results results] [--delta 12]

A row for each arm, and for each loss the rank correlation of 1 - sigma with the error over its arms. Jitter has no
bound and is left out of sigma, as it hardly brings samples nearer.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from common.evaluation.similarity import spearman
from common.experiments.records import Ledger, Record, current
from data.benchmarks.worlds.groups import Groups

SCORE = "knn20_cosine/top1"
LOSSES = {
    "NT-Xent": {"one": (1,), "one_jitter": (1,), "two": (1, 2), "three": (1, 2, 3)},
    "Barlow Twins": {"twins_one": (1,), "twins_three": (1, 2, 3)},
}
"""What each arm's views redraw."""


def table(runs: Sequence[Record], delta: float) -> str:
    """Markdown: of each arm 1 - sigma and the mean error, and below the rank correlation over each loss's arms."""
    lines, below = ["| arm | runs | 1 - sigma | error |", "|---|---|---|---|"], []
    for loss, arms in LOSSES.items():
        outside, errors = [], []
        for arm, redrawn in arms.items():
            own = [1 - run.metrics[SCORE] for run in runs if run.arm == arm]
            if not own:
                continue
            outside.append(1 - Groups(redrawn=redrawn).concentration(delta))
            errors.append(sum(own) / len(own))
            lines.append(f"| {arm} | {len(own)} | {outside[-1]:.3f} | {errors[-1]:.3f} |")
        if len(set(outside)) > 1:
            found = float(spearman(torch.tensor(outside).double(), torch.tensor(errors).double()))
            below.append(f"{loss}: rank correlation of 1 - sigma and error {found:+.2f} over {len(outside)} arms")
    return "\n".join([*lines, "", *below])


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--delta", type=float, default=12.0)
    given = parser.parse_args(arguments)
    records, _ = Ledger(given.results / "runs").read("cssl_generalization")
    runs = [run for run in current(records) if SCORE in run.metrics]
    print(table(runs, given.delta) if runs else "nothing is on record; papers rerun cssl_generalization")


if __name__ == "__main__":
    main()
