"""TCL (Yang et al. 2022): ALBEF that also aligns pictures with pictures, texts with texts, and parts with the whole."""

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from common.checks import check_number
from common.distributed import Shards, global_mean, shards
from common.encoders.fusion import Pair
from common.errors import UserError
from common.losses import momentum_contrast
from papers.vision_language.albef.module import ALBEF
from papers.vision_language.tcl.parts import parts_of_whole, pooled

Term = Literal["image", "text", "image_parts", "text_parts"]
TERMS: tuple[Term, ...] = ("image", "text", "image_parts", "text_parts")


class TCL(ALBEF):
    """L = ITM + MLM + the mean of ALBEF's two contrasts, one within each modality, and one of each with its parts.

    The teacher reads the last of the pictures' views; with `data.views` 1 that is the student's.

    Args:
        within: the terms beside ALBEF's two. "image", "text": each finds the teacher's vector of itself among those of
            the batch and the queue (IMC). "image_parts", "text_parts": each finds the teacher's vectors of its own
            patches or tokens among those of the batch (LMI).
        weight: of each of these in the mean, where each of ALBEF's two has 1.
        positives: "own", or for each picture and text in IMC the "next" in the batch, which is in random order: as much
            of a loss, but nothing to be learnt from it.
        regions: along the side of a picture: the vectors of its patches are averaged in regions x regions windows.
        albef: the arguments of `ALBEF`.

    Raises:
        UserError: one of these is out of range, or there are terms without "itc" in `losses`.
    """

    def __init__(
        self,
        *,
        within: tuple[Term, ...] = TERMS,
        weight: float = 1.0,
        positives: Literal["own", "next"] = "own",
        regions: int = 3,
        **albef,
    ) -> None:
        super().__init__(**albef)
        if set(within) - set(TERMS) or len(set(within)) < len(within):
            raise UserError(f"model.within is {list(within)}; it must hold some of {', '.join(TERMS)}, each once")
        if within and "itc" not in self.losses:
            raise UserError(f"model.within is {list(within)}; without itc in model.losses there is nothing to join")
        if positives not in ("own", "next"):
            raise UserError(f"model.positives is {positives!r}; it must be 'own' or 'next'")
        check_number("model.weight", weight, above=0)
        check_number("model.regions", regions, least=1)
        self.within, self.weight, self.positives, self.regions = tuple(within), weight, positives, regions

    def itc(self, online: Pair, taught: Pair, keys: list[Tensor], own_ids: Tensor, ids: Tensor, share: float) -> Tensor:
        """The mean of ALBEF's two terms and of those within; ALBEF's come last, as they move the queues on."""
        layout = shards(len(own_ids), own_ids.device, self.exchange)
        terms = [*self.intra_modal(online, keys, own_ids, ids, layout), *self.local(online, taught, ids, layout)]
        across = super().itc(online, taught, keys, own_ids, ids, share)
        return (2 * across + self.weight * sum(terms)) / (2 + self.weight * len(terms))

    def intra_modal(
        self, online: Pair, keys: list[Tensor], own_ids: Tensor, ids: Tensor, layout: Shards
    ) -> Iterator[Tensor]:
        """IMC: pictures among the teacher's pictures, texts among its texts; the truth alone is the target."""
        wanted = own_ids if self.positives == "own" else ids.roll(-1)[layout.own]
        for k, queue in enumerate((self.image_queue, self.text_queue)):
            if TERMS[k] in self.within:
                given = dict(ids=wanted, key_ids=torch.cat([ids, queue.ids]), temperature=self.temperature(), alpha=0.0)
                yield momentum_contrast(online[k].vector, torch.cat([keys[k], queue.keys]), online[k].vector, **given)

    def local(self, online: Pair, taught: Pair, ids: Tensor, layout: Shards) -> Iterator[Tensor]:
        """LMI: the student's picture or text among the teacher's patches or tokens, which have no gradient."""
        body = self.teacher.body
        for k, project in enumerate((body.image_projection, body.text_projection)):
            if TERMS[2 + k] in self.within:
                seen = taught[k].gathered(layout)
                parts, there = F.normalize(project(seen.states[:, 1:]), dim=-1), seen.mask[:, 1:] > 0
                if k == 0:
                    # Windows of unit vectors, which are not brought to unit length again.
                    parts = pooled(parts, self.regions)
                    there = there.new_ones(parts.shape[:2])
                given = dict(ids=ids[layout.own], part_ids=ids, own=layout.own, temperature=self.temperature())
                yield global_mean(parts_of_whole(online[k].vector, parts, there, **given))
