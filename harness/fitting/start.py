"""What --init_from brings: the weights that a training starts from, into the module or into its encoders."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_only
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from common.encoders.pretrained import today
from common.errors import UserError
from common.paths import as_path
from common.training.checkpoint import read_checkpoint
from common.training.tuning import towers
from harness.console import say, shown_path
from harness.recipes.early import INIT_FROM, check_start

INDEX = "model.safetensors.index.json"


def read_weights(given: str) -> dict[str, Tensor]:
    """The tensors of a checkpoint of `papers fit`, of a safetensors file or of a folder of transformers or timm.

    Raises:
        UserError: there is no such file, it is damaged, or the folder has no safetensors.
    """
    check_start(given)
    path = as_path(given, INIT_FROM)
    if path.is_dir() and "model_type" in _config(path):
        from common.encoders.own_transformers import folder_weights  # loads transformers

        return folder_weights(path)
    if path.is_dir():
        return {key: tensor for file in _shards(path) for key, tensor in _safetensors(file).items()}
    if path.suffix == ".safetensors":
        return _safetensors(path)
    found = read_checkpoint(path, INIT_FROM)["state_dict"]
    return {key: tensor for key, tensor in found.items() if isinstance(tensor, Tensor)}


def _config(folder: Path) -> dict[str, Any]:
    """Its config.json, of which transformers' has a "model_type" and timm's has none."""
    try:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _shards(folder: Path) -> list[Path]:
    if (folder / "model.safetensors").is_file():
        return [folder / "model.safetensors"]
    try:
        names = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()
        return [folder / Path(name).name for name in sorted(set(names))]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{INIT_FROM}: {folder} has no model.safetensors, nor a readable {INDEX}") from None


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return {today(key): tensor for key, tensor in load_file(path).items()}
    except (SafetensorError, OSError) as error:
        raise UserError(f"{INIT_FROM}: {path} cannot be read: {' '.join(str(error).split())[:120]}") from None


def start(module: nn.Module, given: str) -> None:
    """Fills what it can of `module`, and says in a line each what was found, what is missing and what is left over.

    Names need not be the same: a part of the file fits a part of the module if the names inside of them and the shapes
    agree, as those of an encoder that was trained under another head do. It is taken wherever it fits, so that a
    teacher starts as its student does.

    Raises:
        UserError: the weights cannot be read, or are of no encoder in `module`.
    """
    found = read_weights(given)
    wanted = {_plain(key): key for key, tensor in module.state_dict().items() if isinstance(tensor, Tensor)}
    shapes = {plain: module.state_dict()[key].shape for plain, key in wanted.items()}
    # Two tensors of a norm fit anywhere; half of an encoder does not.
    sizes = [len(tower.state_dict()) for tower in towers(module).values()]
    least = min([len(wanted), *sizes]) / 2
    taken: dict[str, str] = {}
    places: list[str] = []
    while pair := _best(found, {key: shape for key, shape in shapes.items() if key not in taken}, least):
        theirs, ours, keys = pair
        taken |= {ours + key: theirs + key for key in keys}
        places.append(ours.rstrip(".") or type(module).__name__)
    if not taken:
        raise UserError(
            f"{INIT_FROM}: nothing in {given} fits {type(module).__name__}: it has {_listed(found)}, and the module "
            f"{_listed(wanted)}"
        )
    module.load_state_dict({wanted[key]: found[theirs] for key, theirs in taken.items()}, strict=False)
    missing = [key for key in wanted if key not in taken]
    unused = sorted(found.keys() - set(taken.values()))
    tell = rank_zero_only(say)
    tell(f"{INIT_FROM} {shown_path(as_path(given, INIT_FROM))}: {len(taken)} weights go into {', '.join(places)}")
    tell(f"missing, so they start afresh: {_listed(missing)}")
    tell(f"unexpected, so they are left: {_listed(unused)}")


def _plain(key: str) -> str:
    """A name as it is without low-rank updates beside the weight."""
    return key.replace(".base_layer.", ".")


def _best(
    found: dict[str, Tensor], shapes: dict[str, tuple[int, ...]], least: float
) -> tuple[str, str, list[str]] | None:
    """The prefixes, there and here, under which most tensors agree in name and shape, and their names below these."""
    here: dict[str, list[str]] = {}
    for key in shapes:
        for prefix, rest in _cuts(key):
            here.setdefault(rest, []).append(prefix)
    counts: Counter[tuple[str, str]] = Counter()
    for key, tensor in found.items():
        for theirs, rest in _cuts(key):
            for ours in here.get(rest, ()):
                counts[theirs, ours] += shapes[ours + rest] == tensor.shape
    if not counts:
        return None
    (theirs, ours), count = max(counts.items(), key=lambda item: (item[1], -len("".join(item[0]))))
    if count == 0 or count < least:
        return None
    rests = (key.removeprefix(theirs) for key in found if key.startswith(theirs))
    return theirs, ours, [rest for rest in rests if shapes.get(ours + rest) == found[theirs + rest].shape]


def _cuts(key: str) -> Iterator[tuple[str, str]]:
    """All ways to part a name in two, as in "", "a.b" and "a.", "b"."""
    parts = key.split(".")
    for i in range(len(parts)):
        prefix = "".join(f"{part}." for part in parts[:i])
        yield prefix, key[len(prefix) :]


def _listed(keys: Iterable[str]) -> str:
    names = list(keys)
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return f"{len(names)} ({shown})" if names else "none"
