"""Emoji as concepts: four drawings and fourteen names each, in splits by concept, for `emoji` and `emoji_groups`."""

import json
import re
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from common.random import uniform
from common.table import take
from data.cache import cached_tensors
from data.sources.emoji_names import EMOJI_NAMES, LANGUAGES, read_names
from data.sources.emoji_pictures import PICTURES, Emoji, read_emoji, read_pictures

VENDORS = tuple(PICTURES)
SIDE = 32
ALIKE = 0.02
"""Two concepts are drawn alike if their pictures by some vendor differ by less: root mean square, white being 1."""
SHARES = {"test": 0.2, "val": 0.1}
"""Of the concepts of each sub-category; the rest is to train on."""
VERSION = 1
"""Of what draws and chooses them."""

# What turns a concept into its variant: presentation, gender, direction, hair. A person joined to something may be a
# man, a woman or an adult.
_VARIANT = re.compile(r"-(200D-)?(FE0F|2640|2642|27A1|1F9B[0-3])(?=-|$)")
_ADULT = re.compile(r"^(1F468|1F469|1F9D1)(?=-200D|$)")


class Concepts(NamedTuple):
    """Some of the emoji, in Unicode's order."""

    emoji: list[Emoji]
    numbers: Tensor
    """Place in the source's index, which no switch changes, int64, shape (n,)."""
    pixels: Tensor
    """On white, by vendor in the order of `VENDORS`, uint8, shape (n, 4, 3, 32, 32)."""
    names: dict[str, list[str]]
    """By language."""


def family_of(emoji: Emoji) -> str:
    """What an emoji shares with its variants: 'man running' and 'woman running facing right' are of one family."""
    if emoji.subcategory == "family":
        return emoji.subcategory
    return _ADULT.sub("1F9D1", _VARIANT.sub("", emoji.code))


def read_concepts(data_root: str | None = None) -> dict[str, Concepts]:
    """The concepts by split: "train", "val", "test".

    A concept is an emoji that all four vendors draw. Of those that some vendor draws alike only the first stays. A
    family of variants is in one split, and each sub-category is in all splits in proportion, as far as it is large
    enough, so that flags and clock faces are found everywhere.
    """

    def build() -> dict[str, Tensor]:
        everything = _read(data_root)
        index = json.dumps([everything.emoji, everything.numbers.tolist(), everything.names])
        return {"pixels": everything.pixels, "json": torch.frombuffer(bytearray(index.encode()), dtype=torch.uint8)}

    # Drawing and decoding 7,400 pictures takes a while.
    sources = (*PICTURES.values(), EMOJI_NAMES)
    stored = cached_tensors("emoji", build, sources, VERSION, data_root)
    rows, numbers, names = json.loads(stored["json"].numpy().tobytes())
    everything = Concepts([Emoji(*row) for row in rows], torch.tensor(numbers), stored["pixels"], names)
    return {split: take(everything, index) for split, index in _splits(everything).items()}


def _read(data_root: str | None) -> Concepts:
    drawn = {vendor: read_pictures(vendor, SIDE, data_root) for vendor in VENDORS}
    numbered = [
        (number, emoji)
        for number, emoji in enumerate(read_emoji(data_root))
        if all(emoji.code in pictures for pictures in drawn.values())
    ]
    rgba = np.stack([[drawn[vendor][emoji.code] for vendor in VENDORS] for _, emoji in numbered]).astype(np.float32)
    opacity = rgba[..., 3:] / 255
    pixels = torch.from_numpy((rgba[..., :3] * opacity + 255 * (1 - opacity)).round().astype(np.uint8))
    kept = _distinct(pixels)
    names = read_names(data_root)
    return Concepts(
        [numbered[i][1] for i in kept],
        torch.tensor([numbered[i][0] for i in kept]),
        pixels[kept].permute(0, 1, 4, 2, 3).contiguous(),
        {language: [names[language][numbered[i][1].character] for i in kept] for language in LANGUAGES},
    )


def _distinct(pixels: Tensor) -> list[int]:
    """The concepts that no vendor draws like one that stays before them; pixels (n, vendors, ...)."""
    alike = torch.zeros(len(pixels), len(pixels), dtype=torch.bool)
    for pictures in pixels.flatten(2).transpose(0, 1).double():
        # Sums of products of bytes are exact in float64, so whatever adds them up chooses the same concepts.
        square = pictures.square().sum(1)
        apart = square[:, None] + square - 2 * pictures @ pictures.T
        alike |= apart < (255 * ALIKE) ** 2 * pictures.shape[1]
    kept: list[int] = []
    for i in range(len(pixels)):
        if not alike[i, kept].any():
            kept.append(i)
    return kept


def _splits(concepts: Concepts) -> dict[str, Tensor]:
    families: dict[str, list[int]] = {}
    for i, emoji in enumerate(concepts.emoji):
        families.setdefault(family_of(emoji), []).append(i)
    groups: dict[str, list[list[int]]] = {}
    for family in families.values():
        groups.setdefault(concepts.emoji[family[0]].subcategory, []).append(family)
    found: dict[str, list[int]] = {"train": [], "val": [], "test": []}
    for members in groups.values():
        draws = uniform(concepts.numbers[[family[0] for family in members]], 1, 0).flatten()
        total, before = sum(map(len, members)), 0
        for place in draws.argsort(stable=True).tolist():
            family = members[place]
            # Where the middle of the family falls on the way from 0 to 1 through the sub-category.
            middle = (before + len(family) / 2) / total
            before += len(family)
            in_val = middle < SHARES["test"] + SHARES["val"]
            found["test" if middle < SHARES["test"] else "val" if in_val else "train"] += family
    return {split: torch.tensor(sorted(index)) for split, index in found.items()}
