"""Paints scenes: cut-outs and shapes, small enough for a laptop, on textured backgrounds, with exact masks."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from common.random import uniform
from data.scenes.layout import MOST, Placed
from data.scenes.words import SHAPES, THINGS, Thing, named
from data.sources.tuxpaint_stamps import Stamp

SIDE = 48
CELL = SIDE // 3
"""Objects stand on a grid of 3 x 3."""
SCALES = ((10.0, 11.0, 12.0), (17.0, 18.0, 19.5), (5.0, 5.5, 6.0))
"""Small, large, tiny: pixels across a shape; a cut-out covers as much as a disc of that diameter."""
ANGLES = (-14, -7, 0, 7, 14)
"""Turns of a shape, in degrees."""
RGB = (
    *((214, 40, 40), (243, 132, 24), (246, 212, 40), (44, 148, 62)),
    *((42, 88, 205), (138, 60, 172), (248, 248, 248), (24, 24, 24)),
)
"""The colours, in the order of their words."""

_TEXTURE = 96
_PER_THING = 8
BACKDROP_DRAWS = 10
_DRAWS = BACKDROP_DRAWS + _PER_THING * MOST


class Patch(NamedTuple):
    """A picture to lay on the canvas."""

    ink: np.ndarray
    """Colours times opacity, float32 of shape (h, w, 3); for a shape ones, times opacity."""
    opacity: np.ndarray
    """float32 of shape (h, w, 1), in [0, 1]."""


class Painter:
    """Holds every cut-out and shape at every size, so that a scene is a handful of small additions.

    Args:
        stamps: all stamps.
        pictures: key -> RGBA picture, for those that have one.
        vivid: as in `Backdrops`.
    """

    def __init__(self, stamps: list[Stamp], pictures: dict[str, np.ndarray], vivid: bool = False) -> None:
        drawn = cut_outs(stamps, pictures)
        self.things = [[[[_resized(p, s) for s in side] for side in SCALES] for p in of_kind] for of_kind in drawn]
        self.shapes = [
            [[[shape_patch(s, side, a) for a in ANGLES] for side in sides] for sides in SCALES] for s in SHAPES
        ]
        self.backdrops = Backdrops(vivid)

    def paint(self, scenes: Sequence[Placed]) -> tuple[Tensor, Tensor]:
        """The pictures, uint8 of shape (n, 3, 48, 48), and for each pixel which object it shows, counted from 1.

        The second is uint8 of shape (n, 48, 48), with 0 for the background.
        """
        pixels = np.empty((len(scenes), SIDE, SIDE, 3), np.uint8)
        instances = np.zeros((len(scenes), SIDE, SIDE), np.uint8)
        draws = uniform(torch.tensor([placed.number for placed in scenes]), _DRAWS, 3).tolist()
        for i, (placed, u) in enumerate(zip(scenes, draws, strict=True)):
            canvas = self.backdrops.piece(u[:BACKDROP_DRAWS], SIDE)
            # Large ones first: what is small lies on top, so that it is never hidden.
            for k, thing in sorted(enumerate(placed.scene), key=lambda item: -SCALES[item[1].size][0]):
                own = u[BACKDROP_DRAWS + k * _PER_THING :][:_PER_THING]
                patch = self.patch(thing, own)
                row, column = divmod(thing.place, 3)
                y, x = (CELL * (cell + 0.5) + 4 * jitter - 2 for cell, jitter in ((row, own[3]), (column, own[4])))
                lay(canvas, instances[i], patch, y, x, k + 1)
            pixels[i] = (canvas * 255 + 0.5).astype(np.uint8)
        return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(instances)

    def patch(self, thing: Thing, u: list[float]) -> Patch:
        """How an object looks; `u` are eight numbers in [0, 1)."""
        variant, scale, turn, _, _, *shade = u
        if thing.colour < 0:
            of_kind = self.things[thing.kind]
            patch = of_kind[int(variant * len(of_kind))][thing.size][int(scale * len(SCALES[0]))]
            return Patch(patch.ink[:, ::-1], patch.opacity[:, ::-1]) if turn < 0.5 else patch
        patch = self.shapes[thing.kind - len(THINGS)][thing.size][int(scale * len(SCALES[0]))][int(turn * len(ANGLES))]
        return Patch(patch.ink * shade_of(thing.colour, shade), patch.opacity)


class Backdrops:
    """Textures in two tones.

    Args:
        vivid: hard patterns in strong colours instead of soft ones in muted colours.
    """

    def __init__(self, vivid: bool = False) -> None:
        self.textures = _hard_textures() if vivid else _soft_textures()
        self.vivid = vivid

    def piece(self, u: list[float], side: int) -> np.ndarray:
        """A square, float32 of shape (side, side, 3) in [0, 1]; `u` are ten numbers in [0, 1)."""
        which, top, left, hue, saturation, value, strength, other, _, turn = u
        texture = self.textures[int(which * len(self.textures))]
        y, x = (int(at * (_TEXTURE - side + 1)) for at in (top, left))
        piece = texture[y : y + side, x : x + side]
        if turn < 0.5:
            piece = piece.T
        least, span = (0.3, 0.3) if self.vivid else (0.05, 0.2)
        contrast = 0.3 if self.vivid else 0.06 + 0.1 * strength
        base = _rgb(hue, least + span * saturation, 0.5 + 0.3 * value)
        tone = _rgb(hue + 0.3 * other, least + span * saturation, 1.0) * contrast
        return np.clip(base + piece[..., None] * tone, 0, 1)


def shade_of(colour: int, u: list[float]) -> np.ndarray:
    """A shade of a colour, float32 of shape (3,) in [0, 1]; `u` are three numbers in [0, 1)."""
    return np.clip(np.array(RGB[colour], np.float32) / 255 + 0.1 * np.array(u, np.float32) - 0.05, 0, 1)


def lay(canvas: np.ndarray, instances: np.ndarray, patch: Patch, y: float, x: float, number: int) -> None:
    """Lays a patch over the canvas with its centre at (y, x), moved inside where it would stick out."""
    height, width = patch.opacity.shape[:2]
    top = min(max(round(y - height / 2), 0), len(canvas) - height)
    left = min(max(round(x - width / 2), 0), len(canvas) - width)
    area = slice(top, top + height), slice(left, left + width)
    canvas[area] = canvas[area] * (1 - patch.opacity) + patch.ink
    instances[area][patch.opacity[..., 0] >= 0.5] = number


def boxes_of(instances: Tensor) -> Tensor:
    """The box around the visible part of each object: left, top, right, bottom, the last two exclusive.

    Args:
        instances: from `Painter.paint`, shape (n, h, w).

    Returns:
        int16 of shape (n, 5, 4); zeros where there is no object or nothing of it is seen.
    """
    height, width = instances.shape[-2:]
    seen = instances[:, None] == torch.arange(1, MOST + 1, dtype=torch.uint8)[:, None, None]
    across, down = seen.any(dim=2), seen.any(dim=3)
    left, top = across.int().argmax(dim=-1), down.int().argmax(dim=-1)
    right, bottom = width - across.flip(-1).int().argmax(dim=-1), height - down.flip(-1).int().argmax(dim=-1)
    boxes = torch.stack([left, top, right, bottom], dim=-1)
    return (boxes * across.any(dim=-1, keepdim=True)).to(torch.int16)


def cut_outs(stamps: list[Stamp], pictures: dict[str, np.ndarray]) -> list[list[np.ndarray]]:
    """For each of `THINGS` its pictures without margin, uint8 of shape (h, w, 4), colours times opacity."""
    keys = {name: [s.key for s in stamps if s.key in pictures and named(s) == name] for name in THINGS}
    return [[cut_out(pictures[key]) for key in keys[name]] for name in THINGS]


def cut_out(rgba: np.ndarray) -> np.ndarray:
    """The picture without its transparent margin, colours times opacity, uint8."""
    rows, columns = (np.flatnonzero((rgba[..., 3] > 8).any(axis=axis)) for axis in (1, 0))
    cut = rgba[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.uint16)
    cut[..., :3] = (cut[..., :3] * cut[..., 3:] + 127) // 255
    return cut.astype(np.uint8)


def size_of(premultiplied: np.ndarray, side: float) -> tuple[int, int]:
    """Width and height at which a cut-out covers as much as a disc of diameter `side`, but is no longer than 1.4 sides.

    By what is seen and not by the box, else a violin would be a line.
    """
    height, width = premultiplied.shape[:2]
    area = premultiplied[..., 3].sum() / 255
    scale = min(side * math.sqrt(math.pi / 4 / area), 1.4 * side / max(height, width))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _resized(premultiplied: np.ndarray, side: float) -> Patch:
    size = size_of(premultiplied, side)
    # Band by band: as RGBA, Pillow would divide by the opacity and multiply again.
    bands = [
        Image.fromarray(np.ascontiguousarray(band)).resize(size, Image.Resampling.BOX)
        for band in premultiplied.transpose(2, 0, 1)
    ]
    small = np.stack([np.asarray(band) for band in bands], axis=-1).astype(np.float32) / 255
    return Patch(small[..., :3], small[..., 3:])


def shape_patch(name: str, side: float, degrees: float) -> Patch:
    """A shape of that many pixels across, turned; its ink is white."""
    fine, pixels = 16, math.ceil(side) + 2
    image = Image.new("L", (pixels * fine, pixels * fine))
    draw, middle, radius = ImageDraw.Draw(image), pixels * fine / 2, side * fine / 2

    def turned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
        cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        return [(middle + radius * (x * cos - y * sin), middle + radius * (x * sin + y * cos)) for x, y in points]

    def disc(x: float, y: float, share: float, fill: int = 255) -> None:
        ((x, y),) = turned([(x, y)])
        draw.ellipse([x - radius * share, y - radius * share, x + radius * share, y + radius * share], fill=fill)

    if name == "circle":
        disc(0, 0, 1)
    elif name == "ring":
        disc(0, 0, 1)
        disc(0, 0, 0.55, fill=0)
    elif name == "crescent":
        disc(0, 0, 1)
        disc(0.45, 0, 0.85, fill=0)
    elif name == "heart":
        angles = [2 * math.pi * i / 64 for i in range(64)]
        curve = [
            (16 * math.sin(a) ** 3, -(13 * math.cos(a) - 5 * math.cos(2 * a) - 2 * math.cos(3 * a) - math.cos(4 * a)))
            for a in angles
        ]
        draw.polygon(turned([(x / 17, (y - 2.5) / 17) for x, y in curve]), fill=255)
    else:
        arm, star = 0.33, [1.12 if i % 2 == 0 else 0.48 for i in range(10)]
        corners = {
            "square": [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
            "triangle": [(0, -1), (1.08, 0.85), (-1.08, 0.85)],
            "star": [
                (r * math.sin(math.pi * i / 5), -r * math.cos(math.pi * i / 5) + 0.08) for i, r in enumerate(star)
            ],
            "cross": [
                *((-arm, -1), (arm, -1), (arm, -arm), (1, -arm), (1, arm), (arm, arm)),
                *((arm, 1), (-arm, 1), (-arm, arm), (-1, arm), (-1, -arm), (-arm, -arm)),
            ],
        }
        draw.polygon(turned(corners[name]), fill=255)
    opacity = np.asarray(image.reduce(fine)).astype(np.float32)[..., None] / 255
    return Patch(np.repeat(opacity, 3, axis=2), opacity)


def _rgb(hue: float, saturation: float, value: float) -> np.ndarray:
    sector = np.abs((hue * 6 + np.array([0, 4, 2])) % 6 - 3) - 1
    return (value * (1 - saturation + saturation * np.clip(sector, 0, 1))).astype(np.float32)


def _noise(key: int, cells: int) -> np.ndarray:
    """Smooth noise in about [-1, 1] with so many bumps a side, shape (96, 96)."""
    grid = 2 * uniform(torch.arange(cells), cells, 4, key).numpy() - 1
    return np.asarray(Image.fromarray(grid).resize((_TEXTURE, _TEXTURE), Image.Resampling.BICUBIC))


def _soft_textures(count: int = 48) -> np.ndarray:
    """Clouds, grain, waves and weaves, float32 of shape (count, 96, 96) in about [-1, 1]."""
    y, x = np.mgrid[:_TEXTURE, :_TEXTURE].astype(np.float32)
    found = []
    for key, (pitch, angle) in enumerate(uniform(torch.arange(count), 2, 5).tolist()):
        step = 2 * math.pi / (6 + 14 * pitch)
        along, across = (
            step * (x * math.cos(math.pi * angle + a) + y * math.sin(math.pi * angle + a)) for a in (0, math.pi / 2)
        )
        if key % 4 == 0:
            found.append(_noise(key, 6 + int(8 * pitch)) + 0.4 * _noise(count + key, 40))
        elif key % 4 == 1:
            found.append(_noise(key, 30 + int(40 * pitch)))
        elif key % 4 == 2:
            found.append(np.sin(along + 2 * _noise(key, 6)))
        else:
            found.append(np.sin(along) * np.sin(across) + 0.3 * _noise(key, 48))
    return np.stack(found).astype(np.float32)


def _hard_textures(count: int = 48) -> np.ndarray:
    """Stripes, zigzags, bricks and boards with sharp edges, float32 of shape (count, 96, 96), -1 or 1."""
    y, x = np.mgrid[:_TEXTURE, :_TEXTURE].astype(np.float32)
    found = []
    for key, (pitch, angle) in enumerate(uniform(torch.arange(count), 2, 6).tolist()):
        period = 8 + 10 * pitch
        turn = math.pi * angle
        u, v = (x * math.cos(turn + a) + y * math.sin(turn + a) for a in (0, math.pi / 2))
        if key % 4 == 0:
            dark = u % period < period / 2
        elif key % 4 == 1:
            dark = (y + np.abs(x % period - period / 2)) % period < period / 2
        elif key % 4 == 2:
            odd = y // (period / 2) % 2
            dark = (y % (period / 2) < 1.5) | ((x + odd * period / 2) % period < 1.5)
        else:
            dark = (u % period < period / 2) ^ (v % period < period / 2)
        found.append(np.where(dark, -1.0, 1.0))
    return np.stack(found).astype(np.float32)
