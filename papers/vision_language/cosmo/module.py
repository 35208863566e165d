"""CosMo (Wang et al. 2024): a frozen language model learns to see, and what its lower half reads is contrasted."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.batches import ImageText
from common.checks import check_choice, check_number
from common.distributed import global_mean
from common.encoders.dual import DualEncoder
from common.encoders.generation import generate
from common.encoders.image import to_float
from common.encoders.language import LanguageModel
from common.encoders.remembered import Remembered
from common.encoders.resampler import GatedCrossAttention, Resampler
from common.encoders.vocabulary import TOKENS
from common.errors import UserError
from common.losses import LearnableTemperature, symmetric_info_nce
from common.random import uniform
from common.training.late import average_gradients, awake, rates_anew
from common.training.method import Method
from papers.vision_language.coca.vocabulary import START, read_vocabulary

Contrasted = Literal["pairs", "documents", "shuffled"]


class Fields(nn.Module):
    """The last map of a trained picture tower, field by field, of pictures enlarged to `side` pixels."""

    def __init__(self, name: str, side: int) -> None:
        super().__init__()
        self.tower, self.side = DualEncoder.named(name).image, side
        self.width = self.tower.output_dim

    def forward(self, pixels: Tensor) -> Tensor:
        """Float pixels (n, c, h, w) in [0, 1] to (n, fields, d)."""
        enlarged = F.interpolate(pixels, self.side, mode="bicubic").clamp(0, 1)
        return self.tower.map(enlarged).flatten(2).transpose(1, 2)


class CosMo(Method):
    """Captions from a frozen language model that looks at pictures through gates, and a contrast over its lower half.

    A batch is parted into blocks of 2k samples: k pairs, and a document of k pictures, each before its caption, which
    sees that picture alone. L = 1/2 (L_LM of the pairs + contrast * L_con) + 1/2 L_LM of the documents: released
    batches of both kinds take turns, and their gradients are averaged. L_LM is the mean over words, L_con symmetric
    InfoNCE between a resampler's first vector of a picture and what a learnt query reads off the lower half.

    The language model learns from the captions in the first steps, without pictures; then it is frozen.

    Args:
        locked: the trained picture tower, see `DualEncoder.named`; it stays as it is.
        side: pixels to which pictures are enlarged for it.
        remember: what it makes of a picture is kept, which must then look the same each time.
        width, heads, layers: of the language model.
        unimodal_layers: of these, those that see no picture.
        interval: of the others, every which has a gate before it.
        compress: of the gated layers, see `GatedCrossAttention`.
        latents: vectors of a picture that the words see; the contrast has one more.
        resampler_layers: that make them.
        head_width: of the heads of resampler and gates.
        embed_dim: width of the vectors that contrast.
        vocabulary, vocab_size, text_length: as in `CoCa`.
        pictures: k of a document; with 0 there are pairs alone.
        language_steps, language_lr: of the language model's own training; warm-up and schedule are those of the rest.
        contrast: weight of L_con. At 0 its heads stay as they are drawn.
        contrasted: what it is over: "pairs", as published; "documents" too, the whole text with the mean of its
            pictures; "shuffled" pairs, a control.
        released: the query reads the lower half one layer early, and padding too, as the released code does.
        cut: L_con does not reach the resampler, so that nothing but its own heads learns from it.
        temperature: what it starts at; kept above 0.01. Released as the scale exp(0.2), which is 0.8187.
        scalar_lr: factor on the learning rate of gates and temperature, which in a few hundred steps would hardly move.
        optimization: the arguments of `Method`.

    Raises:
        UserError: an argument is out of range; in training, batches of another size than a multiple of 2k.
    """

    contrastive = True

    def __init__(
        self,
        *,
        locked: str = "mini-clip",
        side: int = 48,
        remember: bool = True,
        width: int = 96,
        heads: int = 4,
        layers: int = 4,
        unimodal_layers: int = 2,
        interval: int = 1,
        compress: int = 1,
        latents: int = 8,
        resampler_layers: int = 2,
        head_width: int = 16,
        embed_dim: int = 64,
        vocabulary: str | None = None,
        vocab_size: int = 279,
        text_length: int = 44,
        pictures: int = 3,
        language_steps: int = 400,
        language_lr: float = 0.004,
        contrast: float = 1.0,
        contrasted: Contrasted = "pairs",
        released: bool = False,
        cut: bool = False,
        temperature: float = 0.07,
        scalar_lr: float = 1.0,
        **optimization,
    ) -> None:
        super().__init__(**optimization)
        check_choice("model.contrasted", contrasted, Contrasted)
        for name, value in {"contrast": contrast, "pictures": pictures, "language_steps": language_steps}.items():
            check_number(f"model.{name}", value, least=0)
        for name, value in {"interval": interval, "compress": compress}.items():
            check_number(f"model.{name}", value, least=1)
        check_number("model.unimodal_layers", unimodal_layers, least=1, most=layers - 1)
        check_number("model.text_length", text_length, least=3)
        for name, value in {"lr": self.lr, "language_lr": language_lr, "scalar_lr": scalar_lr}.items():
            check_number(f"model.{name}", value, above=0)
        self.picture = Remembered(Fields(locked, side))
        seen, sizes = self.picture.encoder.width, (heads, head_width)
        self.language = LanguageModel(vocab_size, TOKENS.pad, max(1, pictures) * text_length, width, heads, layers)
        self.resampler = Resampler(seen, latents + 1, resampler_layers, *sizes)
        gated = range(unimodal_layers, layers, interval)
        self.gates = nn.ModuleDict({str(i): GatedCrossAttention(width, seen, *sizes, compress) for i in gated})
        self.heads = nn.ModuleDict(
            {
                "reader": Resampler(width, 1, 1, *sizes, bias=False),
                "text": nn.Linear(width, embed_dim, bias=False),
                "image": nn.Linear(seen, embed_dim, bias=False),
                "temperature": LearnableTemperature(temperature),
            }
        )
        self.vocabulary = read_vocabulary(vocabulary, vocab_size)
        self.remember, self.text_length, self.pictures = remember, text_length, pictures
        self.language_steps, self.language_lr, self.scalar_lr = language_steps, language_lr, scalar_lr
        self.contrast, self.contrasted, self.cut = contrast, contrasted, cut
        self.read_after, self.reads_padding = unimodal_layers - released, released
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

    def on_fit_start(self) -> None:
        super().on_fit_start()
        self.vocabulary.check()

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

    def read(self, ids: Tensor, pictures: Tensor | None) -> list[Tensor]:
        """All states of texts (n, t); with vectors of k pictures each, (n, k, m, e), those of the upper half see."""
        begun = (ids == self.vocabulary.id_of(START)).cumsum(dim=1)

        def look(number: int, states: Tensor) -> Tensor:
            gate = str(number)
            return self.gates[gate](states, pictures, begun) if gate in self.gates else states

        return self.language(ids, None if pictures is None else look)

    def words(self, ids: Tensor) -> Tensor:
        """What is to be said of texts (n, t): words and ends, no marks of pictures and no padding, bool (n, t - 1)."""
        return (ids[:, 1:] != TOKENS.pad) & (ids[:, 1:] != self.vocabulary.id_of(START))

    def text_vectors(self, states: list[Tensor], ids: Tensor) -> Tensor:
        """Unit vectors of texts, (n, e), from what `read` returns of them."""
        padding = None if self.reads_padding else ids == TOKENS.pad
        read = self.heads["reader"](states[self.read_after], padding)[:, 0]
        return F.normalize(self.heads["text"](read), dim=1)

    def image_vectors(self, first: Tensor) -> Tensor:
        """Unit vectors of pictures, (n, e), from the resampler's first vectors (n, d)."""
        return F.normalize(self.heads["image"](first), dim=1)

    def tokenize(self, texts: list[str]) -> Tensor:
        """Ids with the mark of a picture before and the end behind, padded, int64 of shape (n, t)."""
        return self.vocabulary.ids(texts, [START] * len(texts), self.text_length).to(self.device)

    def look(self, pixels: Tensor) -> Tensor:
        """The resampler's vectors of uint8 pixels: the first contrasts, the words see the others."""
        return self.resampler(self.picture(to_float(pixels)))

    def embed_image(self, pixels: Tensor) -> Tensor:
        return self.image_vectors(self.look(pixels)[:, 0])

    def embed_text(self, texts: list[str]) -> Tensor:
        ids = self.tokenize(texts)
        return self.text_vectors(self.read(ids, None), ids)

    def caption_log_likelihood(self, pixels: Tensor, texts: list[str]) -> Tensor:
        """The mean log-likelihood of a word of each picture's caption, its end included, shape (n,)."""
        ids = self.tokenize(texts)
        chances = self.language.log_likelihood(self.read(ids, self.look(pixels)[:, None, 1:])[-1], ids)
        wanted = self.words(ids)
        return (chances * wanted).sum(dim=1) / wanted.sum(dim=1)

    def captions(self, pixels: Tensor, generator: torch.Generator | None = None) -> list[str]:
        """The caption of each picture, greedily, or drawn word by word with a generator on the CPU."""
        seen = self.look(pixels)[:, None, 1:]
        first = torch.full((len(pixels),), self.vocabulary.id_of(START), device=pixels.device)

        def next_logits(ids: Tensor) -> Tensor:
            return self.language.logits(self.read(ids, seen)[-1][:, -1])

        longest = self.text_length - 1
        return self.vocabulary.texts(generate(next_logits, first, longest, TOKENS, generator=generator))
