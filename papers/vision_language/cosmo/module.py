"""CosMo (Wang et al. 2024): a frozen language model learns to see, and what its lower half reads is contrasted."""

from collections.abc import Callable
from typing import Literal

from torch import Tensor, nn

from common.batches import ImageText
from common.checks import check_choice, check_number
from common.distributed import global_mean
from common.errors import UserError
from common.losses import symmetric_info_nce
from common.random import uniform
from common.training.late import average_gradients, awake, rates_anew
from papers.vision_language.cosmo.captioner import Captioner

Contrasted = Literal["pairs", "documents", "shuffled"]


class CosMo(Captioner):
    """Captions from a frozen language model that looks at pictures through gates, and a contrast over its lower half.

    A batch is parted into blocks of 2k samples: k pairs, and a document of k pictures, each before its caption, which
    sees that picture alone. L = 1/2 (L_LM of the pairs + contrast * L_con) + 1/2 L_LM of the documents: released
    batches of both kinds take turns, and their gradients are averaged. L_LM is the mean over words, L_con symmetric
    InfoNCE between a resampler's first vector of a picture and what a learnt query reads off the lower half.

    The language model learns from the captions in the first steps, without pictures; then it is frozen.

    Args:
        remember: what the picture tower makes of a picture is kept, which must then look the same each time.
        language_steps, language_lr: of the language model's own training; warm-up and schedule are those of the rest.
        contrast: weight of L_con. At 0 its heads stay as they are drawn.
        contrasted: what it is over: "pairs", as published; "documents" too, the whole text with the mean of its
            pictures; "shuffled" pairs, a control.
        cut: L_con does not reach the resampler, so that nothing but its own heads learns from it.
        scalar_lr: factor on the learning rate of gates and temperature, which in a few hundred steps would hardly move.
        others: the arguments of `Captioner` and `Method`.

    Raises:
        UserError: an argument is out of range; in training, batches of another size than a multiple of 2k.
    """

    contrastive = True

    def __init__(
        self,
        *,
        remember: bool = True,
        language_steps: int = 400,
        language_lr: float = 0.004,
        contrast: float = 1.0,
        contrasted: Contrasted = "pairs",
        cut: bool = False,
        scalar_lr: float = 1.0,
        **others,
    ) -> None:
        super().__init__(**others)
        check_choice("model.contrasted", contrasted, Contrasted)
        for name, value in {"contrast": contrast, "language_steps": language_steps}.items():
            check_number(f"model.{name}", value, least=0)
        for name, value in {"lr": self.lr, "language_lr": language_lr, "scalar_lr": scalar_lr}.items():
            check_number(f"model.{name}", value, above=0)
        self.remember, self.contrast, self.contrasted, self.cut = remember, contrast, contrasted, cut
        self.language_steps, self.language_lr, self.scalar_lr = language_steps, language_lr, scalar_lr
        self.wake(speaking=language_steps > 0)

    @property
    def learnt(self) -> list[nn.Parameter]:
        """What is trained after the language model."""
        parts = [self.resampler, self.gates] + ([self.heads] if self.contrast else [])
        return [parameter for part in parts for parameter in part.parameters()]

    def wake(self, speaking: bool) -> None:
        """Either the language model learns or the rest."""
        self.heads.requires_grad_(False)
        self.language.requires_grad_(speaking)
        for parameter in self.learnt:
            parameter.requires_grad_(not speaking)

    def rate_factor(self, total: int) -> Callable[[int], float]:
        if not self.language_steps:
            return super().rate_factor(total)
        starts, ratio = [0, self.language_steps], self.language_lr / self.lr
        factor = rates_anew(starts, total, self.warmup, self.schedule)
        return lambda step: factor(step) * (ratio if step < self.language_steps else 1.0)

    def parameter_groups(self) -> list[dict]:
        with awake([*self.language.parameters(), *self.learnt]):
            groups = [g | {"params": [p for p in g["params"] if p.ndim]} for g in super().parameter_groups()]
        scalars = [p for p in self.learnt if not p.ndim]
        return [*groups, {"params": scalars, "weight_decay": 0.0, "lr": self.lr * self.scalar_lr}]

    def on_after_backward(self) -> None:
        if self.language_steps:
            average_gradients(self.learnt)

    def training_step(self, batch: ImageText, batch_idx: int) -> Tensor:
        speaking = self.global_step < self.language_steps
        self.wake(speaking)
        terms = self.terms(batch.pixels, self.tokenize(batch.text), batch.ids, speaking)
        weights = {"language": 1.0, "contrast": self.contrast}
        return self.log_loss(sum(weights[name] * term for name, term in terms.items()), **terms)

    def terms(self, pixels: Tensor, ids: Tensor, samples: Tensor, speaking: bool = False) -> dict[str, Tensor]:
        """L_LM and, where there is one, L_con, each half the sum over pairs and documents.

        Args:
            pixels: float (n, c, h, w).
            ids: tokens (n, t).
            samples: the global id of each, int64 (n,).
            speaking: the language model learns, and nothing is seen.
        """
        texts, numbers = [kind.flatten(1) for kind in self.arranged(ids)], self.arranged(samples)
        if speaking:
            return {"language": sum(self.unsaid(self.read(text, None), text) for text in texts) / len(texts)}
        vectors = self.arranged(self.resampler(self.picture(pixels, samples if self.remember else None)))
        states = [self.read(text, seen[:, :, 1:]) for text, seen in zip(texts, vectors, strict=True)]
        found = {"language": sum(map(self.unsaid, states, texts)) / len(texts)}
        if self.contrast:
            kinds = len(texts) if self.contrasted == "documents" else 1
            each = list(zip(vectors, states, texts, numbers, strict=True))[:kinds]
            found["contrast"] = sum(self.apart(*kind) for kind in each) / len(texts)
        return found

    def unsaid(self, states: list[Tensor], ids: Tensor) -> Tensor:
        """L_LM of texts (n, t) whose states these are: what a word costs, the mean over those of the batch."""
        return -global_mean(self.language.log_likelihood(states[-1], ids).flatten(), self.words(ids).flatten())

    def apart(self, vectors: Tensor, states: list[Tensor], ids: Tensor, samples: Tensor) -> Tensor:
        """L_con of texts (n, t), of the vectors (n, k, m, d) and the ids (n, k) of their pictures."""
        first = vectors[:, :, 0].mean(dim=1)
        image, text = self.image_vectors(first.detach() if self.cut else first), self.text_vectors(states, ids)
        if self.contrasted == "shuffled":
            text = text[uniform(samples[:, 0], 1, *self.key("shuffle")).flatten().argsort()]
        return symmetric_info_nce(image, text, temperature=self.heads["temperature"]())

    def arranged(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Rows (n, ...) as those of pairs, (n / 2, 1, ...), and of documents, (n / 2k, k, ...); or of n pairs."""
        if not self.pictures:
            return (rows[:, None],)
        block = 2 * self.pictures
        if len(rows) % block:
            raise UserError(f"data.batch_size is {len(rows)} a process; model.pictures asks for a multiple of {block}")
        blocks = rows.unflatten(0, (-1, block))
        return blocks[:, : self.pictures].flatten(0, 1)[:, None], blocks[:, self.pictures :]
