"""CoCa (Yu et al. 2022): a dual encoder and a captioner in one model and one forward pass."""

from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from common.batches import ImageText
from common.distributed import global_ratio
from common.encoders.captioner import AttentionPooler, MultimodalDecoder, UnimodalDecoder
from common.encoders.generation import generate
from common.encoders.image import to_float
from common.encoders.vit import VisionTransformer
from common.encoders.vocabulary import TOKENS
from common.errors import UserError
from common.losses import LearnableTemperature, symmetric_info_nce
from common.training.grad_cache import cached_forward
from common.training.method import Method
from data.scenes.pieces import START
from papers.vision_language.coca.vocabulary import read_vocabulary


class Unimodal(Method):
    """CoCa without the upper half of its decoder: pictures and captions as vectors, and the contrast between them.

    L_Con is the sum of both directions, not their mean (eq. 2).

    Args:
        image_size, patch_size: of the vision transformer, in pixels.
        stem: channels of the convolutions before its patches; 0 for none, as published.
        width: d of all states and vectors.
        heads: attention heads of all layers and poolers.
        image_layers: of the vision transformer.
        unimodal_layers: of the lower half of the decoder.
        queries: of the generative pooler.
        pooler: the contrastive pooler reads the tokens of the generative one ("cascade") or the patches ("parallel").
        vocabulary: file with the tokenizer; by default that of the scenes.
        vocab_size: of that vocabulary.
        text_length: tokens of a caption at most, its first and its end included.
        contrast: weight of L_Con. At 0 there is neither [CLS] nor contrastive pooler, and what embeds is the mean of
            the picture's tokens and of the words' states.
        temperature: what it starts at; kept above 0.01.
        chunk_size: pairs in memory at a time; null takes all at once. The gradient is the same.
        optimization: the arguments of `Method`.

    Raises:
        UserError: an argument is out of range; when training starts, that the vocabulary is missing or of another size.
    """

    contrastive = True
    writes: ClassVar[bool] = False
    """Whether there is an upper half, which reads the tokens of the generative pooler."""

    def __init__(
        self,
        *,
        image_size: int = 48,
        patch_size: int = 8,
        stem: int = 0,
        width: int = 96,
        heads: int = 4,
        image_layers: int = 4,
        unimodal_layers: int = 2,
        queries: int = 16,
        pooler: Literal["cascade", "parallel"] = "cascade",
        vocabulary: str | None = None,
        vocab_size: int = 279,
        text_length: int = 44,
        contrast: float = 1.0,
        temperature: float = 0.07,
        chunk_size: int | None = None,
        **optimization,
    ) -> None:
        super().__init__(**optimization)
        if contrast < 0:
            raise UserError(f"model.contrast is {contrast}; it must be at least 0")
        if text_length < 3:
            raise UserError(f"model.text_length is {text_length}; it must be at least 3")
        self.image = VisionTransformer(image_size, patch_size, width, image_layers, heads, pooled=False, stem=stem)
        self.cascade = pooler == "cascade"
        self.generative_pooler = AttentionPooler(queries, width, heads) if self.cascade or self.writes else None
        self.contrastive_pooler = AttentionPooler(1, width, heads) if contrast else None
        self.temperature = LearnableTemperature(temperature) if contrast else None
        self.reader = UnimodalDecoder(
            vocab_size, TOKENS.pad, text_length, width, heads, unimodal_layers, summary=contrast > 0
        )
        self.width, self.heads, self.text_length = width, heads, text_length
        self.contrast = contrast
        self.chunk_size = chunk_size
        self.vocabulary = read_vocabulary(vocabulary, vocab_size)

    def on_fit_start(self) -> None:
        super().on_fit_start()
        self.vocabulary.check()

    def training_step(self, batch: ImageText, batch_idx: int) -> Tensor:
        ids = self.tokenize(batch.text)
        rows = cached_forward(self.rows, (batch.pixels, ids), self.chunk_size)
        terms = self.terms(rows, (ids[:, 1:] != TOKENS.pad).sum())
        return self.log_loss(
            sum(weight * term for weight, term in terms.values()), **{k: t for k, (_, t) in terms.items()}
        )

    def rows(self, pairs: tuple[Tensor, Tensor]) -> Tensor:
        """All that the losses need of pairs, a row each: the unit vectors of picture and caption, (n, 2d)."""
        pixels, ids = pairs
        return torch.cat([self.look(pixels)[1], self.read(ids)[1]], dim=1)

    def terms(self, rows: Tensor, words: Tensor) -> dict[str, tuple[float, Tensor]]:
        """Weight and value of each loss, from `rows` and the number of words to predict, 0-d."""
        image, text = rows[:, : 2 * self.width].chunk(2, dim=1)
        loss = symmetric_info_nce(image, text, temperature=self.temperature(), directions="sum")
        return {"contrast": (self.contrast, loss)}

    def look(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """The tokens of pictures that a caption is written from, (n, q, d), and their unit vectors, (n, d).

        Where nothing is written and the poolers are parallel, the tokens are the patches.
        """
        patches = self.image.patches(pixels)
        tokens = patches if self.generative_pooler is None else self.generative_pooler(patches)
        if self.contrastive_pooler is None:
            return tokens, F.normalize(tokens.mean(dim=1), dim=1)
        return tokens, F.normalize(self.contrastive_pooler(tokens if self.cascade else patches)[:, 0], dim=1)

    def read(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """The states of the words, (n, t, d), and the unit vectors of the captions, (n, d)."""
        words, summary = self.reader(ids)
        if summary is None:
            real = (ids != TOKENS.pad)[:, :, None]
            summary = (words * real).sum(dim=1) / real.sum(dim=1)
        return words, F.normalize(summary, dim=1)

    def tokenize(self, texts: list[str]) -> Tensor:
        """Ids with start and end, padded, int64 of shape (n, t)."""
        return self.vocabulary.ids(texts, [START] * len(texts), self.text_length).to(self.device)

    def embed_image(self, pixels: Tensor) -> Tensor:
        return self.look(to_float(pixels))[1]

    def embed_text(self, texts: list[str]) -> Tensor:
        return self.read(self.tokenize(texts))[1]


class CoCa(Unimodal):
    """The lower half of the decoder contrasts, the upper half goes on from its words and writes the caption (eq. 4).

    L = contrast * L_Con + caption * L_Cap, with L_Cap the cross-entropy of each word given those before it and the
    picture, the mean over the words of the batch.

    Args:
        caption: weight of L_Cap.
        multimodal_layers: of the upper half of the decoder.
        others: the arguments of `Unimodal` and `Method`.

    Raises:
        UserError: an argument is out of range.
    """

    writes = True

    def __init__(self, *, caption: float = 2.0, multimodal_layers: int = 2, **others) -> None:
        super().__init__(**others)
        if caption <= 0:
            raise UserError(f"model.caption is {caption}; it must be above 0, or the model `Unimodal`")
        self.writer = MultimodalDecoder(self.reader.table.num_embeddings, self.width, self.heads, multimodal_layers)
        self.caption = caption

    def rows(self, pairs: tuple[Tensor, Tensor]) -> Tensor:
        """As in `Unimodal`, and behind that the negative log-likelihood of the caption, the sum over its words."""
        pixels, ids = pairs
        (tokens, image), (words, text) = self.look(pixels), self.read(ids)
        # The last word predicts the end, and what stands at padding nothing.
        logits = self.writer(words[:, :-1], tokens).transpose(1, 2)
        losses = F.cross_entropy(logits, ids[:, 1:], ignore_index=TOKENS.pad, reduction="none").sum(dim=1)
        return torch.cat([image, text, losses[:, None]], dim=1)

    def terms(self, rows: Tensor, words: Tensor) -> dict[str, tuple[float, Tensor]]:
        terms = super().terms(rows, words) if self.contrast else {}
        return terms | {"caption": (self.caption, global_ratio(rows[:, -1].sum(), words))}

    def caption_log_likelihood(self, pixels: Tensor, texts: list[str]) -> Tensor:
        """The mean log-likelihood of a word of each picture's caption, its end included, shape (n,)."""
        ids = self.tokenize(texts)
        return -self.rows((to_float(pixels), ids))[:, -1] / (ids[:, 1:] != TOKENS.pad).sum(dim=1)

    def captions(self, pixels: Tensor, generator: torch.Generator | None = None) -> list[str]:
        """The caption of each picture, greedily, or drawn word by word with a generator on the CPU."""
        tokens, _ = self.look(to_float(pixels))
        first = torch.full((len(pixels),), self.vocabulary.id_of(START), device=pixels.device)

        def next_logits(ids: Tensor) -> Tensor:
            return self.writer(self.reader(ids, summarize=False)[0], tokens)[:, -1]

        longest = self.text_length - 1
        return self.vocabulary.texts(generate(next_logits, first, longest, TOKENS, generator=generator))
