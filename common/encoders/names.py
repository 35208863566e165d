"""What an argument for an encoder may say: a name of this repository's, or where one of one's own comes from."""

import re
from collections.abc import Iterable
from typing import Any, Literal, Required, TypedDict, cast

from common.errors import UserError
from common.experiments.schema import closest

OwnPooling = Literal["pooler", "cls", "mean", "last", "first_last"]


class OwnEncoder(TypedDict, total=False):
    """An encoder that this repository does not have, and how it is to be used; its name alone says all but the name.

    encoder: {name: "timm:vit_small_patch16_224.augreg_in1k", frozen: true}
    """

    name: Required[str]
    """"timm:NAME" as timm has it, or "timm:FOLDER"; "transformers:FOLDER" or a name of the Hugging Face hub; or the
    path of a class, "package.module.Class"."""
    init_args: dict[str, Any]
    """Arguments of the class or of `timm.create_model`, or values of the transformers model's configuration."""
    pretrained: bool
    """Whether to load weights: by default of transformers always, of timm where the name has a tag or is a folder."""
    pooling: OwnPooling
    """Of transformers: the model's own pooler, its first or last token, a mean of tokens; by default what its folder
    says, then what the method asks for."""
    image_size: int
    """Side to which pictures are brought, instead of the one that the model's configuration names."""
    output_dim: int
    """Width of the vectors, of a class without an `output_dim` that cannot be asked by a picture or text."""
    frozen: bool
    """Neither trained nor in training mode."""
    gradient_checkpointing: bool
    """Activations are computed again in the backward pass."""
    lora_rank: int
    """Only low-rank updates of all linear layers are trained, of this rank (Hu et al. 2021)."""
    lora_alpha: float
    """Their scale is lora_alpha / lora_rank; by default 1."""


FORMS = ("timm:NAME", "transformers:FOLDER", "package.module.Class")
OWN = OwnEncoder.__name__
"""What stands in the annotation of an argument that takes an encoder of one's own."""
KEYS = tuple(OwnEncoder.__annotations__)
_SOURCES = ("timm", "transformers")
_CLASS_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")


def check_encoder(key: str, value: Any, known: Iterable[str]) -> None:
    """Whether `value` is one of the `known` names or says where another encoder comes from; nothing is loaded.

    Args:
        key: the argument, as in "model.encoder".

    Raises:
        UserError: names the value and what is allowed.
    """
    names = tuple(known)
    if isinstance(value, str):
        if value in names:
            return
    elif not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise UserError(f"{key} is {value!r}; it must be a name or a mapping with a name")
    own = as_own(cast("OwnEncoder | str", value))
    for option in own:
        if option not in KEYS:
            raise UserError(f"unknown option {key}.{option}{closest(option, KEYS)}; it has {', '.join(KEYS)}")
    source, colon, rest = own["name"].partition(":")
    if (colon and rest and source in _SOURCES) or (not colon and _CLASS_PATH.fullmatch(source)):
        return
    near = closest(source, _SOURCES) if colon else closest(own["name"], names)
    listed = f"one of {', '.join(names)}, or " if isinstance(value, str) else ""
    raise UserError(f"{key} is {own['name']!r}{near}; it must be {listed}an encoder of your own: {' or '.join(FORMS)}")


def as_own(value: OwnEncoder | str) -> OwnEncoder:
    """The mapping that a bare name stands for."""
    return {"name": value} if isinstance(value, str) else value
