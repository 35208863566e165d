"""A run on several devices, in processes of its own: Lightning starts the others as this one was started.

    python -m harness.running.alone FOLDER

FOLDER is private to the worker that waits: it holds the run, and the first process leaves there what came of it.
"""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

from common.errors import UserError
from common.experiments.loss_curves import LossCurve
from common.lifetime import die_with
from harness.recipes.catalog import importable
from harness.running.run import Findings, Run
from harness.running.work import training

RUN, FINDINGS, ITEMS, FAULT = "run.json", "findings.json", "items.npz", "fault.txt"


def scores_of(run: Run, log_folder: Path | None) -> Findings:
    """Trains and scores the run in other processes, and waits for them.

    Raises:
        UserError: what one of them has raised, or that they ended otherwise.
    """
    with tempfile.TemporaryDirectory(prefix="papers-") as name:
        folder = Path(name)
        _write_run(run, log_folder, folder)
        ended = subprocess.run([sys.executable, "-m", "harness.running.alone", name], check=False)
        if (folder / FINDINGS).is_file():
            return _read_findings(folder)
        if (folder / FAULT).is_file():
            raise UserError((folder / FAULT).read_text(encoding="utf-8"))
    raise UserError(f"its processes ended with code {ended.returncode} (see output.txt in its folder of logs)")


def main(folder: Path) -> int:
    """The life of one of the processes."""
    die_with(None)
    run, log_folder = _read_run(folder)
    importable(run.root)
    first = os.environ.get("LOCAL_RANK", "0") == "0"
    try:
        # What is said on the way goes to the worker's output, which these processes share.
        findings = training(run, log_folder, lambda done, total: None, print)()
    except UserError as error:
        if first:
            (folder / FAULT).write_text(str(error), encoding="utf-8")
        return 2
    if first:
        _write_findings(findings, folder)
    return 0


def _write_run(run: Run, log_folder: Path | None, folder: Path) -> None:
    content = asdict(replace(run, twin=None)) | {"root": str(run.root), "metrics": list(run.metrics)}
    text = json.dumps({"run": content, "log_folder": str(log_folder) if log_folder else None})
    (folder / RUN).write_text(text, encoding="utf-8")


def _read_run(folder: Path) -> tuple[Run, Path | None]:
    found = json.loads((folder / RUN).read_text(encoding="utf-8"))
    run, log_folder = found["run"], found["log_folder"]
    run |= {"root": Path(run["root"]), "metrics": tuple(run["metrics"])}
    return Run(**run), Path(log_folder) if log_folder else None


def _write_findings(findings: Findings, folder: Path) -> None:
    import numpy as np

    # Under numbers, since a metric's name may hold a slash. The findings come last: once they are there, all is there.
    np.savez(folder / ITEMS, **{str(i): values for i, values in enumerate(findings.items.values())})
    content = findings._asdict() | {"items": list(findings.items)}
    (folder / FINDINGS).write_text(json.dumps(content), encoding="utf-8")


def _read_findings(folder: Path) -> Findings:
    import numpy as np

    content = json.loads((folder / FINDINGS).read_text(encoding="utf-8"))
    with np.load(folder / ITEMS, allow_pickle=False) as values:
        items = {name: values[str(i)] for i, name in enumerate(content["items"])}
    tuples = {name: tuple(content[name]) for name in ("first_losses", "means")}
    curve = content["curve"] and LossCurve(content["curve"][0], tuple(content["curve"][1]))
    return Findings(**content | tuples | {"items": items, "curve": curve})


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
