"""Llama-Embed-Nemotron (Babakhin et al. 2025): a query's mined hard negatives, and nothing else in the denominator."""

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from common.batches import MinedTexts, Translations
from common.checks import check_number
from common.encoders.hashed_bag import HashedBag
from common.encoders.names import OwnEncoder
from common.encoders.own import own_text_encoder
from common.errors import UserError
from common.evaluation.embed import embed_dataset
from common.losses import info_nce
from common.sampling.mined import MinedNegatives
from common.training.method import Method
from papers.sentence.llama_embed_nemotron.denominators import Denominator, contrast


class HardContrast(Method):
    """Fine-tuning on mined negatives, given with the texts or, behind a first stage, mined by what it has learnt.

    The first stage is InfoNCE over the batch at a steady rate: a start that all denominators share. Then negatives are
    mined once among all texts, the optimizer begins anew, and the rate falls in a line to 0.

    Args:
        encoder: "hashed_bag", see `HashedBag`, or an encoder of one's own.
        first_steps: of the first stage, on translations; none where negatives come with the texts.
        denominator: of the second stage, see `contrast`.
        negatives: mined for each query.
        max_ratio: a document above this share of the positive's score is not mined.
        mined: "hard", or "random" for a control.
        tuning_rate: of the second stage, as a share of `lr`.
        temperature: divides the cosines.
        optimization: the arguments of `Method`.

    Raises:
        UserError: an argument is out of range.
    """

    contrastive = True

    def __init__(
        self,
        *,
        encoder: OwnEncoder | str = "hashed_bag",
        first_steps: int = 0,
        denominator: Denominator = "hard",
        negatives: int = 4,
        max_ratio: float | None = 0.95,
        mined: Literal["hard", "random"] = "hard",
        tuning_rate: float = 1.0,
        temperature: float = 0.02,
        **optimization,
    ) -> None:
        super().__init__(**optimization)
        if denominator not in get_args(Denominator):
            allowed = ", ".join(get_args(Denominator))
            raise UserError(f"model.denominator is {denominator!r}; it must be one of {allowed}")
        if mined not in ("hard", "random"):
            raise UserError(f"model.mined is {mined!r}; it must be 'hard' or 'random'")
        check_number("model.first_steps", first_steps, least=0)
        check_number("model.tuning_rate", tuning_rate, above=0)
        self.encoder = HashedBag() if encoder == "hashed_bag" else own_text_encoder(encoder, "mean", None, 512)
        self.sampler = MinedNegatives(negatives, max_ratio, hard=mined == "hard")
        self.first_steps, self.denominator, self.tuning_rate = first_steps, denominator, tuning_rate
        self.temperature = temperature

    def rate_factor(self, total: int) -> Callable[[int], float]:
        if not self.first_steps:
            return super().rate_factor(total)
        return lambda step: 1.0 if step < self.first_steps else self.tuned_rate(step - self.first_steps, total)

    def tuned_rate(self, step: int, total: int) -> float:
        """Of a step of the second stage, as a share of `lr`."""
        return self.tuning_rate * max(0.0, 1 - step / max(1, total - self.first_steps))

    def on_fit_start(self) -> None:
        super().on_fit_start()
        if self.first_steps:
            self.corpus = self.trainer.datamodule.parallel_texts()

    def training_step(self, batch: Translations | MinedTexts, batch_idx: int) -> Tensor:
        if isinstance(batch, MinedTexts):
            pair = self.embed_text([*batch.query, *batch.document]).chunk(2)
            return self.log_loss(self.contrast(*pair, batch.negatives, batch.ids))
        pair = self.embed_text([*batch.source, *batch.target]).chunk(2)
        if self.global_step < self.first_steps:
            return self.log_loss(info_nce(*pair, temperature=self.temperature, ids=batch.ids))
        if not self.sampler.mined:
            self.mine()
        return self.log_loss(self.contrast(*pair, self.negatives(batch), batch.ids, self.counted(batch)))

    def contrast(
        self, query: Tensor, positive: Tensor, negatives: list[list[str]], ids: Tensor, where: Tensor | None = None
    ) -> Tensor:
        """The loss of the rows `where` of unit vectors (n, d), given the texts of each query's negatives."""
        hard = self.embed_text([text for texts in negatives for text in texts]).view(len(query), -1, query.shape[1])
        given = {"temperature": self.temperature, "ids": ids, "denominator": self.denominator, "where": where}
        return contrast(query, positive, hard, **given)

    def counted(self, batch: Translations) -> Tensor | None:
        """Which pairs have a loss of their own; all."""
        return None

    def mine(self) -> None:
        """Mines among the texts of each pair of languages, by the weights as they are, and begins the second stage."""
        rows = [embed_dataset(self.embed_text, texts, 256, self) for texts in self.corpus.texts]
        blocks = [(rows[source], rows[target]) for source, target in self.corpus.pairs.tolist()]
        self.sampler.mine(blocks, *self.key("negatives")[:1])
        self.optimizers().optimizer.state.clear()

    def negatives(self, batch: Translations) -> list[list[str]]:
        """The mined texts of each pair."""
        ends = torch.stack([batch.source_language, batch.target_language], dim=1).cpu()
        block = (ends[:, None] == self.corpus.pairs).all(dim=2).int().argmax(dim=1)
        at = torch.searchsorted(self.corpus.ids, batch.ids.cpu())
        found = self.sampler.take(block.to(self.device), at.to(self.device)).tolist()
        texts = [self.corpus.texts[language] for language in ends[:, 1].tolist()]
        return [[of[row] for row in rows] for of, rows in zip(texts, found, strict=True)]

    def embed_text(self, texts: list[str]) -> Tensor:
        return F.normalize(self.encoder(texts), dim=1)
