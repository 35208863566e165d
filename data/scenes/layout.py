"""Which objects a scene holds, where, and in which split it is: all drawn from the scene's id."""

from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import Literal, NamedTuple, TypeVar

import torch

from common.random import uniform
from data.scenes.words import CLASSES, COLOURS, PLACES, SHAPES, SIZES, THINGS, Scene, Thing, meaning, related

MOST = 5
"""Objects of a scene."""
_COUNTS = (0.2, 0.35, 0.25, 0.12, 0.08)
"""Share of the scenes with 1, 2, ... objects."""
_SPLITS = {"test": 0.09, "val": 0.045}
"""Share of all meanings; the rest is to train on."""
_DRAWS = 1 + 3 * MOST + len(PLACES)

T = TypeVar("T")
Aspect = Literal["class", "colour", "size", "place"]
ASPECTS: tuple[Aspect, ...] = ("class", "colour", "size", "place")


class Placed(NamedTuple):
    """A scene and its number, which fixes everything else about it: how it is drawn, and its variants."""

    number: int
    scene: Scene


def number_of(meaning: str) -> int:
    """A meaning as a number, from 0 to 2^63."""
    return int.from_bytes(blake2b(meaning.encode(), digest_size=8).digest()) >> 1


def split_of(meaning: str) -> str:
    """What means the same is in one split, so no caption of one split fits a picture of another."""
    draw = number_of(meaning) / 2**63
    for split, share in _SPLITS.items():
        if draw < share:
            return split
        draw -= share
    return "train"


def fill_splits(drawn: Iterable[tuple[T, str]], sizes: dict[str, int]) -> dict[str, list[T]]:
    """The first samples of each split.

    Args:
        drawn: samples without end, each with its meaning.
        sizes: samples of each split.
    """
    found: dict[str, list[T]] = {split: [] for split in sizes}
    missing = sum(sizes.values())
    for sample, said in drawn:
        part = found[split := split_of(said)]
        if len(part) < sizes[split]:
            part.append(sample)
            missing -= 1
            if not missing:
                break
    return found


def draw_splits(sizes: dict[str, int], tiny: float = 0.0) -> dict[str, list[Placed]]:
    """The scenes of each split, in the order of their numbers, if that share of the objects is tiny."""
    # Other numbers, else a scene to train on could be one of the test with an object made tiny.
    drawn = draw_scenes(1 << 24 if tiny else 0, tiny)
    return fill_splits(((placed, meaning(placed.scene)) for placed in drawn), sizes)


def draw_scenes(start: int, tiny: float = 0.0, at_once: int = 4096) -> Iterator[Placed]:
    """Scenes without end, in the order of their numbers, the first of which is `start` or the next that makes one."""
    while True:
        numbers = torch.arange(start, start := start + at_once)
        for number, draws in zip(numbers.tolist(), uniform(numbers, _DRAWS, 0).tolist(), strict=True):
            scene = _scene(draws, tiny)
            if scene is not None:
                yield Placed(number, scene)


def _scene(draws: list[float], tiny: float) -> Scene | None:
    """A scene out of uniform numbers, or None if two objects would be alike."""
    count, rest = 1, draws[0]
    while count < MOST and rest >= _COUNTS[count - 1]:
        rest -= _COUNTS[count - 1]
        count += 1
    order = sorted(range(len(PLACES)), key=draws[1 + 3 * MOST :].__getitem__)
    if count == 2:
        # The second is the first free place that lies clearly beside or above: a corner has no word for a diagonal.
        first = Thing(0, 0, 0, order[0])
        order[1] = next(place for place in order[1:] if related((first, first._replace(place=place))) is not None)
    things = []
    for i in range(count):
        kind, colour, size = draws[1 + 3 * i : 4 + 3 * i]
        is_thing = kind < 0.5
        names, first = (THINGS, 0) if is_thing else (SHAPES, len(THINGS))
        small = int((size - tiny) / (1 - tiny) * 2) if size >= tiny else SIZES.index("tiny")
        shade = -1 if is_thing else int(colour * len(COLOURS))
        things.append(Thing(first + int(kind % 0.5 * 2 * len(names)), shade, small, order[i]))
    return tuple(things) if len({thing[:2] for thing in things}) == count else None


def one_changed(placed: Placed, aspect: Aspect) -> Scene | None:
    """The scene with one attribute of one object changed, or None if it has no such attribute.

    A change of place exchanges the places of two objects where there are two, so that the captions of the two scenes
    consist of the same words.
    """
    scene = placed.scene
    which, other = uniform(torch.tensor([placed.number]), 2, 1, ASPECTS.index(aspect)).flatten().tolist()
    if aspect == "place":
        if len(scene) == 1:
            return (scene[0]._replace(place=(scene[0].place + 1 + int(other * 8)) % 9),)
        first = int(which * len(scene))
        second = (first + 1 + int(other * (len(scene) - 1))) % len(scene)
        places = {first: scene[second].place, second: scene[first].place}
        return tuple(t._replace(place=places.get(i, t.place)) for i, t in enumerate(scene))
    candidates = [i for i, thing in enumerate(scene) if aspect != "colour" or thing.colour >= 0]
    if not candidates:
        return None
    chosen = candidates[int(which * len(candidates))]
    thing = scene[chosen]
    if aspect == "size":
        options = [thing._replace(size=size) for size in range(2)]
    elif aspect == "colour":
        options = [thing._replace(colour=colour) for colour in range(len(COLOURS))]
    else:
        kinds = range(len(THINGS)) if thing.colour < 0 else range(len(THINGS), len(CLASSES))
        options = [thing._replace(kind=kind) for kind in kinds]
    taken = {t[:2] for i, t in enumerate(scene) if i != chosen}
    options = [option for option in options if option != thing and option[:2] not in taken]
    return (*scene[:chosen], options[int(other * len(options))], *scene[chosen + 1 :])


def kept(scenes: list[Placed], omission: float, seed: int) -> list[Scene]:
    """The scenes as captions tell of them that leave each object out with probability `omission`, but never all."""
    draws = uniform(torch.tensor([placed.number for placed in scenes]), MOST, seed, 2).tolist()
    told = []
    for (_, scene), u in zip(scenes, draws, strict=True):
        left = tuple(thing for thing, draw in zip(scene, u, strict=False) if draw >= omission)
        told.append(left or (max(zip(u, scene, strict=False))[1],))
    return told
