"""What --ckpt_path brings: weights alone. The class and its arguments are what recipe and command line say.

All of it is checked before anything is built or trained, so that a wrong file costs no time.
"""

from pathlib import Path
from typing import Any

from common.errors import UserError
from common.paths import as_path
from harness.console import say, shown_path
from harness.recipes.early import OPTION, check_file
from harness.records.identity import class_identity


def find_checkpoint(given: str, logs: Path) -> Path:
    """The file that --ckpt_path means: a path, or `last` for the newest one under the paper's logs.

    Raises:
        UserError: there is none, or it is another of Lightning's words.
    """
    if given == "last":
        found = sorted(logs.rglob("*.ckpt"), key=lambda path: path.stat().st_mtime)
        if not found:
            raise UserError(f"{OPTION} is 'last', but there is no checkpoint under {shown_path(logs)} yet")
        say(f"{OPTION} last is {shown_path(found[-1])}")
        return found[-1]
    check_file(given)
    return as_path(given, OPTION)


def check_origin(checkpoint: dict[str, Any], path: Path, model: dict[str, Any], resumed: bool) -> str:
    """Whether the checkpoint is of the class that is asked for, and of arguments that it still has.

    Args:
        model: the section of the resolved configuration.
        resumed: whether a training is to go on from it, which takes more than the weights.

    Returns:
        The arguments that differ from what it was trained with, in words; what the configuration says holds.

    Raises:
        UserError: another class, an argument that is gone, or no state of a training.
    """
    recorded = checkpoint.get("hyper_parameters") or {}
    if not isinstance(recorded, dict):
        raise UserError(f"{OPTION}: {path} holds 'hyper_parameters' that are no mapping")
    asked, class_path = model["class_path"], recorded.get("_class_path")
    # A class that was moved keeps its name, and one that was renamed says so; nothing that a file names is imported.
    names = {asked.rpartition(".")[2], class_identity(asked).name}
    if class_path is not None and str(class_path).rpartition(".")[2] not in names:
        raise UserError(f"{OPTION}: {path} is of {class_path}, not of {asked}")
    arguments = model.get("init_args", {})
    gone = [str(key) for key in recorded if not str(key).startswith("_") and key not in arguments]
    if gone:
        raise UserError(
            f"{OPTION}: {path} was trained with model.{gone[0]} {recorded[gone[0]]!r}, which "
            f"{asked.rpartition('.')[2]} does not take"
        )
    if resumed and not all(checkpoint.get(key) for key in ("optimizer_states", "loops")):
        raise UserError(f"{OPTION}: {path} holds weights alone; `papers fit` goes on only from a checkpoint of its own")
    differing = [key for key, value in recorded.items() if key in arguments and arguments[key] != value]
    return ", ".join(f"model.{key} {recorded[key]!r} (here {arguments[key]!r})" for key in differing)
