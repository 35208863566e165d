"""Addition modulo a prime, from a part of the table: does a model find the rule? Generated."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.batches import NumberQuestions
from common.benchmark import Benchmark, Metrics, digest
from common.errors import UserError
from common.evaluation.embed import embed_dataset, evaluating
from common.evaluation.means import Mean
from common.protocols import AnswersNumbers, EmbedsSymbols
from common.random import uniform
from common.sampling.batches import ResumableLoader
from common.table import Table

PRIME = 31
TEST, VAL, MOST = 0.15, 0.05, 0.8
"""Shares of all pairs: of the scored splits, and the most that are left for training."""


class ModularAddition(Benchmark):
    """a + b mod 31, all 961 ordered pairs: 15% for the test, 5% for validation, a share of all for training.

    (a, b) and (b, a) are in one split, and no pair is twice, so a test answer can only be had by the rule. Larger
    shares hold the smaller ones.

    Args:
        batch_size, seed: as in `Benchmark`.
        train_share: share of all pairs to train on, at most 0.8.
    """

    name = "modular_addition"
    primary = "accuracy/argmax"

    def __init__(
        self, batch_size: int = 32, seed: int = 0, data_root: str | None = None, train_share: float = 0.6
    ) -> None:
        super().__init__(batch_size, seed, data_root)
        if not 0 < train_share <= MOST:
            raise UserError(f"data.train_share is {train_share}; it must be above 0 and at most {MOST}")
        self.train_share = train_share
        self.splits: dict[str, NumberQuestions] = {}

    def build(self) -> None:
        low, high = torch.triu_indices(PRIME, PRIME)
        draw = uniform(low * PRIME + high, 1, 22).flatten()
        order = draw.argsort(stable=True)
        low, high = low[order], high[order]
        test, val = round(TEST * len(order)), round((TEST + VAL) * len(order))
        stop = val + round(self.train_share * len(order))
        parts = {"train": slice(val, stop), "val": slice(test, val), "test": slice(0, test)}
        self.splits = {split: _both_orders(low[part], high[part]) for split, part in parts.items()}

    def train_dataloader(self) -> ResumableLoader:
        self.setup()
        return Table(self.splits["train"]).loader(self.batch_size, self.seed)

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """`accuracy/argmax`; and if the module shows its symbols, `pca2_variance/symbols`.

        The latter is the share of the variance of the symbols' vectors that their first two principal components
        explain: near 1 where a model has laid the numbers out on a circle (Baek et al. 2025).

        Raises:
            UserError: the module does not offer `number_logits`, or there is no such split.
        """
        self.setup()
        self.check_request(module, split, AnswersNumbers)
        asked = self.splits[split]
        best = embed_dataset(module.number_logits, asked.given, 500, module).cpu().argmax(dim=1)
        metrics = {"accuracy/argmax": Mean(best == asked.answer)}
        if isinstance(module, EmbedsSymbols):
            with evaluating(module):
                symbols = module.embed_symbols().double().cpu()
            variance = torch.linalg.svdvals(symbols - symbols.mean(dim=0)).square()
            metrics["pca2_variance/symbols"] = float(variance[:2].sum() / variance.sum().clamp(min=1e-30))
        return metrics

    def floor(self) -> dict[str, Metrics]:
        """Always the same answer, and that of the train pair with the nearest operands."""
        self.setup()
        train = self.splits["train"]

        def nearest(given: Tensor) -> Tensor:
            gap = (given[:, None] - train.given).abs()
            return train.answer[torch.minimum(gap, PRIME - gap).sum(dim=2).argmin(dim=1)]

        return {
            "one answer": self.evaluate(_Says(lambda given: torch.zeros(len(given), dtype=torch.long))),
            "nearest pair": self.evaluate(_Says(nearest)),
        }

    def example(self) -> str:
        self.setup()
        train = self.splits["train"]
        rows = zip(train.given[:10:2].tolist(), train.answer[:10:2].tolist(), strict=True)
        return "\n".join(f"{a} + {b} = {answer}" for (a, b), answer in rows)

    def fingerprint(self) -> str:
        self.setup()
        return digest(*(tensor for part in self.splits.values() for tensor in part))


def _both_orders(low: Tensor, high: Tensor) -> NumberQuestions:
    other = low != high
    given = torch.cat([torch.stack([low, high], dim=1), torch.stack([high, low], dim=1)[other]])
    return NumberQuestions(given, given.sum(dim=1) % PRIME, given[:, 0] * PRIME + given[:, 1])


class _Says(nn.Module):
    def __init__(self, answer: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.answer = answer

    def number_logits(self, given: Tensor) -> Tensor:
        return F.one_hot(self.answer(given), PRIME).float()
