"""TiMix (Jiang et al. 2024): CLIP, every other step on pictures with a window of another's and on both captions."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from common.batches import ImageText
from common.checks import check_number
from common.distributed import Exchange, gather, shards
from common.errors import UserError
from common.losses import soft_target_cross_entropy
from common.random import uniform
from common.scores import Scores
from papers.vision_language.clip.module import CLIP
from papers.vision_language.timix.windows import inside, pasted, window_sums


class Mixed(NamedTuple):
    """A batch of mixed pictures, of which this process has n."""

    pixels: Tensor
    """(n, c, h, w)."""
    partner: Tensor
    """Number in the whole batch of the picture whose window each has got, (n,)."""
    share: Tensor
    """What of the label stays with its own caption, (n,)."""
    back: Tensor
    """For each caption, what of its label stays with its own picture, (n,)."""


class TiMix(CLIP):
    """Each picture loses its least telling window to the most telling one of a partner, and answers to both captions.

    Plain steps and mixed ones take turns, so that two of them are the paper's two updates.

    Args:
        windows: "text", the window with the fewest cells of what the caption tells is overwritten by the partner's with
            the most; "reversed", the other way around; "random", both drawn; "none", every step is plain.
        labels: "area", the own caption's share is that of the area that stays; "objects", that of the cells of told
            objects that stay, among these and those pasted; "predicted", as area, but of what the model says of both
            pictures before they are mixed, not of their captions.
        cells: along a picture's side.
        least, most: side of the windows in cells, one drawn for the whole batch.
        weight: of the loss of every other step, whether it mixes or not.
        ramp: share of the training over which that weight rises from 0.
        until: share of the training after which nothing is mixed.
        clip: the other arguments of `CLIP`.

    Raises:
        UserError: an argument is out of range, data without boxes, or pictures that do not part into the cells.
    """

    def __init__(
        self,
        *,
        windows: Literal["text", "random", "reversed", "none"] = "text",
        labels: Literal["area", "objects", "predicted"] = "area",
        cells: int = 12,
        least: int = 4,
        most: int = 9,
        weight: float = 1.0,
        ramp: float = 0.0,
        until: float = 1.0,
        **clip,
    ) -> None:
        super().__init__(**clip)
        if windows not in ("text", "random", "reversed", "none") or labels not in ("area", "objects", "predicted"):
            raise UserError(f"model.windows {windows!r} or labels {labels!r} is none of those there are")
        if not 1 <= least <= most <= cells:
            raise UserError(f"model.least is {least}, most {most}; they must rise from 1 to cells, {cells}")
        for name, value in (("ramp", ramp), ("until", until)):
            check_number(f"model.{name}", value, least=0, most=1)
        check_number("model.weight", weight, least=0)
        self.windows, self.labels, self.cells = windows, labels, cells
        self.sides = least, most
        self.weight, self.ramp, self.until = weight, ramp, until

    def training_step(self, batch: ImageText, batch_idx: int) -> Tensor:
        second = self.global_step % 2 == 1
        done = self.global_step / self.trainer.estimated_stepping_batches if second else 0.0
        if second and self.windows != "none" and done < self.until:
            loss = self.mixed_loss(batch, self.mix(batch))
        else:
            image, text = self.encoder.images(batch.pixels), self.encoder.texts(batch.text)
            loss = self.contrast(image, text)
        return self.log_loss(loss * (self.weight * min(1.0, done / (self.ramp or 1e-9)) if second else 1.0))

    def mix(self, batch: ImageText) -> Mixed:
        """Partners, the side and ties are drawn by the samples' ids, the same on any number of processes.

        Raises:
            UserError: there are no boxes, or a cell is no whole number of pixels.
        """
        if batch.boxes is None or batch.pixels.shape[-1] % self.cells:
            raise UserError(f"data.boxes must be true, and the pictures' side a multiple of model.cells, {self.cells}")
        layout, least = shards(len(batch.ids), batch.ids.device), self.sides[0]
        draw = uniform(torch.zeros(1, dtype=torch.int64), 1, *self.key("side"))
        side = least + int(float(draw) * (self.sides[1] - least + 1))
        sums = window_sums(inside(batch.boxes, self.cells), side)
        # Cells are counted, so a number below 1 decides between windows of as many.
        score = uniform(batch.ids, sums.shape[1], *self.key("windows"))
        score = score if self.windows == "random" else sums + score * 0.99
        to, of = score.argmin(1), score.argmax(1)
        if self.windows == "reversed":
            to, of = of, to
        order = uniform(gather(batch.ids, layout), 1, *self.key("partners")).flatten().argsort(stable=True)
        everybody = torch.empty_like(order).scatter_(0, order, order.flip(0))
        partner = everybody[layout.own]
        source = gather(batch.pixels, layout)[partner]
        pixels = pasted(batch.pixels, source, to, gather(of, layout)[partner], side, self.cells)
        share = sums.new_full((len(sums),), 1 - side**2 / self.cells**2)
        if self.labels == "objects":
            stays = inside(batch.boxes, self.cells).sum((1, 2)) - sums.gather(1, to[:, None])[:, 0]
            comes = gather(sums.gather(1, of[:, None])[:, 0], layout)[partner]
            share = torch.where(stays + comes > 0, stays / (stays + comes).clamp(min=1), share)
        given = gather(1 - share, layout)[partner]
        return Mixed(pixels, partner, share, share / (share + given).clamp(min=1e-6))

    def mixed_loss(self, batch: ImageText, mixed: Mixed) -> Tensor:
        """The mean of both directions between mixed pictures and the captions as they are."""
        layout, texts = shards(len(batch.ids), batch.ids.device), self.encoder.texts(batch.text)
        labels = torch.eye(layout.total, device=texts.device)
        if self.labels == "predicted":
            with torch.no_grad():
                labels = gather(self._scores(self.encoder.images(batch.pixels), texts).matrix().softmax(1), layout)
        image = self.encoder.images(mixed.pixels)
        return self.mixed_contrast(image, texts, labels, mixed.partner, (mixed.share, mixed.back), layout.own)

    def mixed_contrast(
        self, image: Tensor, text: Tensor, labels: Tensor, partner: Tensor, shares: tuple[Tensor, Tensor], own: slice
    ) -> Tensor:
        """The loss of unit vectors (n, e).

        Args:
            image, text: of the mixed pictures and of the captions, those of this process.
            labels: (m, m), the label of each picture of the whole batch over the captions before it is mixed.
            partner: number in the whole batch of each picture's partner, (n,).
            shares: of the own label, for the pictures and for the captions, (n,) each.
            own: which rows of the whole batch these are.
        """
        mine, other = labels[own], labels[partner]
        to_text, to_image = (share[:, None] * mine + (1 - share[:, None]) * other for share in shares)
        # The released code has the same rows for captions over pictures: exact where the labels are one-hot.
        over_texts = soft_target_cross_entropy(self._scores(image, text), to_text)
        return (over_texts + soft_target_cross_entropy(self._scores(text, image), to_image)) / 2

    def _scores(self, query: Tensor, key: Tensor) -> Scores:
        return Scores(query, key, scale=1 / self.temperature(), exchange=Exchange.GATHER)
