"""Harmonic loss (Baek et al. 2025): the nearest class centre wins, by a power of its distance."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.batches import NumberQuestions
from common.checks import check_number
from common.distributed import global_mean
from common.errors import UserError
from common.training.method import Method
from papers.classification.cross_entropy.module import CrossEntropy
from papers.classification.harmonic_loss.distances import (
    HarmonicHead,
    column_size,
    harmonic_logits,
    squared_distances,
)


class HarmonicLoss(Method):
    """A small network that is asked for a symbol given some, whose answers are the symbols' own vectors.

    The vectors of the given symbols stand side by side, go through Linear - SiLU - Linear, and the result is compared
    with the vector of each symbol.

    Args:
        symbols: how many there are.
        given: symbols of a question.
        embedding_dim: width of a symbol's vector.
        hidden_dim: width of the hidden layer.
        output: logits of the "harmonic" loss; inner products, whose loss is plain cross-entropy ("softmax"); or
            squared distances with the sign turned ("distance"), centres without the power law.
        exponent: of the squared distance, see `harmonic_logits`.
        offset: added to the squared distance, eps in the card.
        tied: the centres are the vectors of the symbols, and not a table of their own.
        bias: of each answer, with "softmax" alone.
        penalty: times `column_size` of the vectors is added to the loss.
        optimization: the arguments of `Method`.

    Raises:
        UserError: a number is out of range, or a bias with distances.
    """

    def __init__(
        self,
        *,
        symbols: int = 31,
        given: int = 2,
        embedding_dim: int = 16,
        hidden_dim: int = 100,
        output: Literal["harmonic", "softmax", "distance"] = "harmonic",
        exponent: float = 1.0,
        offset: float = 1e-4,
        tied: bool = True,
        bias: bool = False,
        penalty: float = 0.0,
        **optimization,
    ) -> None:
        super().__init__(**optimization)
        check_number("model.exponent", exponent, above=0)
        check_number("model.offset", offset, least=0)
        check_number("model.penalty", penalty, least=0)
        if bias and output != "softmax":
            raise UserError(f"model.bias is true; distances (model.output {output!r}) have none")
        # As the released tied table begins: a linear layer's.
        bound = embedding_dim**-0.5
        self.symbols = nn.Parameter(torch.empty(symbols, embedding_dim).uniform_(-bound, bound))
        if not tied:
            self.answers = nn.Parameter(torch.empty(symbols, embedding_dim).uniform_(-bound, bound))
        self.body = nn.Sequential(
            nn.Linear(given * embedding_dim, hidden_dim), nn.SiLU(), nn.Linear(hidden_dim, embedding_dim)
        )
        if bias:
            self.bias = nn.Parameter(torch.empty(symbols).uniform_(-bound, bound))
        self.output, self.exponent, self.offset = output, exponent, offset
        self.tied, self.biased, self.penalty = tied, bias, penalty

    def training_step(self, batch: NumberQuestions, batch_idx: int) -> Tensor:
        if batch_idx == 0:  # a step of these takes a millisecond, in which a GPU would wait for each check
            self.check_questions(batch)
        fit = global_mean(F.cross_entropy(self.number_logits(batch.given), batch.answer, reduction="none"))
        size = column_size(self.symbols)
        return self.log_loss(fit + self.penalty * size, fit=fit, size=size)

    def check_questions(self, batch: NumberQuestions) -> None:
        """Raises: UserError if there are more symbols in the data than vectors, or in a question than are taken."""
        if (last := int(torch.cat([batch.given, batch.answer[:, None]], dim=1).max())) >= len(self.symbols):
            raise UserError(f"model.symbols is {len(self.symbols)}; the data have a symbol {last}, from 0 on")
        if (taken := self.body[0].in_features // self.symbols.shape[1]) != batch.given.shape[1]:
            raise UserError(f"model.given is {taken}; a question of the data has {batch.given.shape[1]}")

    def number_logits(self, given: Tensor) -> Tensor:
        x, centres = self.body(self.symbols[given].flatten(1)), self.symbols if self.tied else self.answers
        if self.output == "harmonic":
            return harmonic_logits(x, centres, exponent=self.exponent, eps=self.offset)
        if self.output == "distance":
            return -squared_distances(x, centres)
        return x @ centres.T + (self.bias if self.biased else 0.0)

    def embed_symbols(self) -> Tensor:
        return self.symbols


class HarmonicClassifier(CrossEntropy):
    """A classifier by the distances to the centres of the classes; encoder and data as of cross-entropy.

    Args:
        exponent: of the squared distance, see `harmonic_logits`.
        offset: added to the squared distance, eps in the card.
        classifier: the arguments of `CrossEntropy`.
    """

    def __init__(self, *, exponent: float = 8.0, offset: float = 1e-4, **classifier) -> None:
        super().__init__(**classifier)
        check_number("model.exponent", exponent, above=0)
        check_number("model.offset", offset, least=0)
        width, classes = self.encoder.output_dim, self.classifier.out_features
        self.classifier = HarmonicHead(width, classes, exponent=exponent, eps=offset)
