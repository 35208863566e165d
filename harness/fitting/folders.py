"""Where a training writes, and which one --resume goes on with."""

import os
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from common.errors import UserError
from common.experiments import yaml_lines

CONFIG = "config.yaml"
_PLACES = ("data_root", "num_workers", "workers", "threads")
"""Arguments of the data that do not change what is learnt."""


class Found(NamedTuple):
    """A checkpoint and the folder of its training."""

    path: Path
    folder: Path


def new_folder(logs: Path, typed: Sequence[str]) -> Path:
    """A folder for a training that begins: version_0 and so on, or that of a SLURM job, the same when it is requeued.

    Args:
        logs: of all trainings of the paper.
        typed: the options, as a job may train several things.
    """
    job = slurm_job()
    if job is not None:
        return logs / f"job_{job}_{zlib.crc32(' '.join(typed).encode()):08x}"
    taken = [int(path.name.removeprefix("version_")) for path in logs.glob("version_*") if path.name[8:].isdecimal()]
    return logs / f"version_{max(taken, default=-1) + 1}"


def slurm_job() -> str | None:
    """The job that SLURM runs, as Lightning sees it: none in a shell that was asked for."""
    if "SLURM_NTASKS" not in os.environ or os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive"):
        return None
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    job = f"{array}_{task}" if array else os.environ.get("SLURM_JOB_ID", "")
    return job if re.fullmatch(r"\d+(_\d+)?", job) else None


def requeued(folder: Path) -> Path | None:
    """The newest that this SLURM job has saved before it was put back into the queue, by Lightning or by SLURM."""
    if slurm_job() is None:
        return None
    found = list(folder.glob("hpc_ckpt_*.ckpt"))
    if os.environ.get("SLURM_RESTART_COUNT", "0") != "0":
        found += folder.glob("checkpoints/last.ckpt")
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def newest(logs: Path, config: dict[str, Any]) -> tuple[Found | None, str]:
    """The newest checkpoint of a training of the same model, data and seed.

    Args:
        logs: of all trainings of the paper.
        config: the resolved recipe.

    Returns:
        The checkpoint, if there is one; and where the newest of another recipe differs, in words, or "".
    """
    differs = ""
    wanted = _what_counts(config)
    for path in sorted(logs.rglob("*.ckpt"), key=lambda path: path.stat().st_mtime, reverse=True):
        folder = next((above for above in path.parents if (above / CONFIG).is_file()), None)
        if folder is None or not folder.is_relative_to(logs):
            continue
        try:
            written = _what_counts(yaml_lines.load(folder / CONFIG).data)
        except UserError:
            continue
        if written == wanted:
            return Found(path, folder), ""
        differs = differs or f"{path.name} in {folder.name} has {difference(written, wanted)}"
    return None, differs


def difference(there: dict[str, Any], here: dict[str, Any]) -> str:
    """The keys in which two recipes differ, three at most, as in "model.lr 0.1 (here 0.2)"."""
    one, other = dict(_flat(there)), dict(_flat(here))
    keys = [key for key in dict.fromkeys([*one, *other]) if one.get(key) != other.get(key)]
    named = [key for key in keys if key.endswith("class_path")] or keys  # another class has other arguments
    said = [f"{key} {one.get(key, 'unset')} (here {other.get(key, 'unset')})" for key in named[:3]]
    return ", ".join(said) + (", ..." if len(named) > 3 else "")


def _what_counts(config: dict[str, Any]) -> dict[str, Any]:
    kept = {key: config.get(key) for key in ("seed_everything", "model", "data")}
    data = kept["data"]
    if isinstance(data, dict) and isinstance(data.get("init_args"), dict):
        arguments = {key: value for key, value in data["init_args"].items() if key not in _PLACES}
        kept["data"] = data | {"init_args": arguments}
    return kept


def _flat(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict):
        yield key, value
        return
    for name, part in value.items():
        yield from _flat(part, key if name == "init_args" else f"{key}.{name}" if key else str(name))
