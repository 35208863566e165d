"""The base of drawn pictures and clips with captions: as many to train on as one likes, some of the captions wrong."""

from typing import ClassVar

import torch
from torch import Tensor

from common.errors import UserError
from common.random import uniform
from common.table import take
from data.benchmarks.bases.image_text import Captioned, ImageTextBenchmark
from data.scenes.words import LANGUAGES
from data.sources.tuxpaint_stamps import TUXPAINT_STAMPS


class DrawnCaptions(ImageTextBenchmark):
    """Pictures or clips of cut-outs and shapes, with captions in English, German, French, Spanish and Japanese.

    Args:
        train_size: samples to train on; none means all.
        caption_noise: share of the training captions that are exchanged among each other.
        brightness, contrast: of the augmentation, which leaves the geometry alone.
        kwargs: as in `ImageTextBenchmark`.
    """

    sources = (TUXPAINT_STAMPS,)
    spoken: ClassVar[tuple[str, ...]] = LANGUAGES
    counts: ClassVar[dict[str, int]]
    """Samples of each split."""

    def __init__(
        self,
        *,
        train_size: int | None = None,
        caption_noise: float = 0.0,
        brightness: float = 0.1,
        contrast: float = 0.1,
        **kwargs,
    ) -> None:
        super().__init__(brightness=brightness, contrast=contrast, **kwargs)
        if train_size is not None and not 1 <= train_size <= self.counts["train"]:
            raise UserError(f"data.train_size is {train_size}; it must be from 1 to {self.counts['train']}")
        if not 0 <= caption_noise <= 1:
            raise UserError(f"data.caption_noise is {caption_noise}; it must be in [0, 1]")
        self.train_size = train_size
        self.caption_noise = caption_noise

    def mixed_up(self, train: Captioned) -> tuple[Captioned, Tensor]:
        """The samples with the captions that noise gives them, and whose captions these are, rows, shape (n,)."""
        if not self.caption_noise:
            return train, torch.arange(len(train.ids))
        source = exchanged(train.ids, self.caption_noise, self.seed)
        given = take(train, source)
        return train._replace(texts=given.texts, text_ids=given.text_ids), source


def exchanged(ids: Tensor, share: float, seed: int) -> Tensor:
    """Whose caption each sample gets if that share of the captions is wrong, rows, int64 of shape (n,).

    Each sample draws for itself whether it takes part. Those that do pass their captions around a circle in random
    order: everybody gets another's, and every caption stays in use.
    """
    draws, order = uniform(ids, 2, seed, 3).unbind(1)
    wrong = (draws < share).nonzero().flatten()
    wrong = wrong[order[wrong].argsort(stable=True)]
    source = torch.arange(len(ids))
    source[wrong] = wrong.roll(1)
    return source
