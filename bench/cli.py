"""The command line of the bench."""

import argparse
import importlib
import logging
import warnings
from pathlib import Path

PEERS = ("open_clip", "lightly", "pytorch_metric_learning", "sentence_transformers", "faiss")

SECTIONS = {
    "losses": (
        "Losses",
        "Forward and backward. CPU seconds (user and system) and extra resident memory of one call, each in a process "
        "of its own, the median over repeats in which the implementations take turns. `time / ours` is the median "
        "ratio of neighbours.",
    ),
    "retrieval": ("Retrieval", "Recall of a full gallery. Measured as the losses are."),
    "steps": ("Training steps", "CPU seconds of one training step: data in hand, forward, backward, optimizer."),
    "loaders": ("Loading", "CPU seconds of reading and augmenting a batch beside those of the step it feeds."),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measures this repository beside its peers.")
    every = [*SECTIONS, "threads", "gradients"]
    parser.add_argument("sections", nargs="*", help=f"of {', '.join(every)}; all if none is named")
    parser.add_argument("--repeats", type=int, default=5, help="measurements of each cell (default 5)")
    parser.add_argument("--largest", type=int, help="leave out larger sizes")
    parser.add_argument("--only", help="only the tasks of this name")
    parser.add_argument("--out", type=Path, default=Path("results/bench"), help="folder for the tables")
    arguments = parser.parse_args()
    chosen = arguments.sections or every
    if unknown := [name for name in chosen if name not in every]:
        parser.error(f"no section {unknown[0]!r}; there are {', '.join(every)}")

    import torch

    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    for noisy in ("lightning.pytorch", "lightning.fabric", "transformers", "sentence_transformers"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    for peer in PEERS:  # once, here: every measured process is a fork of this one
        try:
            importlib.import_module(peer)
        except ImportError:
            print(f"{peer} is not installed; its cells will say so")

    from bench import measure, report

    for section in chosen:
        module = importlib.import_module(f"bench.{section}")
        if section == "gradients":
            module.main(arguments.out)
            continue
        if section == "threads":
            module.main(arguments.out, arguments.repeats, arguments.largest)
            continue
        rows = []
        tasks = [task for task in module.TASKS if arguments.only in (None, task.name)]
        for task in tasks:
            print(f"\n{task.title}")
            for row in measure.run(task, arguments.repeats, arguments.largest):
                rows.append(row)
                print(f"  {row['size']:>6}  {row['implementation']:52} {report.figures(row)}", flush=True)
            report.write(arguments.out, section, *SECTIONS[section], tasks, rows, measure.machine())
    return 0
