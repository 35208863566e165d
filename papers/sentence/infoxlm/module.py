"""InfoXLM (Chi et al. 2021): masked words, masked words beside a translation, and translations told from others."""

from itertools import cycle
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.batches import Translations
from common.checks import check_choice, check_number
from common.distributed import sum_over_processes
from common.encoders.momentum import MomentumTeacher
from common.encoders.multilingual import MiddleState, MultilingualLM, Pooled, Texts
from common.losses import info_nce, queue_info_nce
from common.sampling.mixtures import mixed_pairs
from common.sampling.queue import KeyQueue
from common.training.method import Method

Contrast = Literal["queue", "batch", "none"]
Weighting = Literal["means", "sizes"]


class InfoXLM(Method):
    """MMLM + TLM + weight * XLCO over each four rows of a batch: one text, one pair, and a positive made of two pairs.

    Args:
        encoder: the BERT that is trained on, with its masked-LM head; one of `SHAPES`.
        weights: folder of its files, where they are not the repository's own.
        max_length: tokens at which a text, or a pair of texts, is cut in training.
        layer: whose output is contrasted and, its mean over the tokens, embedded.
        pooling: of what is contrasted, the first token's state, as published, or the mean.
        masked: share of the tokens that are hidden, in all three tasks.
        contrast: translations are told from those in a "queue" that a momentum encoder made, or in the "batch", by one
            encoder; with "none" the rows go to TLM.
        mixup: a positive is made of two pairs, their sentences in random order on either side; else of one.
        shuffled: a control, for which translations are of other sentences.
        unit: vectors are compared by their cosine; the released code takes the inner product.
        weighting: "means" of the three losses are summed; "sizes", as released, takes the mean over all masked tokens
            and positives together, so that a positive weighs as much as a masked token.
        weight: of XLCO.
        temperature, queue_size, momentum: of XLCO.
        optimization: the arguments of `Method`.

    Raises:
        UserError: there is no such layer, or another argument is out of range.
    """

    contrastive = True

    def __init__(
        self,
        *,
        encoder: str = "slot-bert",
        weights: str | None = None,
        max_length: int = 32,
        layer: int = 1,
        pooling: Pooled = "cls",
        masked: float = 0.15,
        contrast: Contrast = "queue",
        mixup: bool = True,
        shuffled: bool = False,
        unit: bool = True,
        weighting: Weighting = "means",
        weight: float = 1.0,
        temperature: float = 0.1,
        queue_size: int = 256,
        momentum: float = 0.99,
        **optimization,
    ) -> None:
        super().__init__(**optimization)
        check_number("model.momentum", momentum, least=0, most=1)
        check_choice("model.contrast", contrast, Contrast)
        check_choice("model.weighting", weighting, Weighting)
        self.encoder = MultilingualLM(encoder, masked, max_length, weights)
        check_number("model.layer", layer, least=1, most=self.encoder.layers)
        self.layer, self.pooling, self.contrast = layer, pooling, contrast
        self.mixup, self.shuffled, self.unit, self.weighting = mixup, shuffled, unit, weighting
        self.weight, self.temperature, self.momentum = weight, temperature, momentum
        self.projection = self.teacher = self.queue = None
        if contrast != "none":
            width = self.encoder.width
            self.projection = nn.Linear(width, width, bias=False)
            nn.init.normal_(self.projection.weight, std=0.02)
        if contrast == "queue":
            self.teacher, self.queue = MomentumTeacher(self.student), KeyQueue(queue_size, width)

    @property
    def student(self) -> MiddleState:
        return MiddleState(self.encoder, self.projection, self.layer, self.pooling)

    def on_train_start(self) -> None:
        """Fills the queue with keys of the encoder as it is, as released; a run that is resumed has it filled."""
        super().on_train_start()
        if self.queue is not None:
            loader = self.trainer.datamodule.train_dataloader()
            # In another order than the first epoch's, whose positives would all find themselves in the queue.
            loader.order.set_epoch(1)
            batches = (self.transfer_batch_to_device(batch, self.device, 0) for batch in cycle(loader))
            self.queue.fill(self.keys(*self.positives(batch)[1:]) for batch in batches)

    def training_step(self, batch: Translations, batch_idx: int) -> Tensor:
        pairs = [*zip(batch.source, batch.target, strict=True)]
        # Without contrast its rows are pairs for TLM, so that all arms read the same sentences.
        rows = [row for row in range(len(pairs)) if row % 4 in ((1, 2, 3) if self.contrast == "none" else (1,))]
        terms = {
            "mmlm": self.encoder.masked_lm(batch.source[::4], batch.ids[::4], *self.key("masks of texts")),
            "tlm": self.encoder.masked_lm([pairs[row] for row in rows], batch.ids[rows], *self.key("masks of pairs")),
        }
        if self.contrast != "none":
            terms["xlco"] = self.tell_apart(batch)
        means, sizes = map(torch.stack, zip(*terms.values(), strict=True))
        loss = means @ sizes / sizes.sum() if self.weighting == "sizes" else means.sum()
        return self.log_loss(loss, **dict(zip(terms, means, strict=True)))

    def positives(self, batch: Translations) -> tuple[Texts, Texts, Tensor]:
        """Both sides of what is contrasted, and the id of each."""
        first, second = ([*zip(batch.source[k::4], batch.target[k::4], strict=True)] for k in (2, 3))
        if self.mixup:
            ids = batch.ids[2::4]
            left, right = mixed_pairs(first, second, ids, *self.key("mixtures"))
        else:
            left, right = map(list, zip(*first, *second, strict=True))
            ids = torch.cat([batch.ids[2::4], batch.ids[3::4]])
        return left, right[1:] + right[:1] if self.shuffled else right, ids

    def tell_apart(self, batch: Translations) -> tuple[Tensor, Tensor]:
        """XLCO by its weight, the mean over the positives of all processes, and how many these are."""
        left, right, ids = self.positives(batch)
        query, key = self.compared(self.student, left, ids, "masks of queries"), self.keys(right, ids)
        if self.queue is None:
            loss = info_nce(query, key, temperature=self.temperature)
        else:
            loss = queue_info_nce(query, key, self.queue.keys, temperature=self.temperature)
            self.queue.enqueue(key, ids)
        return self.weight * loss, sum_over_processes(loss.new_tensor(len(ids)))

    def keys(self, texts: Texts, ids: Tensor) -> Tensor:
        return self.compared(self.teacher or self.student, texts, ids, "masks of keys")

    def compared(self, network: nn.Module, texts: Texts, ids: Tensor, purpose: str) -> Tensor:
        """What the loss compares of texts with some tokens hidden, (n, d)."""
        rows = network(self.encoder.hide(texts, ids, *self.key(purpose))[0])
        return F.normalize(rows, dim=-1) if self.unit else rows

    def follow(self) -> None:
        if self.teacher is not None:
            self.teacher.update(self.student, self.momentum)

    @torch.no_grad()
    def embed_text(self, texts: list[str]) -> Tensor:
        """The mean state of the contrasted layer, (n, d)."""
        return self.encoder.embed_layer(texts, self.layer)
