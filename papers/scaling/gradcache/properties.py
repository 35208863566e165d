"""What GradCache promises: the gradient of the whole batch, in the memory of a chunk, at no more collectives."""

from collections.abc import Callable
from contextlib import nullcontext
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.profiler import ProfilerActivity, profile

from common.batches import SentenceTriplets
from common.distributed import rank, world_size
from common.memory import peak_bytes
from common.processes import on_processes
from common.training import grad_cache
from papers.scaling.gradcache import module as paper

CHUNK = 8
WORDS = ("the", "king", "of", "all", "his", "people", "said", "unto", "them", "go", "up", "to", "house", "and", "peace")


class Silent(paper.GradCache):
    """Without a trainer there is no log."""

    def log_loss(self, loss: Tensor, **terms: Tensor) -> Tensor:
        return loss


def build(seed: int, **arguments) -> Silent:
    torch.manual_seed(seed)
    return Silent(**{"pooling": "mean", "normalize": True, "temperature": 0.05, **arguments}).train()


def triplets(n: int, seed: int) -> SentenceTriplets:
    """Texts of ten random words, each word one token: a batch is padded no more than its chunks."""
    draw = torch.randint(len(WORDS), (3, n, 10), generator=torch.Generator().manual_seed(seed))
    sides = [[" ".join(WORDS[i] for i in line) for line in side] for side in draw.tolist()]
    return SentenceTriplets(*sides, ids=torch.arange(n))


def gradient(module: Silent, batch: SentenceTriplets, dropout_seed: int = 0) -> Tensor:
    """The gradient of one step in all parameters, float64, one vector."""
    torch.manual_seed(dropout_seed)
    module.double()
    loss = module.training_step(batch, 0)
    return torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(module.parameters()))])


def chunks_with_graph(encode: Callable[[list[str]], Tensor], texts: list[str], chunk_size: int) -> Tensor:
    """What `cached_forward` must equal: every chunk with its own dropout, all graphs kept."""
    return torch.cat([encode(texts[start : start + chunk_size]) for start in range(0, len(texts), chunk_size)])


def gradients(seed: int) -> dict[str, float]:
    """The largest difference in any entry of the gradient, with one encoder and with two, all negatives in play.

    Raises:
        ArithmeticError: fresh dropout masks in the second pass give the same gradient, so the check means nothing.
    """
    batch, deviations = triplets(4 * CHUNK, seed), {}
    for shared, name in ((True, "one encoder"), (False, "two encoders")):
        plain, cached = (gradient(build(seed, shared=shared, dropout=0.0, chunk_size=c), batch) for c in (None, CHUNK))
        deviations[f"{name}, against the whole batch"] = float((cached - plain).abs().max())
        dropping = build(seed, shared=shared, chunk_size=CHUNK)
        cached = gradient(dropping, batch)
        with patch.object(paper, "cached_forward", chunks_with_graph):
            plain = gradient(dropping, batch)
        deviations[f"{name}, dropout, against all graphs kept"] = float((cached - plain).abs().max())
        with patch.object(grad_cache, "replay", lambda state: nullcontext()):
            fresh = gradient(dropping, batch)
        if float((fresh - plain).abs().max()) < 1e-4:
            raise ArithmeticError("a second pass under other dropout masks gave the same gradient")
    return deviations


def accumulation(seed: int) -> float:
    """How far the arm whose negatives are a chunk's own is from the mean gradient of the chunks, one by one."""
    batch = triplets(4 * CHUNK, seed)
    arm = gradient(build(seed, dropout=0.0, chunk_size=CHUNK, negatives="chunk"), batch)
    alone = build(seed, dropout=0.0)
    parts = [
        gradient(alone, SentenceTriplets(*(side[start : start + CHUNK] for side in batch)))
        for start in range(0, 4 * CHUNK, CHUNK)
    ]
    return float((arm - torch.stack(parts).mean(dim=0)).abs().max())


def memory(seed: int) -> dict[str, float]:
    """How the peak of one step, forward and backward, follows the batch.

    Returns:
        "cached": by what share it grows from 32 triplets to 256; "plain": how far its growth from 128 to 256 is from
        twice that from 64 to 128, relative, so 0 is a straight line.

    Raises:
        ArithmeticError: the plain step does not take at least three times as much at 256 triplets as at 32.
    """

    def peak(n: int, chunk_size: int | None) -> int:
        module, batch = build(seed, chunk_size=chunk_size), triplets(n, seed)
        return peak_bytes(lambda: module.training_step(batch, 0).backward())

    plain = {n: peak(n, None) for n in (32, 64, 128, 256)}
    if plain[256] < 3 * plain[32]:
        raise ArithmeticError(f"the plain step does not grow with the batch: {plain} bytes")
    slope = (plain[256] - plain[128]) / (2 * (plain[128] - plain[64]))
    return {"cached": peak(256, CHUNK) / peak(32, CHUNK) - 1, "plain": slope - 1}


class Step(nn.Module):
    """A training step as a forward pass, which is what DDP watches."""

    def __init__(self, module: Silent) -> None:
        super().__init__()
        self.module = module

    def forward(self, batch: SentenceTriplets) -> Tensor:
        return self.module.training_step(batch, 0)


def collectives(seed: int) -> dict[str, float]:
    """Two processes against one: the gradient, and the all-reduces of the backward pass with and without chunks.

    Raises:
        ArithmeticError: no all-reduce was seen, so none could be missed.
    """
    batch = triplets(4 * CHUNK, seed)

    def reduced(chunk_size: int | None) -> tuple[Tensor, int]:
        module = build(seed, dropout=0.0, chunk_size=chunk_size).double()
        share = len(batch.anchor) // world_size()
        ours = SentenceTriplets(*(side[rank() * share : (rank() + 1) * share] for side in batch))
        wrapped = DistributedDataParallel(Step(module))
        loss = wrapped(ours)
        with profile(activities=[ProfilerActivity.CPU]) as recorded:
            loss.backward()
        count = sum(event.name == "c10d::allreduce_" for event in recorded.events())
        return torch.cat([p.grad.flatten() for p in module.parameters()]), count

    one = gradient(build(seed, dropout=0.0), batch)
    (plain, few), (cached, many) = on_processes(2, lambda: [*map(reduced, (None, CHUNK // 2))])[0]
    if not few:
        raise ArithmeticError("the profiler saw no all-reduce")
    return {
        "gradient, plain": float((plain - one).abs().max()),
        "gradient, cached": float((cached - one).abs().max()),
        "all-reduces that chunks add": many - few,
    }
