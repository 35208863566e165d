"""Masked-language modelling (Devlin et al. 2019), with an optional teacher whose hidden states the student matches."""

from collections.abc import Sequence
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.batches import Sentences
from common.distributed import global_ratio
from common.encoders.narrow import lower_layers, narrow
from common.encoders.pretrained import PretrainedFiles
from common.encoders.text import MaskedLMHead, Pooling, TextEncoder, Tokens
from common.encoders.weights import are_read
from common.errors import UserError
from common.evaluation.embed import evaluating
from common.sampling.masking import IGNORED, hide_tokens_by_sample
from common.training.method import Method


class MaskedLM(Method):
    """Hides 15% of the tokens and predicts them; a teacher, while there is one, reads the text with nothing hidden.

    The teacher's share of the loss is the mean squared distance between its hidden states (embeddings and each layer)
    and the student's, mapped linearly to its width, over the teacher's mean square. It falls linearly to 0 over
    `teacher_steps`, after which the teacher is no longer run: what is left is plain masked-language modelling.

    Args:
        encoder: name of the student's architecture.
        pretrained: starts from the encoder's own weights, with its masked-LM head; without them from random ones or,
            given a teacher, from its lower layers narrowed to the student's width.
        weights: folder of the encoder's weights and tokenizer, as in `TextEncoder.named`.
        teacher: name of the encoder whose lowest layers teach, or none. Its vocabulary is cut to the student's.
        teacher_steps: steps over which the teacher's weight falls to 0.
        teacher_weight: the weight at the start.
        masked: share of the tokens that are predicted; of them 80% read [MASK], 10% a random token, 10% themselves.
        dropout: replaces the encoder's own 0.1.
        max_length: tokens at which a passage is cut.
        pooling: of `embed_text`.
        optimization: the arguments of `Method`.
    """

    def __init__(
        self,
        *,
        encoder: str = "mini-bert",
        pretrained: bool = False,
        weights: str | None = None,
        teacher: str | None = None,
        teacher_steps: int = 0,
        teacher_weight: float = 1.0,
        masked: float = 0.15,
        dropout: float | None = None,
        max_length: int = 128,
        pooling: Pooling = "mean",
        **optimization,
    ) -> None:
        super().__init__(**optimization)
        if not 0 < masked < 1:
            raise UserError(f"model.masked is {masked}; it must be between 0 and 1")
        if teacher is not None and teacher_steps < 1:
            raise UserError(f"model.teacher_steps is {teacher_steps}; with a teacher it must be at least 1")
        self.encoder = TextEncoder.named(
            encoder, pooling=pooling, dropout=dropout, max_length=max_length, weights=weights, pretrained=pretrained
        )
        self.head = MaskedLMHead(self.encoder.width, self.table.shape[0])
        if pretrained and are_read(self.table):
            self.head.load(PretrainedFiles(encoder, weights).weights(), encoder)
        self.pretrained = pretrained
        self.masked = masked
        self.teacher_steps = teacher_steps
        self.teacher_weight = teacher_weight
        self.teacher, self.lifts = None, None
        if teacher is not None:
            self.teacher = lower_layers(teacher, self.encoder)
            # One map a hidden state; all begin as the axes on which the student was cut out of the teacher.
            self.lifts = nn.ModuleList(
                nn.Linear(self.encoder.width, self.teacher.width) for _ in range(self.encoder.layers + 1)
            )

    @property
    def table(self) -> Tensor:
        """The token table, shape (v, d), which is the decoder too."""
        return self.encoder.body.embeddings.word_embeddings.weight

    def setup(self, stage: str) -> None:
        # Not in the constructor: it needs text, and a checkpoint that is resumed has no use for it.
        fresh = not self.pretrained and self.trainer.ckpt_path is None
        if stage == "fit" and self.teacher is not None and fresh:
            texts = self.trainer.datamodule.splits["train"]
            if not isinstance(texts, list):  # of a benchmark that keeps them on the disk
                batches = islice(self.trainer.datamodule.train_dataloader(), 4)
                texts = [text for batch in batches for text in batch.text]
            narrow(self.teacher, self.encoder, self.lifts, texts[:: max(1, len(texts) // 128)])

    def training_step(self, batch: Sentences, batch_idx: int) -> Tensor:
        tokens = self.encoder.tokenize(batch.text)
        visible, targets = hide_tokens_by_sample(tokens, self.masked, self.encoder, batch.ids, *self.key("masks"))
        states = self.encoder.hidden_states(visible)
        logits, targets = self.predict(states[-1], targets)
        loss = global_ratio(F.cross_entropy(logits, targets, reduction="sum"), len(targets))
        right = (logits.argmax(dim=1) == targets).sum().float()
        terms = {"cross_entropy": loss, "masked_accuracy": right / max(1, len(targets))}
        share = self.teacher_share()
        if share > 0:
            terms["distance"] = self.distance(states, tokens)
            loss = loss + share * terms["distance"]
        return self.log_loss(loss, **terms)

    def teacher_share(self) -> float:
        """The teacher's weight at this step."""
        if self.teacher is None:
            return 0.0
        return self.teacher_weight * max(0.0, 1 - self.global_step / self.teacher_steps)

    def predict(self, states: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (m, v) and targets (m,) of the tokens that are asked for: the others need no logits."""
        asked = targets != IGNORED
        return self.head(states[asked], self.table), targets[asked]

    def distance(self, states: tuple[Tensor, ...], tokens: Tokens) -> Tensor:
        """How far the student's hidden states are from the teacher's on the same text, 0 where they agree."""
        with torch.no_grad():
            wanted = self.teacher.eval().hidden_states(tokens)
        real = tokens.mask.bool()
        pairs = zip(self.lifts, states, wanted, strict=True)
        return torch.stack([relative_error(lift(state[real]), target[real]) for lift, state, target in pairs]).mean()

    def masked_accuracy(self, texts: Sequence[str]) -> float:
        right = asked = 0
        with evaluating(self):
            for start in range(0, len(texts), 32):
                tokens = self.encoder.tokenize(texts[start : start + 32])
                ids = torch.arange(start, start + len(tokens.ids), device=tokens.ids.device)
                visible, targets = hide_tokens_by_sample(tokens, self.masked, self.encoder, ids, 0)
                logits, targets = self.predict(self.encoder.hidden_states(visible)[-1], targets)
                right += int((logits.argmax(dim=1) == targets).sum())
                asked += len(targets)
        return right / max(1, asked)

    def embed_text(self, texts: list[str]) -> Tensor:
        return self.encoder.embed(texts)


def relative_error(found: Tensor, wanted: Tensor) -> Tensor:
    """The mean squared error over the mean square of what is wanted."""
    return F.mse_loss(found, wanted) / wanted.square().mean()
