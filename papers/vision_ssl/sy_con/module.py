"""Sy-CON (Cha and Moon 2023; PNR, Cha et al. 2024): learning and remembering meet the negatives of both models."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.batches import Images
from common.checks import check_number
from common.encoders.heads import Projected
from common.encoders.image import ImageEncoderName, image_encoder, to_float
from common.encoders.momentum import MomentumTeacher, cosine_decay
from common.encoders.norms import with_global_statistics
from common.losses import queue_info_nce, symmetric_info_nce
from common.sampling.queue import KeyQueue
from common.training.late import average_gradients, awake, rates_anew, task_at
from common.training.method import Method

Objective = Literal["sy_con", "plasticity", "stability", "neither", "cassle", "moco"]


class SyCon(Method):
    """MoCo on one task after the other; from the second on the model as the last task left it takes part, frozen.

    A view's query finds the other view's key (plasticity), and what is predicted from it the frozen model's view of the
    same (stability), among the keys and the frozen views of earlier batches.

    Args:
        encoder: a name that `image_encoder` knows, such as "deep_convnet_batch" or "cifar_resnet18".
        channels: colour channels of the images.
        width: channels of the small network's first stage.
        hidden_dim: hidden width of projector and predictor.
        projection_dim: width of queries and keys.
        queue_size: keys of each view, and as many frozen ones.
        momentum, final_momentum: of the key encoder at the first step of a task, and towards its end.
        temperature: divides the cosine similarities, in both terms.
        objective: which terms meet the negatives of both models: "sy_con" both, "plasticity" or "stability" that one,
            "neither" each those of its own model. "cassle" adds to MoCo's loss how well predictions and frozen views
            find each other in the batch, and "moco" nothing.
        distill_weight: of what "cassle" adds.
        optimization: the arguments of `Method`; warm-up and schedule are those of each task.
    """

    contrastive = True

    def __init__(
        self,
        *,
        encoder: ImageEncoderName = "small_convnet",
        channels: int = 1,
        width: int = 32,
        hidden_dim: int = 128,
        projection_dim: int = 64,
        queue_size: int = 512,
        momentum: float = 0.99,
        final_momentum: float = 0.999,
        temperature: float = 0.2,
        objective: Objective = "sy_con",
        distill_weight: float = 1.0,
        **optimization,
    ) -> None:
        super().__init__(**optimization)
        check_number("model.momentum", momentum, least=0, most=1)
        check_number("model.final_momentum", final_momentum, least=momentum, most=1)
        check_number("model.distill_weight", distill_weight, least=0)
        tower = image_encoder(encoder, channels, width)
        self.network = with_global_statistics(Projected(tower, projection_dim, lambda *ends: _mlp(*ends, hidden_dim)))
        self.teacher = MomentumTeacher(self.network, statistics="own")
        self.keys = nn.ModuleList(KeyQueue(queue_size, projection_dim) for _ in range(2))
        if objective != "moco":
            # In eval mode at every step, whatever the trainer does to the module around it.
            self.frozen = MomentumTeacher(self.network, statistics="student")
            self.frozen_keys = nn.ModuleList(KeyQueue(queue_size, projection_dim) for _ in range(2))
            self.predictor = with_global_statistics(_mlp(projection_dim, projection_dim, hidden_dim, norm=True))
            self.predictor.requires_grad_(False)  # until there is something to predict
        self.momentum, self.final_momentum, self.temperature = momentum, final_momentum, temperature
        self.objective, self.distill_weight = objective, distill_weight
        self.starts = [0]

    def setup(self, stage: str) -> None:
        if stage == "fit":
            self.starts = self.task_starts()

    def rate_factor(self, total: int) -> Callable[[int], float]:
        return rates_anew(self.starts, total, self.warmup, self.schedule)

    def task(self, step: int) -> int:
        """The task of a step, both from 0."""
        return task_at(self.starts, step)

    def training_step(self, batch: Images, batch_idx: int) -> Tensor:
        task = self.task(self.global_step)
        remembers = task > 0 and self.objective != "moco"
        if task and self.global_step == self.starts[task]:
            self.begin()
        query = [self.network(view) for view in batch.pair()]
        key = [self.teacher(view) for view in batch.pair()]
        if remembers:
            self.predictor.requires_grad_(True)
            frozen = [self.frozen(view) for view in batch.pair()]
            loss = self.remember(query, key, frozen)
        else:
            loss = self.contrast(query, key, [queue.keys for queue in self.keys])
        for queue, new in zip(self.keys, key, strict=True):
            queue.enqueue(new, batch.ids)
        if remembers:
            for queue, new in zip(self.frozen_keys, frozen, strict=True):
                queue.enqueue(new, batch.ids)
        return self.log_loss(loss)

    def begin(self) -> None:
        """Freezes the model as the last task left it; each task has an optimizer without memory."""
        if self.objective != "moco":
            self.frozen.update(self.network, 0.0)
        optimizer = self.optimizers()
        assert not isinstance(optimizer, list)
        optimizer.state.clear()

    def contrast(self, query: list[Tensor], positive: list[Tensor], negatives: list[Tensor]) -> Tensor:
        """Mean over the views of finding the other view's positive among negatives that are of that other view."""
        pairs = zip(query, positive[::-1], negatives[::-1], strict=True)
        return sum(queue_info_nce(q, p, n, temperature=self.temperature) for q, p, n in pairs) / 2

    def remember(self, query: list[Tensor], key: list[Tensor], frozen: list[Tensor]) -> Tensor:
        """The loss of unit vectors of two views, each (n, projection_dim), from the second task on."""
        predicted = [F.normalize(self.predictor(q), dim=-1) for q in query]
        ours, theirs = ([queue.keys for queue in queues] for queues in (self.keys, self.frozen_keys))
        if self.objective == "cassle":
            rows, targets = torch.cat(predicted), torch.cat(frozen)
            distilled = symmetric_info_nce(rows, targets, temperature=self.temperature)
            return self.contrast(query, key, ours) + self.distill_weight * distilled
        union = [torch.cat(pair) for pair in zip(ours, theirs, strict=True)]
        plasticity = self.contrast(query, key, union if self.objective in ("sy_con", "plasticity") else ours)
        # The positive is of the same view here, and the negatives are of the other as before.
        both = union if self.objective in ("sy_con", "stability") else theirs
        return plasticity + self.contrast(predicted, frozen[::-1], both)

    def on_after_backward(self) -> None:
        if self.objective != "moco":
            average_gradients(self.predictor.parameters())

    def parameter_groups(self) -> list[dict]:
        with awake([] if self.objective == "moco" else self.predictor.parameters()):
            return super().parameter_groups()

    def follow(self) -> None:
        task = self.task(self.global_step)
        start, end = [*self.starts, self.trainer.estimated_stepping_batches][task : task + 2]
        decay = cosine_decay(self.momentum, self.final_momentum, self.global_step - int(start), end - start)
        self.teacher.update(self.network, decay)

    def embed_image(self, pixels: Tensor) -> Tensor:
        return self.network.encoder(to_float(pixels))


def _mlp(inputs: int, outputs: int, hidden: int, *, norm: bool = False) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, hidden), *([nn.BatchNorm1d(hidden)] if norm else []), nn.ReLU(), nn.Linear(hidden, outputs)
    )
