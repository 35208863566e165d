"""The scenes as tensors: painted once, and kept in the cache."""

import json
from functools import cache
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from data.cache import cached_tensors
from data.scenes.layout import ASPECTS, Aspect, Placed, draw_splits, one_changed
from data.scenes.painting import Painter, boxes_of
from data.scenes.words import LANGUAGES, Noun, thing_nouns
from data.sources.tuxpaint_stamps import TUXPAINT_STAMPS, Stamp, read_stamp_pictures, read_stamps

COUNTS = {"train": 20_000, "val": 1000, "test": 2000}
CHANGED = {"val": 250, "test": 500}
"""The first scenes of a split, of which there are variants with one attribute changed."""

VERSION = 3
"""Of what paints them."""
Style = Literal["muted", "vivid"]


class Changed(NamedTuple):
    """A scene with one attribute changed."""

    row: int
    """Of the original in its split."""
    aspect: Aspect
    placed: Placed


@cache
def read_nouns(data_root: str | None) -> dict[str, list[Noun]]:
    """The words for the cut-outs, by language."""

    def build() -> dict[str, Tensor]:
        text = json.dumps({language: thing_nouns(stamps_of(data_root), language) for language in LANGUAGES})
        return {"json": torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)}

    stored = cached_tensors("scenes-nouns", build, [TUXPAINT_STAMPS], VERSION, data_root)
    nouns = json.loads(stored["json"].numpy().tobytes())
    return {language: [Noun(*noun) for noun in nouns[language]] for language in LANGUAGES}


@cache
def scenes_of(tiny: float = 0.0) -> dict[str, list[Placed]]:
    """The scenes of each split if that share of the objects is tiny."""
    return draw_splits(COUNTS, tiny)


@cache
def changed_scenes(split: str) -> list[Changed]:
    """Up to four variants of each of the first scenes of a split, one scene's after the other's."""
    found = []
    for row, placed in enumerate(scenes_of()[split][: CHANGED[split]]):
        variants = [(aspect, one_changed(placed, aspect)) for aspect in ASPECTS]
        found += [Changed(row, aspect, Placed(placed.number, scene)) for aspect, scene in variants if scene is not None]
    return found


def read_pictures(split: str, tiny: float = 0.0, style: Style = "muted", data_root: str | None = None) -> Tensor:
    """The pictures of a split, uint8 of shape (n, 3, 48, 48)."""

    def build() -> dict[str, Tensor]:
        return {"pixels": painter(style, data_root).paint(scenes_of(tiny)[split])[0]}

    options = {"split": split, "tiny": tiny, "style": style}
    return cached_tensors("scenes", build, [TUXPAINT_STAMPS], VERSION, data_root, **options)["pixels"]


def read_changed_pictures(split: str, data_root: str | None = None) -> Tensor:
    """The pictures of `changed_scenes`, alike in everything but what the change shows."""

    def build() -> dict[str, Tensor]:
        return {"pixels": painter("muted", data_root).paint([changed.placed for changed in changed_scenes(split)])[0]}

    stored = cached_tensors("scenes-changed", build, [TUXPAINT_STAMPS], VERSION, data_root, split=split)
    return stored["pixels"]


def read_instances(split: str, tiny: float = 0.0, data_root: str | None = None) -> tuple[Tensor, Tensor]:
    """Which object each pixel shows, as `Painter.paint` has it, and the boxes, as `boxes_of` has them."""

    def build() -> dict[str, Tensor]:
        instances = painter("muted", data_root).paint(scenes_of(tiny)[split])[1]
        return {"instances": instances, "boxes": boxes_of(instances)}

    options = {"split": split, "tiny": tiny}
    stored = cached_tensors("scenes-instances", build, [TUXPAINT_STAMPS], VERSION, data_root, **options)
    return stored["instances"], stored["boxes"]


@cache
def stamps_of(data_root: str | None) -> list[Stamp]:
    return read_stamps(data_root)


@cache
def painter(style: Style, data_root: str | None) -> Painter:
    return Painter(stamps_of(data_root), read_stamp_pictures(data_root), vivid=style == "vivid")
