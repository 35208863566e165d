"""What `papers fit` shows of how a training learns: the embeddings that its loss compares, looked at now and then."""

import math
from contextlib import ExitStack
from typing import Any, NamedTuple

import lightning as L
import torch
from torch import Tensor
from torch.nn import functional as F

from common.losses.temperature import LearnableTemperature, PlainTemperature
from common.observing import observing
from harness.console import say

ROWS = 1024
"""Samples of a batch that are looked at, at most."""
PATIENCE = 3
"""Looks in a row that must find the same before it is said."""
_POINT, _LINE, _CHANCE, _EARLY = 0.05, 1.5, 0.55, 100


class Compared(NamedTuple):
    """What a loss compared."""

    query: Tensor
    key: Tensor
    scale: float | Tensor

    @property
    def pairs(self) -> bool:
        """Whether row i of both is a positive pair: two sets of one size."""
        return self.query is not self.key and self.query.shape == self.key.shape


class Learning(L.Callback):
    """Logs at the logging interval how the embeddings of a batch lie, and says in one line when nothing is learnt.

    `learning/positive` and `learning/hardest_negative`: the mean cosine of a sample with its partner and with the
    nearest other key of the batch on this process. `learning/found`: the share of other keys that lie farther than the
    partner, 0.5 by chance. `learning/alignment`, `uniformity`, `effective_rank` (of the centred rows) and `spread` (the
    deviation of a unit vector's coordinates times the root of their number: 1 all over the sphere, 0 in a point).
    `learning/same_id` and `same_class`: the share of a sample's negatives that are the same sample or of the same
    class. `learning/temperature` and `gradient_norm`. Between two looks nothing is computed and nothing is read.

    Args:
        rows: samples that are looked at, at most.
        patience: looks in a row that must find the same before it is said.
    """

    def __init__(self, rows: int = ROWS, patience: int = PATIENCE) -> None:
        self.rows, self.patience = rows, patience
        self.seen: list[Compared] = []
        self.looking: ExitStack | None = None
        self.norm: Tensor | None = None
        self.in_a_row: dict[str, int] = {}
        self.said: set[str] = set()

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        self._stop()
        every = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if every and trainer.loggers and (trainer.fit_loop.epoch_loop._batches_that_stepped + 1) % every == 0:
            self.looking = ExitStack()
            self.looking.enter_context(observing(self._observe))

    def _observe(self, query: Tensor, key: Tensor, scale: float | Tensor) -> None:
        if len(self.seen) < 16 and query.ndim == 2 == key.ndim and len(query) > 1:
            scale = scale.detach() if isinstance(scale, Tensor) else scale
            one = query.detach()
            self.seen.append(Compared(one, one if query is key else key.detach(), scale))

    def on_before_optimizer_step(self, trainer: L.Trainer, module: L.LightningModule, *_: Any) -> None:
        if self.looking is not None:
            gradients = [p.grad.detach() for p in module.parameters() if p.grad is not None]
            self.norm = torch.nn.utils.get_total_norm(gradients) if gradients else None

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.looking is None:
            return
        seen, norm = self.seen, self.norm
        self._stop()
        found = {"gradient_norm": norm} if norm is not None else {}
        one = next((c for c in seen if c.pairs), seen[0] if seen else None)
        if one is not None:
            found |= geometry(one, self.rows)
            found |= negatives(batch, len(one.query), self.rows)
        module.log_dict({f"learning/{name}": value for name, value in found.items()}, batch_size=1)
        if trainer.is_global_zero:
            dims = one.query.shape[1] if one is not None else 0
            self._judge(trainer.global_step, module, dims, {name: float(value) for name, value in found.items()})

    def on_exception(self, *_: Any) -> None:
        self._stop()

    def _stop(self) -> None:
        if self.looking is not None:
            self.looking.close()
        self.looking, self.seen, self.norm = None, [], None

    def _judge(self, step: int, module: L.LightningModule, dims: int, found: dict[str, float]) -> None:
        spread, rank, rate = found.get("spread", 1.0), found.get("effective_rank", math.inf), found.get("found", 1.0)
        self._say_if(
            "collapsed",
            spread < _POINT or (rank < _LINE and dims > 2),
            f"step {step}: the embeddings of a batch have collapsed: they spread by {spread:.2g}, where 1 is the whole "
            f"sphere, and use {rank:.2g} of {dims} directions; lower model.lr, and see that the loss has negatives or, "
            "where a method has none, a stop-gradient and batch normalization in its heads",
        )
        self._say_if(
            "chance",
            rate < _CHANCE and step > _EARLY,
            f"step {step}: a sample's partner is nearer than {100 * rate:.0f}% of the other samples, where 50% is "
            "chance; see that rows of the data belong together, and try another model.lr, a longer warm-up or a larger "
            "batch",
        )
        for name, part in module.named_modules():
            if not isinstance(part, (LearnableTemperature, PlainTemperature)):
                continue
            # The optimizer has just moved it; one that stands at a bound was moved past it.
            value, (lower, upper) = float(next(part.parameters()).detach()), part.bounds
            side = "lower" if value <= lower else "upper"
            self._say_if(
                name,
                not lower < value < upper,
                f"step {step}: model.{name} stands at its {side} bound, {float(part().detach()):.4g}; begin elsewhere, "
                "lower model.lr, or move the bound",
            )

    def _say_if(self, what: str, true: bool, line: str) -> None:
        self.in_a_row[what] = self.in_a_row.get(what, 0) + 1 if true else 0
        if self.in_a_row[what] >= self.patience and what not in self.said:
            self.said.add(what)
            say(line)


@torch.no_grad()
def geometry(compared: Compared, rows: int = ROWS) -> dict[str, Tensor]:
    """How the embeddings lie that a loss compared, 0-d tensors on their device; names as in `Learning`.

    Args:
        compared: query and key, (n, d); what is said of positives only where they are pairs.
        rows: the first so many are looked at.
    """
    query, key = (F.normalize(side[:rows].float(), dim=1) for side in (compared.query, compared.key))
    n, d = query.shape
    centred = query - query.mean(dim=0)
    values = torch.linalg.svdvals(centred)
    share = values / values.sum().clamp(min=torch.finfo(values.dtype).tiny)
    apart = (2 - 2 * (query @ query.T)).mul(-2).exp()
    found = {
        "effective_rank": torch.special.entr(share).sum().exp(),
        "spread": centred.square().mean().sqrt() * d**0.5,
        "uniformity": ((apart.sum() - n) / (n * (n - 1))).log(),
    }
    if compared.pairs:
        cosine = query @ key.T
        own, others = cosine.diagonal(), cosine.masked_fill(torch.eye(n, dtype=torch.bool, device=cosine.device), -2)
        nearer = (others > own[:, None]).sum() + 0.5 * ((others == own[:, None]).sum())
        found |= {
            "positive": own.mean(),
            "hardest_negative": others.amax(dim=1).mean(),
            "found": 1 - nearer / (n * (n - 1)),
            "alignment": (query - key).square().sum(dim=1).mean(),
        }
    scale = torch.as_tensor(compared.scale, dtype=torch.float32, device=query.device)
    return found | {"temperature": 1 / scale.mean()}


@torch.no_grad()
def negatives(batch: Any, n: int, rows: int = ROWS) -> dict[str, Tensor]:
    """The share of a sample's negatives in its batch that have its id or its class, where the batch says them.

    Args:
        batch: one with `ids`, and perhaps `labels`, (n,).
        n: samples that the loss compared, or twice as many.
    """
    found = {}
    for name, field in (("same_id", "ids"), ("same_class", "labels")):
        values = getattr(batch, field, None)
        if isinstance(values, Tensor) and values.ndim == 1 and len(values) > 1 and n in (len(values), 2 * len(values)):
            values = values[:rows]
            same = (values[:, None] == values).sum() - len(values)
            found[name] = same / (len(values) * (len(values) - 1))
    return found
