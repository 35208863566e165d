"""Clips of one or two objects that each do something: who does what, in five languages, and the frames."""

import math
from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from common.random import uniform
from data.cache import cached_tensors
from data.scenes.layout import fill_splits
from data.scenes.painting import BACKDROP_DRAWS, Backdrops, Patch, cut_outs, lay, shade_of, shape_patch, size_of
from data.scenes.pictures import stamps_of
from data.scenes.words import CLASSES, COLOURS, SHAPES, THINGS, Noun, Thing, Wording
from data.sources.tuxpaint_stamps import TUXPAINT_STAMPS, Stamp, read_stamp_pictures

FRAMES = 8
SIDE = 32
MOST = 2
"""Objects of a clip."""
COUNTS = {"train": 6000, "val": 500, "test": 1000}
VERBS = ("left", "right", "up", "down", "grow", "shrink", "spin", "jump", "blink", "tremble")

_VERBS: dict[str, tuple[str, ...]] = {
    "en": (
        *("moves left", "moves right", "moves up", "moves down", "grows", "shrinks"),
        *("spins", "jumps", "blinks", "trembles"),
    ),
    "de": (
        *("bewegt sich nach links", "bewegt sich nach rechts", "bewegt sich nach oben", "bewegt sich nach unten"),
        *("wächst", "schrumpft", "dreht sich", "hüpft", "blinkt", "zittert"),
    ),
    "fr": (
        *("va vers la gauche", "va vers la droite", "monte", "descend", "grandit", "rétrécit"),
        *("tourne", "saute", "clignote", "tremble"),
    ),
    "es": (
        *("se mueve a la izquierda", "se mueve a la derecha", "sube", "baja", "crece", "se encoge"),
        *("gira", "salta", "parpadea", "tiembla"),
    ),
    "ja": (
        *("ひだりに うごく", "みぎに うごく", "うえに うごく", "したに うごく", "おおきく なる", "ちいさく なる"),
        *("まわる", "とびはねる", "てんめつする", "ふるえる"),
    ),
}

_ROUND = {CLASSES.index("circle"), CLASSES.index("ring")}
_SPIN = VERBS.index("spin")
_PER_ACTOR = 9
_DRAWS = BACKDROP_DRAWS + 1 + _PER_ACTOR * MOST
_MASTER, _DIAMETER = 64, 40
"""Side of the picture that a frame shrinks, and the diameter of the disc that the object in it equals."""
VERSION = 1
"""Of what paints them."""


class Actor(NamedTuple):
    """One object of a clip and what it does."""

    kind: int
    colour: int
    """-1 for a cut-out."""
    verb: int


Clip = tuple[Actor, ...]
"""One or two actors in the order in which captions name them, unlike each other."""


class Numbered(NamedTuple):
    """A clip and its number, which fixes everything else about it."""

    number: int
    clip: Clip


class MovingWording:
    """Puts clips into the words of one language: "a red star moves left and a dog spins"."""

    def __init__(self, language: str, things: Sequence[Noun]) -> None:
        self.nouns = Wording(language, things, mentions=("colour",))
        self.verbs = _VERBS[language]

    def caption(self, clip: Clip) -> str:
        return self.nouns.listed([self.clause(actor) for actor in clip])

    def clause(self, actor: Actor) -> str:
        """One object and what it does."""
        subject = self.nouns.phrase(Thing(actor.kind, actor.colour, 0, 0))
        return f"{subject}{'が' if self.nouns.language == 'ja' else ''} {self.verbs[actor.verb]}"


def meaning(clip: Clip) -> str:
    """What a caption says, whatever its order and language."""
    said = [
        " ".join([CLASSES[kind], *([COLOURS[colour]] if colour >= 0 else []), VERBS[verb]])
        for kind, colour, verb in clip
    ]
    return ", ".join(sorted(said))


def visible(kind: int, verb: int) -> bool:
    """Whether one can see an object do it: a disc that spins is a disc at rest."""
    return not (kind in _ROUND and verb == _SPIN)


@cache
def clips_of() -> dict[str, list[Numbered]]:
    """The clips of each split, in the order of their numbers; no caption fits clips of two splits."""
    return fill_splits(((one, meaning(one.clip)) for one in _clips()), COUNTS)


def _clips(at_once: int = 4096) -> Iterator[Numbered]:
    start = 0
    while True:
        numbers = torch.arange(start, start := start + at_once)
        for number, (count, *draws) in zip(numbers.tolist(), uniform(numbers, 1 + 3 * MOST, 10).tolist(), strict=True):
            clip = tuple(_actor(*draws[3 * i : 3 * i + 3]) for i in range(1 if count < 0.4 else 2))
            if len({actor[:2] for actor in clip}) == len(clip) and all(visible(a.kind, a.verb) for a in clip):
                yield Numbered(number, clip)


def _actor(kind: float, colour: float, verb: float) -> Actor:
    acts = int(verb * len(VERBS))
    if kind < 0.5:
        return Actor(int(2 * kind * len(THINGS)), -1, acts)
    return Actor(len(THINGS) + int((2 * kind - 1) * len(SHAPES)), int(colour * len(COLOURS)), acts)


class MovingPainter:
    """Paints clips: objects on a backdrop that rests.

    Args:
        stamps: all stamps.
        pictures: key -> RGBA picture, for those that have one.
    """

    def __init__(self, stamps: list[Stamp], pictures: dict[str, np.ndarray]) -> None:
        self.things = [[_master(picture) for picture in of_kind] for of_kind in cut_outs(stamps, pictures)]
        self.shapes = [shape_patch(name, _DIAMETER, 0).opacity for name in SHAPES]
        self.backdrops = Backdrops()

    def paint(self, clips: Sequence[Numbered]) -> tuple[Tensor, Tensor]:
        """The frames, uint8 of shape (n, 8, 3, 32, 32), and for each pixel which object it shows, counted from 1.

        The second is uint8 of shape (n, 8, 32, 32), with 0 for the background.
        """
        frames = np.empty((len(clips), FRAMES, SIDE, SIDE, 3), np.uint8)
        instances = np.zeros((len(clips), FRAMES, SIDE, SIDE), np.uint8)
        draws = uniform(torch.tensor([one.number for one in clips]), _DRAWS, 11).tolist()
        for i, ((_, clip), u) in enumerate(zip(clips, draws, strict=True)):
            backdrop = self.backdrops.piece(u[:BACKDROP_DRAWS], SIDE)
            beside = u[BACKDROP_DRAWS] < 0.5
            actors = []
            for k, actor in enumerate(clip):
                own = u[BACKDROP_DRAWS + 1 + k * _PER_ACTOR :][:_PER_ACTOR]
                actors.append((self.master(actor, own), list(_course(actor.verb, k, len(clip), beside, own))))
            for frame in range(FRAMES):
                canvas = backdrop.copy()
                for k, (master, course) in enumerate(actors):
                    y, x, diameter, degrees = course[frame]
                    if diameter:
                        patch, down, right = _seen(master, diameter, degrees)
                        lay(canvas, instances[i, frame], patch, y + down, x + right, k + 1)
                frames[i, frame] = (canvas * 255 + 0.5).astype(np.uint8)
        return torch.from_numpy(frames).permute(0, 1, 4, 2, 3).contiguous(), torch.from_numpy(instances)

    def master(self, actor: Actor, u: list[float]) -> Image.Image:
        """The object large and upright, colours times opacity; `u` are nine numbers in [0, 1)."""
        variant, mirror, *shade = u[:5]
        if actor.colour < 0:
            of_kind = self.things[actor.kind]
            picture = of_kind[int(variant * len(of_kind))]
            return _image(picture[:, ::-1] if mirror < 0.5 else picture)
        opacity = self.shapes[actor.kind - len(THINGS)]
        picture = np.concatenate([opacity * shade_of(actor.colour, shade), opacity], axis=2)
        return _image(_centred((picture * 255 + 0.5).astype(np.uint8)))


def _course(
    verb: int, number: int, count: int, beside: bool, u: list[float]
) -> Iterator[tuple[float, float, float, float]]:
    """For each frame where the object is (down, right), its diameter (0 if it is not seen) and its turn in degrees.

    Two objects have a half of the picture each, beside or above each other.
    """
    down, right, size, phase = u[5:]
    diameter = 11 + 3 * size if count == 1 else 8.5 + 2 * size
    middle, free, reach = SIDE / 2, 4.0, 8.0
    y, x = middle + free * (2 * down - 1), middle + free * (2 * right - 1)
    reach_y = reach_x = reach
    if count == 2:
        own = SIDE * (0.25 + 0.5 * number)
        if beside:
            x, reach_x = own + 2 * right - 1, 4.5
        else:
            y, reach_y = own + 2 * down - 1, 4.5
    for frame in range(FRAMES):
        way = 2 * frame / (FRAMES - 1) - 1  # from -1 to 1
        name = VERBS[verb]
        off_y = off_x = degrees = 0.0
        seen = diameter
        if name in ("left", "right"):
            off_x = reach_x * (way if name == "right" else -way)
        elif name in ("up", "down"):
            off_y = reach_y * (way if name == "down" else -way)
        elif name in ("grow", "shrink"):
            seen = diameter * (0.85 + 0.4 * (way if name == "grow" else -way))
        elif name == "spin":
            degrees = 30.0 * frame * (1 if phase < 0.5 else -1)
        elif name == "jump":
            off_y = reach_y * (0.5 - 1.2 * abs(math.sin(2 * math.pi * frame / (FRAMES - 1))))
        elif name == "blink":
            seen = diameter if (frame + (phase < 0.5)) % 2 else 0.0
        else:
            off_x = 1.5 if (frame + (phase < 0.5)) % 2 else -1.5
        yield y + off_y, x + off_x, seen, degrees


def _seen(master: Image.Image, diameter: float, degrees: float) -> tuple[Patch, float, float]:
    """The object at a size and a turn, and where its centre lies from the middle of what is seen of it."""
    if degrees:
        master = master.rotate(degrees, Image.Resampling.BILINEAR)
    side = round(_MASTER * diameter / _DIAMETER)
    small = master.resize((side, side), Image.Resampling.BOX)
    left, top, right, bottom = small.getbbox()
    # asarray knows no mode with colours times opacity.
    pixels = np.frombuffer(small.tobytes(), np.uint8).reshape(side, side, 4)[top:bottom, left:right] / np.float32(255)
    return Patch(pixels[..., :3], pixels[..., 3:]), (top + bottom - side) / 2, (left + right - side) / 2


def _master(premultiplied: np.ndarray) -> np.ndarray:
    size = size_of(premultiplied, _DIAMETER)
    return _centred(
        np.frombuffer(_image(premultiplied).resize(size, Image.Resampling.BOX).tobytes(), np.uint8).reshape(
            size[1], size[0], 4
        )
    )


def _centred(picture: np.ndarray) -> np.ndarray:
    """On a transparent square of `_MASTER` pixels."""
    height, width = picture.shape[:2]
    square = np.zeros((_MASTER, _MASTER, 4), np.uint8)
    top, left = (_MASTER - height) // 2, (_MASTER - width) // 2
    square[top : top + height, left : left + width] = picture
    return square


def _image(premultiplied: np.ndarray) -> Image.Image:
    height, width = premultiplied.shape[:2]
    return Image.frombytes("RGBa", (width, height), np.ascontiguousarray(premultiplied).tobytes())


@cache
def _painter(data_root: str | None) -> MovingPainter:
    return MovingPainter(stamps_of(data_root), read_stamp_pictures(data_root))


def read_frames(split: str, data_root: str | None = None) -> Tensor:
    """The frames of a split, uint8 of shape (n, 8, 3, 32, 32)."""

    def build() -> dict[str, Tensor]:
        return {"frames": _painter(data_root).paint(clips_of()[split])[0]}

    return cached_tensors("moving-scenes", build, [TUXPAINT_STAMPS], VERSION, data_root, split=split)["frames"]


def read_moving_instances(split: str, data_root: str | None = None) -> Tensor:
    """Which object each pixel shows, counted from 1, uint8 of shape (n, 8, 32, 32)."""

    def build() -> dict[str, Tensor]:
        return {"instances": _painter(data_root).paint(clips_of()[split])[1]}

    stored = cached_tensors("moving-scenes-instances", build, [TUXPAINT_STAMPS], VERSION, data_root, split=split)
    return stored["instances"]
