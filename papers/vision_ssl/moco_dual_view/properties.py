"""Gradients of the dual-view loss in closed form, on random vectors in float64."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from common.batches import Images
from papers.vision_ssl.moco_dual_view.module import DualViewMoCo

TEMPERATURE, COUNT = 0.2, 5


class Given(DualViewMoCo):
    """Its queries, keys and queue are given vectors."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(width=8, projection_dim=8, queue_size=32, temperature=TEMPERATURE, **arguments)
        self.double()

    def log(self, *_: Any, **__: Any) -> None:
        """Without a trainer there is no log."""


def random_vectors(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys near them and a queue, all of unit length."""
    generator = torch.Generator().manual_seed(seed)
    query, noise = (torch.randn(6, 8, generator=generator, dtype=torch.float64) for _ in range(2))
    queue = torch.randn(32, 8, generator=generator, dtype=torch.float64)
    query, key, queue = (F.normalize(x, dim=1) for x in (query, query + noise, queue))
    return query.requires_grad_(), key.requires_grad_(), queue


def surprise(anchor: Tensor, positive: Tensor, queue: Tensor, **arguments: Any) -> Tensor:
    method = Given(**arguments)
    method.queue.enqueue(queue)
    method.classes.enqueue(torch.zeros(len(queue), 1))
    ids = torch.arange(len(anchor))
    return method.surprise(anchor, positive, Images(torch.empty(0), ids, ids), "a")


def whole_queue(seed: int) -> float:
    """How far the loss with as many hardest keys as there are is from MoCo's softmax over the whole queue."""
    query, key, queue = random_vectors(seed)
    logits = torch.cat([(query * key).sum(1, keepdim=True), query @ queue.T], dim=1) / TEMPERATURE
    expected = F.cross_entropy(logits, torch.zeros(len(query), dtype=torch.int64), reduction="none")
    return float((surprise(query, key, queue, hardest=len(queue)) - expected).detach().abs().max())


def anchor_gradient(seed: int) -> float:
    """The largest difference of the gradient of l(u, v) in u from -(1 - p) v / t + sum of p_n n / t, n the hardest."""
    query, key, queue = random_vectors(seed)
    hardest = queue[(query @ queue.T).topk(COUNT).indices]
    logits = torch.cat([(query * key).sum(1, keepdim=True), (query[:, None] * hardest).sum(2)], dim=1)
    p = (logits / TEMPERATURE).softmax(dim=1).detach()
    expected = ((p[:, 1:, None] * hardest).sum(1) - (1 - p[:, :1]) * key.detach()) / TEMPERATURE
    (gradient,) = torch.autograd.grad(surprise(query, key, queue, hardest=COUNT).sum(), query)
    return float((gradient - expected).abs().max())


def literal_gradient(seed: int) -> float:
    """The largest difference of the gradient of l(k, q) in q from -(1 - p_k) k / t: attraction, and nothing else."""
    query, key, queue = random_vectors(seed)
    value = surprise(key.detach(), query, queue, hardest=COUNT)
    (gradient,) = torch.autograd.grad(value.sum(), query)
    expected = -(1 - torch.exp(-value.detach()))[:, None] * key.detach() / TEMPERATURE
    return float((gradient - expected).abs().max())
