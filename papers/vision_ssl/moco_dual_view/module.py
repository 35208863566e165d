"""Dual-view MoCo with hard negative filtering (Hoang et al. 2025), whose formulas are not public: readings of ours."""

import math
from copy import deepcopy
from typing import Literal

import torch
from torch import Tensor, nn

from common.batches import Images
from common.checks import check_number
from common.distributed import global_mean
from common.errors import UserError
from common.random import uniform
from common.sampling.queue import KeyQueue
from common.scores import Scores
from papers.vision_ssl.moco.module import MoCo

READINGS = ("one_sided", "literal", "swap", "both", "attraction")
NEGATIVES = ("hardest", "random")


class Follower(nn.Module):
    """A trained copy of the student that is drawn to it after each step: the key encoder of the reading "both"."""

    def __init__(self, student: nn.Module) -> None:
        super().__init__()
        self.body = deepcopy(student)

    @torch.no_grad()
    def update(self, student: nn.Module, decay: float) -> None:
        for own, theirs in zip(self.body.parameters(), student.parameters(), strict=True):
            own.lerp_(theirs, 1 - decay)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class DualViewMoCo(MoCo):
    """Query and key of a pair are both anchors, and an anchor meets the keys of the queue that are hardest for it.

    l(u, v) is the loss of anchor u with positive v. Keys of the second view alone enter the queue, in every reading.

    Args:
        reading: of "both embeddings are optimized". "swap": (l(q, k) + l(q', k')) / 2, each view once the query.
            "literal": (l(q, k) + w l(k, q)) / (1 + w), the key without a gradient. "both": the same, and in l(k, q) the
            key encoder has one. Beside these "one_sided", MoCo's l(q, k), and a control, "attraction": literal, with
            the batch's mean of 1 - p_k for that of each pair.
        weight: w.
        hardest: negatives of an anchor; none for the whole queue.
        negatives: "hardest", or a control: as many at "random", each of which stands for its share of the queue.
        queue_size: as in `MoCo`.
        others: the arguments of `MoCo` and `Method`, but for `symmetric`.

    Raises:
        UserError: another reading or choice of negatives, or a number out of range.
    """

    def __init__(
        self,
        *,
        reading: Literal["one_sided", "literal", "swap", "both", "attraction"] = "swap",
        weight: float = 1.0,
        hardest: int | None = 128,
        negatives: Literal["hardest", "random"] = "hardest",
        queue_size: int = 4096,
        **others,
    ) -> None:
        super().__init__(queue_size=queue_size, **others)
        check_number("model.weight", weight, least=0)
        check_number("model.hardest", hardest, least=1)
        for name, value, allowed in (("reading", reading, READINGS), ("negatives", negatives, NEGATIVES)):
            if value not in allowed:
                raise UserError(f"model.{name} is {value!r}; it must be one of {', '.join(allowed)}")
        if self.symmetric:
            raise UserError("model.symmetric is true; here model.reading says which views are queries")
        self.reading, self.weight, self.hardest, self.negatives = reading, weight, hardest, negatives
        if reading == "both":
            self.teacher = Follower(self.network)
        self.classes = KeyQueue(queue_size, 1)
        """Of the queue's keys, for the log alone."""

    def training_step(self, batch: Images, batch_idx: int) -> Tensor:
        view_a, view_b = batch.pair()
        key, query = self.encoded_keys(view_b, "b"), self.network(view_a)
        loss = global_mean(self.surprise(query, key.detach(), batch, "a"))
        if self.reading == "swap":
            swapped = self.surprise(self.network(view_b), self.encoded_keys(view_a, "a"), batch, "b")
            loss = (loss + global_mean(swapped)) / 2
        elif self.reading in ("literal", "both"):
            loss = (loss + self.weight * global_mean(self.surprise(key, query, batch, "b"))) / (1 + self.weight)
        elif self.reading == "attraction":
            pull = global_mean(1 - torch.exp(-self.surprise(key, query.detach(), batch, "b")))
            drawn = pull * global_mean((query * key).sum(dim=1)) / self.temperature
            loss = (loss - self.weight * drawn) / (1 + self.weight)
        self.queue.enqueue(key, batch.ids)
        self.classes.enqueue(batch.labels[:, None].float())
        return self.log_loss(loss)

    def surprise(self, anchor: Tensor, positive: Tensor, batch: Images, view: str) -> Tensor:
        """l(anchor, positive) of each pair, (n,), the anchors being of the named view."""
        own = (anchor * positive).sum(dim=1) / self.temperature
        scores = Scores(anchor, self.queue.keys, scale=1 / self.temperature)
        most = scores.shape[1]
        count = min(self.hardest or most, most)
        if count == most:
            others = scores.logsumexp(dim=1)
        elif self.negatives == "hardest":
            others = scores.topk(count)[0].logsumexp(dim=1)
        else:
            order = uniform(batch.ids, most, *self.key(f"negatives of view {view}"))
            others = scores.pairs(order.topk(count).indices).logsumexp(dim=1) + math.log(most / count)
        if view == "a" and count < most:
            self.log_hardest(scores, batch.labels)
        return torch.logaddexp(own, others) - own

    @torch.no_grad()
    def log_hardest(self, scores: Scores, labels: Tensor) -> None:
        """Logs what the hardest keys leave of the softmax over the queue, and how many are of the anchor's class."""
        hardest, columns = scores.topk(self.hardest or 1)
        outside = -torch.expm1(hardest.logsumexp(dim=1) - scores.logsumexp(dim=1))
        of_class = (self.classes.keys[columns, 0] == labels[:, None]).float().mean(dim=1)
        self.log("train/mass_outside", global_mean(outside), batch_size=1)
        self.log("train/hardest_of_class", global_mean(of_class), batch_size=1)
