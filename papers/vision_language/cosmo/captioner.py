"""The model of CosMo: a frozen picture tower, a language model that looks through gates, and heads that contrast."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.checks import check_number
from common.encoders.dual import DualEncoder
from common.encoders.generation import generate
from common.encoders.image import to_float
from common.encoders.language import LanguageModel
from common.encoders.remembered import Remembered
from common.encoders.resampler import GatedCrossAttention, Resampler
from common.encoders.vocabulary import TOKENS
from common.losses import LearnableTemperature
from common.training.method import Method
from data.scenes.pieces import START, scene_vocabulary


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


class Captioner(Method):
    """What CosMo trains, and what a trained one answers.

    Args:
        locked: the trained picture tower, see `DualEncoder.named`; it stays as it is.
        side: pixels to which pictures are enlarged for it.
        width, heads, layers: of the language model.
        unimodal_layers: of these, those that see no picture.
        interval: of the others, every which has a gate before it.
        compress: of the gated layers, see `GatedCrossAttention`.
        latents: vectors of a picture that the words see; the contrast has one more.
        resampler_layers: that make them.
        head_width: of the heads of resampler and gates.
        embed_dim: width of the vectors that contrast.
        text_length: tokens of a caption at most, the mark of its picture and its end included.
        pictures: k of a document; with 0 there are pairs alone.
        released: the query reads the lower half one layer early, and padding too, as the released code does.
        temperature: what it starts at; kept above 0.01. Released as the scale exp(0.2), which is 0.8187.
        optimization: the arguments of `Method`.

    Raises:
        UserError: an argument is out of range.
    """

    def __init__(
        self,
        *,
        locked: str = "mini-clip",
        side: int = 48,
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
        text_length: int = 44,
        pictures: int = 3,
        released: bool = False,
        temperature: float = 0.07,
        **optimization,
    ) -> None:
        super().__init__(**optimization)
        check_number("model.pictures", pictures, least=0)
        for name, value in {"interval": interval, "compress": compress}.items():
            check_number(f"model.{name}", value, least=1)
        check_number("model.unimodal_layers", unimodal_layers, least=1, most=layers - 1)
        check_number("model.text_length", text_length, least=3)
        self.vocabulary = scene_vocabulary()
        self.picture = Remembered(Fields(locked, side))
        seen, sizes = self.picture.encoder.width, (heads, head_width)
        self.language = LanguageModel(
            self.vocabulary.size, TOKENS.pad, max(1, pictures) * text_length, width, heads, layers
        )
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
        self.text_length, self.pictures = text_length, pictures
        self.read_after, self.reads_padding = unimodal_layers - released, released

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
