"""A run on several devices, in processes of its own: Lightning starts the others as this one was started.

    python -m harness.running.alone FOLDER

FOLDER is private to the worker that waits: it holds the run, and the first process leaves there what came of it.
"""

import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

from common.errors import UserError
from harness.recipes.catalog import importable
from harness.running.worker import Findings, Run, die_with_parent, training

RUN, SCORES, FAULT = "run.pickle", "scores.pickle", "fault.txt"


def scores_of(run: Run, log_folder: Path | None) -> Findings:
    """Trains and scores the run in other processes, and waits for them.

    Raises:
        UserError: what one of them has raised, or that they ended otherwise.
    """
    with tempfile.TemporaryDirectory(prefix="papers-") as name:
        folder = Path(name)
        (folder / RUN).write_bytes(pickle.dumps((run, log_folder)))
        ended = subprocess.run([sys.executable, "-m", "harness.running.alone", name], check=False)
        if (folder / SCORES).is_file():
            return pickle.loads((folder / SCORES).read_bytes())
        if (folder / FAULT).is_file():
            raise UserError((folder / FAULT).read_text(encoding="utf-8"))
    raise UserError(f"its processes ended with code {ended.returncode} (see output.txt in its folder of logs)")


def main(folder: Path) -> int:
    """The life of one of the processes."""
    die_with_parent()
    run, log_folder = pickle.loads((folder / RUN).read_bytes())
    importable(run.root)
    first = os.environ.get("LOCAL_RANK", "0") == "0"
    try:
        # What is said on the way goes to the worker's output, which these processes share.
        scores = training(run, log_folder, lambda done, total: None, print)()
    except UserError as error:
        if first:
            (folder / FAULT).write_text(str(error), encoding="utf-8")
        return 2
    if first:
        (folder / SCORES).write_bytes(pickle.dumps(scores))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
