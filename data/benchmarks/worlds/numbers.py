"""Noisy regression written as one token: a number out of a hundred that is told by three others. Generated."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.batches import NumberQuestions
from common.benchmark import Benchmark, Metrics, digest
from common.errors import UserError
from common.evaluation.embed import embed_dataset
from common.evaluation.means import Mean
from common.protocols import AnswersNumbers
from common.random import normal, uniform
from common.sampling.batches import ResumableLoader
from common.table import Table, cut

WEIGHTS = (0.5, 0.3, 0.2)
VALUES = 100


class Numbers(Benchmark):
    """Three numbers from 0 to 99 and round(0.5 a + 0.3 b + 0.2 c + noise): 1,000 train, 500 validation, 2,000 test.

    The answer is one of a hundred classes, so a loss that knows no order between them wastes what is near. The noise
    is the same for every seed; nothing gets below its mean error.

    Args:
        batch_size, seed: as in `Benchmark`.
        noise: standard deviation of what is added before rounding.
    """

    name = "numbers"
    primary = "r2/argmax"

    def __init__(self, batch_size: int = 64, seed: int = 0, data_root: str | None = None, noise: float = 8.0) -> None:
        super().__init__(batch_size, seed, data_root)
        if noise < 0:
            raise UserError(f"data.noise is {noise}; it must be at least 0")
        self.noise = noise
        self.splits: dict[str, NumberQuestions] = {}

    def build(self) -> None:
        ids = torch.arange(3500)
        given = (uniform(ids, 3, 20) * VALUES).long()
        noise = normal(ids, 1, 21).flatten().double() * self.noise
        answer = (rule(given) + noise).round().clamp(0, VALUES - 1).long()
        self.splits = cut(NumberQuestions(given, answer, ids), {"train": 1000, "val": 500, "test": 2000})

    def train_dataloader(self) -> ResumableLoader:
        self.setup()
        return Table(self.splits["train"]).loader(self.batch_size, self.seed)

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """Errors of the likeliest answer (`argmax`) and of the expected one under the module's softmax (`expectation`).

        Returns:
            `r2/...` and `mae/...` of both, and `accuracy/argmax`.

        Raises:
            UserError: the module does not offer `number_logits`, or there is no such split.
        """
        self.setup()
        self.check_request(module, split, AnswersNumbers)
        asked = self.splits[split]
        logits = embed_dataset(module.number_logits, asked.given, 500, module).cpu()
        answer = asked.answer.double()
        best = logits.argmax(dim=1).double()
        expected = F.softmax(logits.double(), dim=1) @ torch.arange(logits.shape[1], dtype=torch.float64)
        metrics: Metrics = {"accuracy/argmax": Mean(best == answer)}
        for name, predicted in (("argmax", best), ("expectation", expected)):
            error = predicted - answer
            metrics[f"r2/{name}"] = float(1 - error.square().mean() / answer.var(correction=0))
            metrics[f"mae/{name}"] = Mean(error.abs())
        return metrics

    def floor(self) -> dict[str, Metrics]:
        """Always the median of the train answers, and the rule itself, which only the noise can be held against."""
        self.setup()
        median = int(self.splits["train"].answer.median())
        return {
            "median": self.evaluate(_Says(lambda given: torch.full((len(given),), median))),
            "the rule": self.evaluate(_Says(lambda given: rule(given).round().long())),
        }

    def example(self) -> str:
        self.setup()
        train = self.splits["train"]
        rows = zip(train.given[:5].tolist(), train.answer[:5].tolist(), strict=True)
        return "\n".join(f"{given} -> {answer}" for given, answer in rows)

    def fingerprint(self) -> str:
        """Of the questions and what makes the answers of them, whose noise is rounded otherwise elsewhere."""
        self.setup()
        questions = (tensor for part in self.splits.values() for tensor in (part.given, part.ids))
        return digest((1, WEIGHTS, self.noise), *questions)


def rule(given: Tensor) -> Tensor:
    """The answers without noise, float64 of shape (n,)."""
    return given.double() @ torch.tensor(WEIGHTS, dtype=torch.float64)


class _Says(nn.Module):
    def __init__(self, answer: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.answer = answer

    def number_logits(self, given: Tensor) -> Tensor:
        return 100.0 * F.one_hot(self.answer(given), VALUES)
