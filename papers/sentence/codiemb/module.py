"""CoDiEmb (Zhang et al. 2025): retrieval and similarity in one encoder, each with losses and batches of its own."""

from collections.abc import Sequence
from itertools import chain
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from common.batches import TaskTexts
from common.checks import check_number
from common.distributed import Exchange
from common.encoders.text import Pooling, TextEncoderName, text_encoder
from common.errors import UserError
from common.table import take
from common.training.method import Method
from papers.sentence.codiemb import losses

Objective = Literal["by_task", "info_nce", "cosent"]
Grades = Literal["all", "top"]


class CoDiEmb(Method):
    """One encoder for queries and documents, and for pairs of texts that people graded.

    Args:
        encoder, weights, pooling, dropout, max_length: as in `SimCSE`.
        objective: "by_task", the paper's: InfoNCE with several positives for queries, and for graded pairs a weighted
            sum of four losses; or one kind of loss for both, "info_nce" or "cosent".
        middle: weight of InfoNCE of the middle layer, for pairs of the highest grade.
        pearson, pro, rank: weights of the other losses on pairs.
        grades: "all", or only which pairs have the "top" one, a control.
        threshold: the least grade of the pairs that InfoNCE draws together; 1 as released.
        temperature: of InfoNCE and of CoSENT.
        list_temperature: of PRO and of the divergence of ranks.
        pair_exchange: whether the losses on pairs see those of all processes, "gather", so that a recipe is the same on
            any number of them; or of their own alone, "local", as released.
        optimization: the arguments of `Method`.

    Raises:
        UserError: an argument is out of range.
    """

    contrastive = True

    def __init__(
        self,
        *,
        encoder: TextEncoderName = "slot-bert",
        weights: str | None = None,
        pooling: Pooling = "mean",
        dropout: float = 0.1,
        max_length: int = 32,
        objective: Objective = "by_task",
        middle: float = 1.0,
        pearson: float = 2.0,
        pro: float = 0.5,
        rank: float = 5.0,
        grades: Grades = "all",
        threshold: float = 1.0,
        temperature: float = 0.02,
        list_temperature: float = 0.05,
        pair_exchange: Literal["gather", "local"] = "gather",
        **optimization,
    ) -> None:
        super().__init__(**optimization)
        for name, value, kinds in (("objective", objective, Objective), ("grades", grades, Grades)):
            if value not in get_args(kinds):
                raise UserError(f"model.{name} is {value!r}; it must be one of {', '.join(get_args(kinds))}")
        check_number("model.list_temperature", list_temperature, above=0)
        check_number("model.threshold", threshold, least=0, most=1)
        self.encoder = text_encoder(encoder, pooling, dropout, max_length, weights=weights)
        self.objective, self.grades, self.threshold = objective, grades, threshold
        self.weights = {"middle": middle, "pearson": pearson, "pro": pro, "rank": rank}
        for name, weight in self.weights.items():
            check_number(f"model.{name}", weight, least=0)
        self.temperature, self.list_temperature = temperature, list_temperature
        self.pair_exchange = Exchange(pair_exchange)

    def training_step(self, batch: TaskTexts, batch_idx: int) -> Tensor:
        """A batch has queries or pairs; of both, where tasks are mixed, each has its loss and pairs are negatives."""
        asked = torch.tensor([bool(texts) for texts in batch.negatives])
        queries, pairs = take(batch, asked.nonzero().flatten()), take(batch, (~asked).nonzero().flatten())
        terms, others = {}, None
        if pairs.query:
            first, second = (self.layers(texts) for texts in (pairs.query, list(chain(*pairs.positives))))
            terms = self.pair_terms(first, second, pairs.grades)
            others = second[-1] if queries.query else None
        if queries.query:
            terms["queries"] = self.search_loss(
                self.layers(queries.query)[-1], *map(self.documents, (queries.positives, queries.negatives)), others
            )
        return self.log_loss(torch.stack(list(terms.values())).sum(), **terms)

    def layers(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Unit vectors of the middle layer and of the last, (n, d) each; the embeddings count as a layer."""
        tokens = self.encoder.tokenize(texts)
        states = self.encoder.hidden_states(tokens)
        parts = states[: len(states) // 2 + 1], states
        middle, last = (F.normalize(self.encoder.pool(part, tokens.mask), dim=1) for part in parts)
        return middle, last

    def documents(self, texts: Sequence[list[str]]) -> Tensor:
        """Unit vectors of as many documents of each query, (n, k, d)."""
        return self.layers(list(chain(*texts)))[-1].unflatten(0, (len(texts), -1))

    def search_loss(self, query: Tensor, positives: Tensor, negatives: Tensor, others: Tensor | None = None) -> Tensor:
        """Of queries (n, d), with m positives and h negatives each, (n, m, d) and (n, h, d)."""
        if self.objective != "cosent":
            return losses.multi_positive(query, positives, negatives, temperature=self.temperature, others=others)
        documents = torch.cat([positives, negatives], dim=1)
        scores = (query[:, None] * documents).sum(dim=2)
        right = torch.zeros_like(scores)
        right[:, : positives.shape[1]] = 1
        return losses.cosent(
            *losses.gathered(scores.flatten(), right.flatten(), Exchange.GATHER), temperature=self.temperature
        )

    def pair_terms(
        self, first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor], grades: Tensor
    ) -> dict[str, Tensor]:
        """The weighted losses of pairs, given the vectors of both layers, (n, d) each, and grades (n,) of at most 1."""
        grades = grades if self.grades == "all" else (grades >= 1).to(grades)
        info_nce = {"temperature": self.temperature, "threshold": self.threshold, "exchange": self.pair_exchange}
        if self.objective == "info_nce":
            return {"pairs": losses.top_pairs(first[-1], second[-1], grades, **info_nce)}
        found = losses.gathered((first[-1] * second[-1]).sum(dim=1), grades, self.pair_exchange)
        if self.objective == "cosent":
            return {"pairs": losses.cosent(*found, temperature=self.temperature)}
        terms = {
            "middle": lambda: losses.top_pairs(first[0], second[0], grades, **info_nce),
            "pearson": lambda: losses.pearson(*found),
            "pro": lambda: losses.pro(*found, temperature=self.list_temperature),
            "rank": lambda: losses.rank_kl(*found, temperature=self.list_temperature),
        }
        return {name: self.weights[name] * term() for name, term in terms.items() if self.weights[name]}

    def embed_text(self, texts: list[str]) -> Tensor:
        return self.encoder.embed(texts)
