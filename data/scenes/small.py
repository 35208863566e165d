"""Scenes of one to three objects at 24 pixels as tensors: drawn and painted once, and kept in the cache."""

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from data.cache import cached_tensors
from data.scenes.layout import ASPECTS, Placed, draw_scenes, fill_splits, one_changed
from data.scenes.painting import SIDE, boxes_of
from data.scenes.pictures import painter
from data.scenes.words import CLASSES, COLOURS, PLACES, Scene, Thing, meaning
from data.sources.tuxpaint_stamps import TUXPAINT_STAMPS

COUNTS = {"train": 12_000, "val": 2000, "test": 4000}
"""Pairs of each split."""
CHANGED = {"val": 1000, "test": 2000}
"""The first scenes of a split, whose captions are compared with such as have one attribute changed."""
OBJECTS = 3
"""Of a scene at most."""
CONCEPTS = {
    "class": slice(0, len(CLASSES)),
    "colour": slice(len(CLASSES), len(CLASSES) + len(COLOURS)),
    "size": slice(len(CLASSES) + len(COLOURS), len(CLASSES) + len(COLOURS) + 2),
    "place": slice(len(CLASSES) + len(COLOURS) + 2, len(CLASSES) + len(COLOURS) + 2 + len(PLACES)),
}
"""The columns of `concepts_of`."""

_FIRST, _SALT = 1 << 25, "small scenes: "
"""Numbers of scenes that `Scenes` does not reach, and meanings dealt out to the splits by another hash than there."""
VERSION = 1


class Stored(NamedTuple):
    """A split as the cache has it."""

    pixels: Tensor
    """uint8, shape (n, 3, 24, 24)."""
    numbers: Tensor
    """Of the scenes, int64, shape (n,)."""
    scenes: Tensor
    """The fields of each object, -1 where there is none, int64 of shape (n, 3, 4)."""
    changed: Tensor
    """The first scenes with one attribute changed, one scene's after the other's, shape (v, 3, 4)."""
    original: Tensor
    """The row of the scene that each of these is a variant of, int64 of shape (v,)."""
    aspect: Tensor
    """What was changed, position in `ASPECTS`, int64 of shape (v,); at most one variant a scene and aspect."""


@cache
def read_splits(data_root: str | None) -> dict[str, Stored]:
    """All splits."""

    def build() -> dict[str, Tensor]:
        drawn = (placed for placed in draw_scenes(_FIRST) if len(placed.scene) <= OBJECTS)
        splits = fill_splits(((placed, _SALT + meaning(placed.scene)) for placed in drawn), COUNTS)
        parts = {split: _stored(placed, CHANGED.get(split, 0), data_root) for split, placed in splits.items()}
        return {f"{split}/{field}": x for split, part in parts.items() for field, x in part._asdict().items()}

    tensors = cached_tensors("small-scenes", build, [TUXPAINT_STAMPS], VERSION, data_root)
    return {split: Stored(*(tensors[f"{split}/{field}"] for field in Stored._fields)) for split in COUNTS}


@cache
def read_boxes(split: str, data_root: str | None) -> Tensor:
    """The boxes around the objects of a split's scenes: left, top, right, bottom, in halves of a pixel, (n, 3, 4)."""

    def build() -> dict[str, Tensor]:
        part = read_splits(data_root)[split]
        placed = [Placed(*both) for both in zip(part.numbers.tolist(), scenes_in(part.scenes), strict=True)]
        return {"boxes": boxes_of(painter("muted", data_root).paint(placed)[1])[:, :OBJECTS].contiguous()}

    return cached_tensors("small-scenes-boxes", build, [TUXPAINT_STAMPS], VERSION, data_root, split=split)["boxes"]


def _stored(placed: list[Placed], changed: int, data_root: str | None) -> Stored:
    variants, rows = [], []
    for row, one in enumerate(placed[:changed]):
        for number, aspect in enumerate(ASPECTS):
            scene = one_changed(one, aspect)
            # An exchange of places may leave what is said as it was.
            if scene is not None and meaning(scene) != meaning(one.scene):
                variants.append(scene)
                rows.append((row, number))
    original, aspect = torch.tensor(rows, dtype=torch.int64).reshape(-1, 2).unbind(1)
    # Painted at 48 pixels; sums of four are exact, so the mean is the same on every processor.
    pixels = F.avg_pool2d(painter("muted", data_root).paint(placed)[0].float(), 2, divisor_override=1)
    numbers = torch.tensor([one.number for one in placed])
    scenes = table_of([one.scene for one in placed])
    return Stored(((pixels + 2) // 4).to(torch.uint8), numbers, scenes, table_of(variants), original, aspect)


def table_of(scenes: list[Scene]) -> Tensor:
    """Scenes as a tensor, see `Stored.scenes`."""
    absent = (-1,) * len(Thing._fields)
    rows = [[*scene, *[absent] * (OBJECTS - len(scene))] for scene in scenes]
    return torch.tensor(rows, dtype=torch.int64).reshape(-1, OBJECTS, len(absent))


def scenes_in(table: Tensor) -> list[Scene]:
    """The scenes of such a tensor."""
    return [tuple(Thing(*fields) for fields in scene if fields[0] >= 0) for scene in table.tolist()]


def concepts_of(scenes: list[Scene]) -> Tensor:
    """Which classes, colours, sizes and places scenes hold, bool of shape (n, 59), see `CONCEPTS`."""
    found = torch.zeros(len(scenes), CONCEPTS["place"].stop, dtype=torch.bool)
    kind, colour, size, place = table_of(scenes).unbind(2)
    for name, values in (("class", kind), ("colour", colour), ("size", size), ("place", place)):
        row, column = (values >= 0).nonzero(as_tuple=True)
        found[row, CONCEPTS[name].start + values[row, column]] = True
    return found


def boxes_around(told: list[Scene], shown: list[Scene], boxes: Tensor) -> Tensor:
    """The boxes of the objects that a caption tells of, as shares of the side, and zeros for all else, (n, 3, 4).

    Args:
        told, shown: what n captions tell of, and what their pictures show.
        boxes: of what is shown, from `read_boxes`.
    """
    there = torch.zeros(len(told), OBJECTS, 1)
    for row, (said, scene) in enumerate(zip(told, shown, strict=True)):
        for k, thing in enumerate(scene):
            there[row, k] = thing in said
    return there * boxes / SIDE
