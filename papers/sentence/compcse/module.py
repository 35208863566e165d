"""CompCSE (Chanchani and Huang 2023): a sentence is pulled towards what its two parts compose to."""

from typing import Literal

import torch
from torch import Tensor

from common.batches import SentenceParts
from common.checks import check_choice, check_number
from common.errors import UserError
from common.random import uniform
from papers.sentence.simcse.module import SimCSE

Composition = Literal["mean", "halves"]
Place = Literal["below", "above"]
Positive = Literal["both", "one"]


class CompCSE(SimCSE):
    """SimCSE in which the positive is composed of the vectors of two parts, each encoded alone.

    Args:
        compose: "mean" of the two vectors, the paper's for BERT; or "halves", the first half of the left one's
            dimensions and the second half of the right one's, its choice for RoBERTa.
        composed: where; the paper composes "below" the head, which then sees the composed vector. Without a head both
            are the same.
        positive: "both" parts, composed; or "one" of them, drawn anew at each step: a crop, which composes nothing.
        compared: dimensions that the loss compares, the first so many; by default all. `embed_text` has all.
        simcse: the arguments of `SimCSE`; the masks are independent ones.

    Raises:
        UserError: an argument is out of range.
    """

    def __init__(
        self,
        *,
        compose: Composition = "mean",
        composed: Place = "below",
        positive: Positive = "both",
        compared: int | None = None,
        **simcse,
    ) -> None:
        super().__init__(**simcse)
        for name, value, kinds in (
            ("compose", compose, Composition),
            ("composed", composed, Place),
            ("positive", positive, Positive),
        ):
            check_choice(f"model.{name}", value, kinds)
        if self.masks != "independent":
            raise UserError(f"model.masks is {self.masks!r}; a sentence and its parts have masks of their own")
        check_number("model.compared", compared, least=1, most=self.encoder.width)
        self.compose, self.composed, self.positive, self.compared = compose, composed, positive, compared

    def training_step(self, batch: SentenceParts, batch_idx: int) -> Tensor:
        if self.positive == "one":
            left = uniform(batch.ids, 1, *self.key("part"))[:, 0].tolist()
            parts = [[one if u < 0.5 else two for u, one, two in zip(left, batch.left, batch.right, strict=True)]]
        else:
            parts = [batch.left, batch.right]
        vectors = self.encoder([text for texts in (batch.text, *parts) for text in texts])
        query, *positives = vectors.split(len(batch.text))
        return self.log_loss(self.contrast(*(side[:, : self.compared] for side in self.sides(query, positives))))

    def sides(self, query: Tensor, positives: list[Tensor]) -> tuple[Tensor, Tensor]:
        """What the loss compares, of the vectors of n sentences and of their parts, (n, d) each."""
        if self.composed == "above":
            query, *positives = self.head(torch.cat([query, *positives])).split(len(query))
            return query, composition(positives, self.compose)
        query, key = self.head(torch.cat([query, composition(positives, self.compose)])).chunk(2)
        return query, key


def composition(parts: list[Tensor], kind: Composition) -> Tensor:
    """The vectors of one or two parts, (n, d) each, as one; that of one part is itself."""
    left, right = parts[0], parts[-1]
    if kind == "halves":
        half = left.shape[1] // 2
        return torch.cat([left[:, :half], right[:, half:]], dim=1)
    return (left + right) / 2
