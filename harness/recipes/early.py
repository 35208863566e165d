"""What of the options of `papers fit` can be told by looking at this machine and at sources, as torch loads slowly.

Only what is certain is refused here; the rest is checked again, and more thoroughly, where things are built.
"""

import importlib.util
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from common.errors import UserError
from common.paths import as_path, checkpoint_path
from harness.recipes import catalog
from harness.recipes.signatures import batch_read, class_constant, found, is_importable, mentions
from harness.recipes.trainer_rules import ACCELERATORS, SEED, STRATEGIES

OPTION = "--ckpt_path"
UNTRAINED = "--untrained"
INIT_FROM = "--init_from"
RESUME = "--resume"
DRY_RUN = "--dry-run"
LOGGERS = {
    "WandbLogger": "wandb",
    "MLFlowLogger": "mlflow",
    "CometLogger": "comet_ml",
    "NeptuneLogger": "neptune",
    "TensorBoardLogger": "tensorboard",
}
"""What Lightning's loggers need."""


def needs_checkpoint(command: str, slug: str) -> UserError:
    """What `papers validate` and `test` say where nothing tells which weights to score."""
    return UserError(
        f"papers {command} needs {OPTION} FILE, as from `papers fit {slug}` ('last' for its newest); with {UNTRAINED} "
        "it scores the weights that a training starts from"
    )


def check_trainer_options(key: str, value: str) -> None:
    """Whether an accelerator may be on this machine, a strategy has a known name and the seed is one.

    Raises:
        UserError: names the option, the value and what there is.
    """
    if key == "trainer.accelerator":
        there = [name for name in ACCELERATORS if _may_have(name)]
        if value.isalnum() and value not in there:
            raise UserError(f"trainer.accelerator is '{value}'; this machine has {', '.join(there)}")
    numeric = re.fullmatch(r"[-+]?[\d.]+|[\[{].*", value)
    seed = int(value) if re.fullmatch(r"[0-9]{1,10}", value) else -1
    if key == "seed_everything" and numeric and not SEED.right(seed):
        raise UserError(f"seed_everything is {value[:200]}; it must be {SEED.allowed}")
    if key in ("trainer.logger", "trainer.logger.class_path"):
        check_logger(value)
    if key == "trainer.strategy" and value.replace("_", "").isalnum() and value not in STRATEGIES:
        raise UserError(f"trainer.strategy is '{value}'; it must be one of {', '.join(STRATEGIES)}")


def _may_have(accelerator: str) -> bool:
    if accelerator in ("cuda", "gpu"):
        # Drivers of NVIDIA, of AMD, and of either under Windows; with none of them torch finds no device.
        devices = [Path("/dev", name) for name in ("nvidiactl", "nvidia0", "nvhost-gpu", "kfd", "dxg")]
        if sys.platform != "linux" or any(device.exists() for device in devices):
            return accelerator == "gpu" or sys.platform != "darwin"
        return False
    if accelerator == "mps":
        return sys.platform == "darwin"
    if accelerator == "tpu":
        return importlib.util.find_spec("torch_xla") is not None
    return True


def check_logger(class_path: str) -> None:
    """Whether the package of a logger of Lightning is installed.

    Raises:
        UserError: it is not; says how to install it.
    """
    package = LOGGERS.get(class_path.rpartition(".")[2])
    if package is not None and importlib.util.find_spec(package) is None:
        # An underscore in the name of a module is a hyphen in that of its package.
        install = package.replace("_", "-")
        raise UserError(
            f"trainer.logger is '{class_path}', and its package {package} is not installed: pip install {install}"
        )


def check_file(checkpoint: str) -> None:
    """Whether there is a file where --ckpt_path points; `last` is looked for later.

    Raises:
        UserError: there is none, or it is another of Lightning's words.
    """
    if checkpoint in ("best", "hpc", "registry") or checkpoint.startswith("registry:"):
        raise UserError(f"{OPTION} is '{checkpoint}'; it must be a checkpoint's path, or 'last' for the newest one")
    if checkpoint in ("last", "null", "~"):
        return
    checkpoint_path(checkpoint, OPTION)


def check_start(given: str) -> None:
    """Whether there is a file or a folder where --init_from points.

    Raises:
        UserError: there is none.
    """
    path = as_path(given, INIT_FROM)
    try:
        there = path.exists()
    except OSError:
        there = False
    if not there:
        raise UserError(
            f"{INIT_FROM}: {str(path)[:200]} does not exist; it must be a checkpoint of `papers fit`, a safetensors "
            "file or a folder of a transformers or timm model"
        )


def check_class(section: str, class_path: str, usual: str | None, root: Path) -> None:
    """Whether the class that --model or --data names can be there.

    Args:
        usual: the class of the recipe; what its module knows may be named without its module.

    Raises:
        UserError: it is no path of a class, or none that can be imported.
    """
    name = f"{section}.class_path is '{class_path[:200]}'"
    module, _, last = class_path.rpartition(".")
    if not module:
        if class_path.isidentifier() and not (usual and found(f"{usual.rpartition('.')[0]}.{class_path}", root)):
            raise UserError(f"{name}; it must be 'package.module.Class'")
    elif all(part.isidentifier() for part in class_path.split(".")):
        if not is_importable(module, root):
            raise UserError(f"{name}, which cannot be imported: no '{module}'")
        if module.split(".")[0] in ("data", "papers") and not mentions(module, last, root):
            raise UserError(f"{name}, which cannot be imported: no '{last}'")


def check_batches(model: str, data: str, root: Path) -> None:
    """Whether a benchmark's source speaks of the batches that a method reads.

    Raises:
        UserError: says what the method reads and which benchmarks would fit.
    """
    wanted = batch_read(model, root)
    if wanted is None or not wanted.isidentifier() or not found(data, root) or mentions(data, wanted, root, deep=True):
        return
    here = class_constant(data, "name", root) or data
    raise UserError(
        f"{model.rpartition('.')[2]} reads {wanted}, and the benchmark {here} has no such batches; benchmarks that "
        f"fit: {catalog.fitting_benchmarks(wanted, root)}"
    )


def check(
    options: Sequence[tuple[str, str | None]], written: dict[str, str | None], root: Path, trains: bool = True
) -> None:
    """All of it.

    Args:
        options: keys without dashes, with values.
        written: the classes of the recipe, by section.
        trains: whether the one is to be trained or scored on the other.
    """
    classes = dict(written)
    for key, value in options:
        if value is None:
            continue
        check_trainer_options(key, value)
        if key == "ckpt_path":
            check_file(value)
        if key == "init_from":
            check_start(value)
        section = key.removesuffix(".class_path")
        if section in classes and key in (section, f"{section}.class_path"):
            check_class(section, value, written[section], root)
            classes[section] = value
    if trains and classes != written and all(classes.values()):
        check_batches(str(classes["model"]), str(classes["data"]), root)
