"""Other captions of a scene than its own: its objects in another order, some of them, or words left out."""

from typing import Literal

import torch
from torch import Tensor

from common.errors import UserError
from common.random import uniform
from data.scenes.layout import MOST
from data.scenes.words import Scene, Wording

TextView = Literal["reordered", "thinned", "part", "object"]
TEXT_VIEWS: tuple[TextView, ...] = ("reordered", "thinned", "part", "object")
THINNED = 0.1
"""Share of the words that "thinned" leaves out."""
_WORDS = 64


def check_views(views: tuple[str, ...]) -> None:
    """Whether all are known.

    Raises:
        UserError: one is not.
    """
    if set(views) - set(TEXT_VIEWS):
        raise UserError(f"data.text_views is {list(views)}; it must hold some of {', '.join(TEXT_VIEWS)}")


def viewed(view: TextView, wording: Wording, scenes: list[Scene], ids: Tensor, *key: int) -> list[str]:
    """A caption of each scene.

    Args:
        view: "reordered": its objects in a drawn order. "thinned": the same with a tenth of the words left out, never
            all. "part": one to all of the objects, as many being as likely. "object": one of them.
        wording: how an object is put into words.
        scenes: of n samples.
        ids: of the samples, (n,).
        key: what else the draws depend on, such as seed and epoch.
    """
    draws = uniform(ids, 1 + MOST, *key)
    order = draws[:, 1:].tolist()
    said = []
    for scene, share, turn in zip(scenes, draws[:, 0].tolist(), order, strict=True):
        things = [thing for _, thing in sorted(zip(turn, scene, strict=False))]
        count = {"part": 1 + int(share * len(scene)), "object": 1}.get(view, len(scene))
        said.append(wording.caption(tuple(things[:count])))
    if view != "thinned":
        return said
    chances = uniform(ids, _WORDS, *key, 1)
    return [_thinned(text, chance) for text, chance in zip(said, chances, strict=True)]


def _thinned(text: str, chance: Tensor) -> str:
    words = text.split()
    left = [word for word, draw in zip(words, chance.tolist(), strict=False) if draw >= THINNED]
    return " ".join(left or [words[int(torch.argmax(chance[: len(words)]))]])
