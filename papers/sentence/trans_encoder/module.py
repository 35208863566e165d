"""Trans-Encoder (Liu et al. 2022): a bi-encoder and a cross-encoder label unlabelled pairs for each other in turn."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from common.batches import GradedPairs
from common.checks import check_choice, check_number
from common.distributed import global_mean
from common.encoders.cross import BiCross, Form, Reading
from common.encoders.text import Pooling
from common.errors import UserError
from common.losses import info_nce
from common.random import uniform
from common.sampling.mixtures import swapped_pairs
from common.table import take
from common.training.method import Method
from common.training.stages import Stages

Labels = Literal["scores", "shuffled", "grades"]
Beginning = Literal["language_model", "bi"]


class TransEncoder(Method):
    """Rounds of distillation from pair scores; before them, SimCSE makes the first bi-encoder.

    A cross-encoder learns the cosines y of the bi-encoder before it by binary cross-entropy, -y log s(g) - (1 - y) log
    (1 - s(g)) of its logit g; a bi-encoder learns the scores y of the model before it by the mean of (cos - y)^2. Every
    round begins anew, a bi-encoder from where SimCSE left it.

    Args:
        encoder: the language model; or several, which label together by the mean of their scores (mutual distillation).
            The first embeds. Each has SimCSE on its own sentences, the first ones of the pairs or the second.
        weights: folder of the first bi-encoder's files, where they are not the repository's own; likewise
            cross_weights of the language model that cross-encoders begin from.
        rounds: what learns in each round, "bi" or "cross".
        lengths: of SimCSE and of each round, in proportion.
        labels: of cross-encoders: the "scores" of the model before; the same "shuffled" among the pairs of a batch, or
            the "grades" that people gave, over `highest`.
        highest: the highest grade.
        beginning: of cross-encoders, the "language_model", or the "bi"-encoder that labels for it.
        reading: how a cross-encoder's logit is read off, see `CrossEncoder`.
        cross_batch: pairs of a batch that a cross-encoder is given, the first so many; by default all. The order within
            a pair is drawn at random.
        temperature: of SimCSE.
        pooling, dropout, max_length: of both forms; a cross-encoder is given `pair_length` tokens.
        cross_lr, bi_lr: peak learning rates of the rounds; lr is that of SimCSE.
        warmup: share of each cross-encoder's round.
        optimization: the other arguments of `Method`.

    Raises:
        UserError: an argument is out of range, or a cross-encoder would learn from a cross-encoder.
    """

    def __init__(
        self,
        *,
        encoder: str | Sequence[str] = "mini-bert",
        weights: str | None = None,
        cross_weights: str | None = None,
        rounds: Sequence[Form] = ("cross", "bi"),
        lengths: Sequence[float] = (1.0, 1.0, 1.0),
        labels: Labels = "scores",
        highest: float = 5.0,
        beginning: Beginning = "language_model",
        reading: Reading = "pair",
        cross_batch: int | None = None,
        temperature: float = 0.05,
        pooling: Pooling = "cls",
        dropout: float = 0.1,
        max_length: int = 32,
        pair_length: int = 64,
        cross_lr: float = 2e-5,
        bi_lr: float = 5e-5,
        **optimization: Any,
    ) -> None:
        super().__init__(**optimization)
        check_choice("model.labels", labels, Labels)
        check_choice("model.beginning", beginning, Beginning)
        if set(rounds) - {"bi", "cross"} or ("cross", "cross") in pairwise(rounds):
            raise UserError(f"model.rounds is {list(rounds)}; each is 'bi' or 'cross', and no two 'cross' meet")
        if len(lengths) != len(rounds) + 1:
            raise UserError(f"model.lengths has {len(lengths)} entries; {len(rounds)} rounds and SimCSE have one each")
        for name, rate in (("lr", self.lr), ("cross_lr", cross_lr), ("bi_lr", bi_lr)):
            check_number(f"model.{name}", rate, above=0)
        self.rounds, self.lengths, self.labels, self.highest = list(rounds), list(lengths), labels, highest
        self.beginning, self.cross_batch, self.temperature = beginning, cross_batch, temperature
        self.peaks = {"bi": bi_lr, "cross": cross_lr}
        forms = dict(cross="cross" in rounds, own_teacher=("bi", "bi") in pairwise(["bi", *rounds]))
        shape = dict(pooling=pooling, dropout=dropout, max_length=max_length, pair_length=pair_length)
        start = dict(weights=weights, cross_weights=cross_weights, reading=reading)
        names = [encoder] if isinstance(encoder, str) else encoder
        self.models = torch.nn.ModuleList(BiCross.named(name, **forms, **shape, **start) for name in names)

    def rate_factor(self, total: int) -> Callable[[int], float]:
        self.stages = Stages(self.lengths, total)
        warmups = [0.0, *(self.warmup * (form == "cross") for form in self.rounds)]
        rate = self.stages.rates([self.lr, *(self.peaks[form] for form in self.rounds)], warmups, self.schedule)
        return lambda step: rate(step) / self.lr

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        super().on_train_batch_start(batch, batch_idx)
        stage = self.stages.at(self.global_step)
        if stage and self.stages.begins(self.global_step):
            for model in self.models:
                if stage == 1:
                    model.remember()
                for parameter in model.restart(self.rounds[stage - 1], self.beginning == "bi"):
                    # What Adam knows of it is of other weights.
                    self.trainer.optimizers[0].state.pop(parameter, None)

    def training_step(self, batch: GradedPairs, batch_idx: int) -> Tensor:
        stage = self.stages.at(self.global_step)
        return self.log_loss(self.round_loss(stage, batch) if stage else self.first_loss(batch))

    def first_loss(self, batch: GradedPairs) -> Tensor:
        """SimCSE of one side of the pairs, another for every other model; the sum over the models."""
        losses = []
        for number, model in enumerate(self.models):
            texts = (batch.first, batch.second)[number % 2]
            query, key = F.normalize(model.bi([*texts, *texts]), dim=1).chunk(2)
            losses.append(info_nce(query, key, temperature=self.temperature))
        return torch.stack(losses).sum()

    def round_loss(self, stage: int, batch: GradedPairs) -> Tensor:
        """Of a round, counted from 1: how far its students are from the labels, the sum over the models."""
        student, teacher = self.rounds[stage - 1], self.rounds[stage - 2] if stage > 1 else "bi"
        if student == "bi":
            y = self.targets(teacher, student, batch)
            return global_mean(sum((model.cosines(batch.first, batch.second) - y).square() for model in self.models))
        batch = take(batch, torch.arange(len(batch.ids))[: self.cross_batch])
        y = self.targets(teacher, student, batch)
        sides = swapped_pairs(batch.first, batch.second, batch.ids, *self.key("order"))
        return global_mean(sum(soft_cross_entropy(model.cross(*sides), y) for model in self.models))

    def targets(self, teacher: Form, student: Form, batch: GradedPairs) -> Tensor:
        """What a round's students learn of pairs, shape (n,): the mean of what the teachers say, or by `labels`."""
        if student == "cross" and self.labels == "grades":
            if bool((batch.grades < 0).any()):
                raise UserError("model.labels is 'grades'; the pairs have none (data.graded)")
            return batch.grades / self.highest
        said = [model.labels(teacher, student, batch.first, batch.second) for model in self.models]
        y = torch.stack(said).mean(dim=0)
        if student == "cross" and self.labels == "shuffled":
            y = y[uniform(batch.ids, 1, *self.key("labels"))[:, 0].argsort()]
        return y

    def embed_text(self, texts: list[str]) -> Tensor:
        return self.models[0].bi.embed(texts)

    def score_text_pairs(self, first: list[str], second: list[str]) -> Tensor:
        """Scores of the cross-encoder, where there is one; else cosines."""
        return self.models[0].labels("cross" if "cross" in self.rounds else "bi", "cross", first, second)


def soft_cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Of each logit with a soft label, shape (n,); as released, a label below 0, for which there is no least, is no
    error."""
    return F.binary_cross_entropy_with_logits(logits, y, reduction="none")
