"""Captions out of what is known of a sample: several wordings each, and how alike any two of them are in meaning."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from common.random import uniform


@dataclass(frozen=True)
class Attribute:
    """Something that a caption may say of a sample, and the ways to say it."""

    wordings: tuple[tuple[str, ...], ...]
    """For each value, phrases that mean the same."""
    weight: float = 0.0
    """Its share in the meaning, in any unit; 0 for what only varies the wording."""
    said: float = 1.0
    """Share of the captions that mention it."""


@dataclass(frozen=True)
class Grammar:
    """Sentences with a place for each attribute.

    The meaning of a caption is a unit vector with a block of one entry a value for each attribute: the root of the
    attribute's weight at the value that is said, and nothing where the caption is silent. So the cosine of two captions
    is the weight of what both say alike, over the geometric mean of the weights of what each says.
    """

    frames: tuple[str, ...]
    """Sentences such as "{who} {action} {speed}"; what is not said leaves no gap."""
    attributes: Mapping[str, Attribute]

    @cached_property
    def width(self) -> int:
        """Dimensions of a meaning."""
        return sum(len(attribute.wordings) for attribute in self.attributes.values() if attribute.weight)

    def captions(self, values: Mapping[str, Tensor], ids: Tensor, count: int) -> tuple[list[str], Tensor]:
        """Captions of `n` samples; they depend on a sample's id and values and on nothing else.

        Args:
            values: the value of each attribute that has several, int64 of shape (n,).
            ids: global sample ids, shape (n,).
            count: captions a sample.

        Returns:
            The n * count captions, those of a sample together, and their meanings, shape (n * count, width).
        """
        texts, meanings = [], torch.zeros(len(ids) * count, self.width)
        known = {name: chosen.tolist() for name, chosen in values.items()}
        numbers = (ids[:, None] * count + torch.arange(count)).flatten()
        draws = uniform(numbers, 1 + 2 * len(self.attributes), count).tolist()
        for row, (frame, *rest) in enumerate(draws):
            said, start = {}, 0
            for (name, attribute), mention, wording in zip(self.attributes.items(), rest[::2], rest[1::2], strict=True):
                value = known[name][row // count] if name in known else 0
                phrases = attribute.wordings[value]
                said[name] = phrases[int(wording * len(phrases))] if mention < attribute.said else ""
                if attribute.weight:
                    meanings[row, start + value] = attribute.weight**0.5 if said[name] else 0.0
                    start += len(attribute.wordings)
            sentence = " ".join(self.frames[int(frame * len(self.frames))].format(**said).split())
            texts.append(sentence[0].upper() + sentence[1:] + ".")
        return texts, torch.nn.functional.normalize(meanings, dim=1)
