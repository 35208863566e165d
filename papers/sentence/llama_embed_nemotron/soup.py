"""Several second stages from one start that differ in their data, and the mean of their weights."""

import copy
from typing import Literal

from torch import Tensor, nn

from common.batches import Translations
from common.checks import check_number
from common.errors import UserError
from common.training.soup import averaged
from papers.sentence.llama_embed_nemotron.module import HardContrast


class Soup(HardContrast):
    """Each member has its share of the steps of the second stage, and leaves out pairs with a language of its own.

    Args:
        members: trainings of the second stage.
        kept: the "mean" of their weights, or the "best" by the mean reciprocal rank on validation data.
        others: the arguments of `HardContrast`.
    """

    def __init__(self, *, members: int = 3, kept: Literal["mean", "best"] = "mean", **others) -> None:
        super().__init__(**others)
        check_number("model.members", members, least=1)
        if kept not in ("mean", "best"):
            raise UserError(f"model.kept is {kept!r}; it must be 'mean' or 'best'")
        self.kept, self.members = kept, members
        # The start, and each member as it ends; a checkpoint holds them.
        self.saved = nn.ModuleList(copy.deepcopy(self.encoder) for _ in range(1 + members)).requires_grad_(False)

    def steps_each(self) -> int:
        return max(1, (int(self.trainer.estimated_stepping_batches) - self.first_steps) // self.members)

    def member(self, step: int) -> int:
        """The member that trains at a step of the second stage."""
        return min(step // self.steps_each(), self.members - 1)

    def tuned_rate(self, step: int, total: int) -> float:
        each = max(1, (total - self.first_steps) // self.members)
        return self.tuning_rate * (1 - step % each / each)

    def mine(self) -> None:
        super().mine()
        self.saved[0].load_state_dict(self.encoder.state_dict())

    def counted(self, batch: Translations) -> Tensor:
        left_out = 1 + self.member(self.global_step - self.first_steps) % (len(self.corpus.texts) - 1)
        return (batch.source_language != left_out) & (batch.target_language != left_out)

    def follow(self) -> None:
        """Behind a member's last step keeps its weights and goes back to the start."""
        step = self.global_step + 1 - self.first_steps
        if step > 0 and step % self.steps_each() == 0 and (done := step // self.steps_each()) <= self.members:
            self.saved[done].load_state_dict(self.encoder.state_dict())
            if done < self.members:
                self.encoder.load_state_dict(self.saved[0].state_dict())
                self.optimizers().optimizer.state.clear()

    def on_train_end(self) -> None:
        super().on_train_end()
        if self.sampler.mined:
            states = [one.state_dict() for one in self.saved[1:]]
            self.encoder.load_state_dict(averaged(states) if self.kept == "mean" else self.best(states))

    def best(self, states: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """The weights that do best on validation data."""
        benchmark, scores = self.trainer.datamodule, []
        for state in states:
            self.encoder.load_state_dict(state)
            found = benchmark.evaluate(self, "val")
            scores.append(max(float(value) for name, value in found.items() if name.startswith("mrr/")))
        return states[scores.index(max(scores))]
