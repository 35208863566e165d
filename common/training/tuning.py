"""What fine-tuning must know of a method's encoders: where they are, their layers in order, and their norms."""

import re
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from common.encoders.norms import ReplacedBatchNorm

_NORMS = (_BatchNorm, ReplacedBatchNorm, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
_NUMBER = re.compile(r"(?:(.*?)\.)?(\d+)(?:\.|$)")


def towers(module: nn.Module) -> dict[str, nn.Module]:
    """The encoders inside of a method, by their names: the outermost modules that say their `output_dim`."""
    found: dict[str, nn.Module] = {}
    for name, part in module.named_modules():
        inside = any(name.startswith(f"{outer}.") for outer in found)
        if name and not inside and isinstance(getattr(part, "output_dim", None), int):
            found[name] = part
    return found


def norms(module: nn.Module) -> list[nn.Module]:
    """The normalization layers of its encoders, whatever library they are of; heads keep theirs."""
    return [part for tower in towers(module).values() for part in tower.modules() if _is_norm(part)]


def _is_norm(part: nn.Module) -> bool:
    if isinstance(part, _NORMS):
        return True
    # Transformers' own kinds, such as LlamaRMSNorm, are no subclasses of torch's.
    own = list(part.parameters(recurse=False))
    return "norm" in type(part).__name__.lower() and bool(own) and all(p.ndim == 1 for p in own)


def layer_rates(module: nn.Module, decay: float) -> dict[Tensor, float]:
    """The factor on the rate of each parameter of its encoders: decay^(L + 1 - l) in layer l of an encoder's L.

    What stands before the first layer is layer 0, what stands behind the last is layer L + 1. A layer is an entry of
    the outermost list of a network's parts (a block of a transformer, a stage or a block of a convolutional network),
    in the order in which they were made. Lists side by side of the same length, as of convolutions and their norms, are
    one.

    Source: Bao et al. 2022 (BEiT), whose code numbers a ViT's layers so; first used by Clark et al. 2020 (ELECTRA).
    """
    rates: dict[Tensor, float] = {}
    for tower in towers(module).values():
        rates |= {parameter: decay**above for parameter, above in _layers_above(tower)}
    return rates


def _layers_above(tower: nn.Module) -> Iterator[tuple[Tensor, int]]:
    """Each parameter with L + 1 - l."""
    lists = {name: len(part) for name, part in tower.named_modules() if isinstance(part, nn.ModuleList)}
    numbers: dict[Any, int] = {}
    found: list[tuple[Tensor, int, bool]] = []
    for name, parameter in tower.named_parameters():
        place = _NUMBER.match(name)
        if place is None:
            found.append((parameter, len(numbers), False))
            continue
        path = place[1] or ""
        stack = (path.rpartition(".")[0], lists[path]) if path in lists else path
        found.append((parameter, numbers.setdefault((stack, place[2]), len(numbers) + 1), True))
    behind = max((i for i, (_, _, numbered) in enumerate(found) if numbered), default=-1)
    for i, (parameter, layer, _) in enumerate(found):
        yield parameter, len(numbers) + 1 - layer if i <= behind else 0


def with_layer_rates(groups: list[dict[str, Any]], rates: dict[Tensor, float], lr: float) -> list[dict[str, Any]]:
    """Groups of an optimizer, each parted by its parameters' factors on the learning rate, `lr` where it has none."""
    parted = []
    for group in groups:
        factors = [rates.get(parameter, 1.0) for parameter in group["params"]]
        for factor in sorted(set(factors)):
            own = [p for p, f in zip(group["params"], factors, strict=True) if f == factor]
            parted.append(group | {"params": own, "lr": group.get("lr", lr) * factor})
    return parted
