"""Scenes of one object as tensors, and what links them: attributes that a relation names, or groups that none does."""

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from common.random import uniform
from data.cache import cached_tensors
from data.scenes.layout import Placed, draw_scenes, fill_splits
from data.scenes.painting import boxes_of
from data.scenes.pictures import painter
from data.scenes.words import CLASSES, Thing, meaning
from data.sources.tuxpaint_stamps import TUXPAINT_STAMPS

COUNTS = {"train": 6000, "val": 1000, "test": 2000}
"""Pictures of each split."""
VERSION = 1
GROUPS = 8
"""Of five classes each, which neither a picture nor a caption tells."""
RELATIONS = ("kind", "colour", "size", "place")
"""What two objects may have in common, in the order of the fields of `Thing`."""
TEMPLATES = ("the same {}", "alike in {}", "of one {}", "one {} and no other", "one and the same {}")
"""How a relation is put into words; the last is kept for scoring."""
WORDINGS = tuple(tuple(template.format(name) for template in TEMPLATES[:-1]) for name in RELATIONS)
"""Of each relation those to train on."""
_FIRST = 1 << 26
"""Numbers of scenes that `Scenes` and `SmallScenes` do not reach."""


class Singles(NamedTuple):
    """A split as the cache has it."""

    pixels: Tensor
    """uint8, shape (n, 3, 48, 48)."""
    numbers: Tensor
    """Of the scenes, int64, shape (n,), ascending."""
    things: Tensor
    """The fields of `Thing`, int64, shape (n, 4)."""


@cache
def read_singles(data_root: str | None) -> dict[str, Singles]:
    """All splits; a meaning is where `Scenes` has it, so that mini-clip has seen none of those that are scored."""

    def build() -> dict[str, Tensor]:
        parts = {split: _stored(placed, data_root) for split, placed in _drawn_splits().items()}
        return {f"{split}/{field}": x for split, part in parts.items() for field, x in part._asdict().items()}

    tensors = cached_tensors("single-objects", build, [TUXPAINT_STAMPS], VERSION, data_root)
    return {split: Singles(*(tensors[f"{split}/{field}"] for field in Singles._fields)) for split in COUNTS}


def read_windows(side: int, data_root: str | None) -> dict[str, Tensor]:
    """A square out of each picture of all splits, drawn around its object, uint8 of shape (n, 3, side, side)."""

    def build() -> dict[str, Tensor]:
        found = {}
        for split, placed in _drawn_splits().items():
            pixels, seen = painter("muted", data_root).paint(placed)
            draws = uniform(torch.tensor([one.number for one in placed]), 2, 13)
            found[split] = windows(pixels, boxes_of(seen)[:, 0], draws, side)
        return found

    return cached_tensors("single-objects-windows", build, [TUXPAINT_STAMPS], VERSION, data_root, side=side)


def windows(pixels: Tensor, boxes: Tensor, draws: Tensor, side: int) -> Tensor:
    """A square out of each picture, in the picture's own scale, in which a box is anywhere as a whole.

    Where a box is longer than the square, the square is anywhere inside of it.

    Args:
        pixels: (n, c, h, h).
        boxes: left, top, right, bottom in pixels, the last two exclusive, integers, (n, 4).
        draws: where the square is, across and down, numbers in [0, 1), (n, 2).
        side: of the square in pixels, at most h.

    Returns:
        (n, c, side, side).
    """
    start, stop = boxes.long().split(2, dim=1)
    ends = (stop - side).clamp(min=0), start.clamp(max=pixels.shape[-1] - side)
    low, high = torch.minimum(*ends), torch.maximum(*ends)
    across, down = (low + (draws * (high - low + 1)).long())[..., None].add(torch.arange(side)).unbind(1)
    rows = torch.arange(len(pixels))[:, None, None]
    return pixels[rows, :, down[:, :, None], across[:, None]].movedim(-1, 1).contiguous()


def _drawn_splits() -> dict[str, list[Placed]]:
    drawn = (placed for placed in draw_scenes(_FIRST) if len(placed.scene) == 1)
    return fill_splits(((placed, meaning(placed.scene)) for placed in drawn), COUNTS)


def _stored(placed: list[Placed], data_root: str | None) -> Singles:
    pixels = painter("muted", data_root).paint(placed)[0]
    numbers, things = torch.tensor([one.number for one in placed]), torch.tensor([one.scene[0] for one in placed])
    return Singles(pixels, numbers, things)


def things_in(table: Tensor) -> list[Thing]:
    """The objects of such a tensor."""
    return [Thing(*fields) for fields in table.tolist()]


def group_of(kinds: Tensor) -> Tensor:
    """The hidden group of classes, from 0 to 7, the same for every seed; int64 of the shape of `kinds`."""
    dealt = uniform(torch.arange(len(CLASSES)), 1, 11).flatten().argsort(stable=True).argsort() % GROUPS
    return dealt[kinds]


def related(one: Tensor, other: Tensor, relation: int) -> Tensor:
    """Whether two objects have this in common and nothing else; the colour of a cut-out is none.

    Args:
        one, other: fields of `Thing`, which broadcast against each other, (..., 4).
        relation: position in `RELATIONS`.
    """
    same = (one == other) & (one >= 0)
    rest = [field for field in range(len(RELATIONS)) if field != relation]
    return same[..., relation] & ~same[..., rest].any(-1)


def relation_partners(things: Tensor, ids: Tensor, *key: int, at_once: int = 500) -> Tensor:
    """For each object and relation another object that is related so, drawn by the key: rows, -1 for none, (n, 4)."""
    draws, found = uniform(ids, len(RELATIONS), *key), []
    for rows in torch.arange(len(things)).split(at_once):
        columns = [
            _drawn(related(things[rows, None], things, relation), draws[rows, relation])
            for relation in range(len(RELATIONS))
        ]
        found.append(torch.stack(columns, dim=1))
    return torch.cat(found)


def _drawn(allowed: Tensor, draws: Tensor) -> Tensor:
    """One of the columns allowed to each row, all as likely, or -1."""
    place = allowed.cumsum(1)
    count = place[:, -1]
    chosen = (place > (draws * count).long()[:, None]).int().argmax(1)
    return torch.where(count > 0, chosen, -1)


def group_graph(kinds: Tensor, ids: Tensor, homophily: float, degree: int, *key: int) -> Tensor:
    """An undirected graph: each object draws degree / 2 others, of its own group with probability `homophily`.

    Returns:
        Rows of the neighbours of each object, those with most of them filling the width, -1 behind, (n, k).
    """
    groups, n, half = group_of(kinds), len(kinds), degree // 2
    draws = uniform(ids, 2 * half, *key)
    same = groups[:, None] == groups
    same.fill_diagonal_(False)
    other = ~same
    other.fill_diagonal_(False)
    linked = torch.zeros(n, n, dtype=torch.bool)
    for k in range(half):
        at_home = (draws[:, 2 * k] < homophily)[:, None]
        partner = _drawn(torch.where(at_home, same, other), draws[:, 2 * k + 1])
        linked[torch.arange(n), partner] = True
    linked |= linked.T.clone()
    width = int(linked.sum(1).max())
    order = linked.byte().argsort(dim=1, descending=True, stable=True)[:, :width]
    return torch.where(linked.gather(1, order), order, -1)


def shuffled_graph(neighbours: Tensor, ids: Tensor, *key: int) -> Tensor:
    """The same graph over the objects in a drawn order: of all its properties only who is linked with whom is lost."""
    order = uniform(ids, 1, *key).flatten().argsort(stable=True)
    moved = torch.full_like(neighbours, -1)
    moved[order] = torch.where(neighbours >= 0, order[neighbours.clamp(min=0)], -1)
    return moved
