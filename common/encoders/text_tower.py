"""The text tower of a dual encoder: a transformer trained from scratch, its tokenizer fixed beforehand."""

from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, SiglipTextConfig, SiglipTextModel

from common.encoders.pretrained import ARCHITECTURES, PretrainedFiles
from common.errors import UserError

TokenizerName = Literal["wordpiece", "bytes", "sentencepiece", "clip"]
END = "[END]"


class Vocabulary(NamedTuple):
    """A tokenizer and what a tower must know of it before it is read."""

    size: int
    end: str
    """Stands behind a text, and fills the places after that."""
    read: Callable[[], Tokenizer]


def byte_tokenizer() -> Tokenizer:
    """One token a byte of UTF-8: any language, and nothing is unknown. 256 bytes and [END]."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    # A byte-pair encoding that was never taught a pair.
    tokenizer = Tokenizer(models.BPE({byte: i for i, byte in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(END)])
    special = [(END, tokenizer.token_to_id(END))]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {END}", special_tokens=special)
    return tokenizer


VOCABULARIES: dict[TokenizerName, Vocabulary] = {
    "wordpiece": Vocabulary(ARCHITECTURES["mini-bert"].vocab_size, "[SEP]", PretrainedFiles("mini-bert").tokenizer),
    "bytes": Vocabulary(257, END, byte_tokenizer),
    "sentencepiece": Vocabulary(32_000, "</s>", PretrainedFiles("google/siglip-base-patch16-224").tokenizer),
    "clip": Vocabulary(49_408, "<|endoftext|>", PretrainedFiles("openai/clip-vit-base-patch32").tokenizer),
}
"""The English word pieces of mini-bert, the bytes of any language, the published vocabularies of SigLIP and CLIP."""


class _Tokenized(nn.Module):
    """What text towers share: texts as ids, all of one length.

    Args:
        body: the transformer.
        output_dim, length, tokenizer: as in `TextTower`.

    Raises:
        UserError: unknown tokenizer.
    """

    def __init__(self, body: Callable[[Vocabulary], nn.Module], output_dim: int, length: int, tokenizer: str) -> None:
        super().__init__()
        if tokenizer not in VOCABULARIES:
            raise UserError(f"tokenizer is {tokenizer!r}; it must be one of {', '.join(get_args(TokenizerName))}")
        self.output_dim = output_dim
        self.length = length
        self.vocabulary = VOCABULARIES[tokenizer]
        self.body = body(self.vocabulary)
        self._tokenizer: Tokenizer | None = None

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer, read at the first use: a tower on the meta device needs none."""
        if self._tokenizer is None:
            tokenizer, end = self.vocabulary.read(), self.vocabulary.end
            tokenizer.enable_truncation(self.length)
            tokenizer.enable_padding(length=self.length, pad_id=tokenizer.token_to_id(end), pad_token=end)
            self._tokenizer = tokenizer
        return self._tokenizer

    def tokenize(self, texts: list[str]) -> Tensor:
        """The ids of `texts`, int64 of shape (n, length), on the tower's device."""
        encoded = self.tokenizer.encode_batch(texts)
        return torch.tensor([line.ids for line in encoded], device=self.body.device)


class TextTower(_Tokenized):
    """A pre-norm transformer over tokens, both ways; the state of the last place stands for the text.

    As in SigLIP: every text is filled up to the same length with its end token, and the filling is not masked, so the
    last place always holds an end token, and a text has one vector whatever its batch.

    Args:
        width: d of the token states.
        layers: transformer layers; the feed-forward part is four times as wide as the states.
        heads: attention heads; they divide `width`.
        output_dim: of the text's vector, a linear map of the last state.
        length: tokens of every text; longer ones are cut.
        tokenizer: a name in `VOCABULARIES`.

    Raises:
        UserError: unknown tokenizer.
    """

    def __init__(
        self,
        width: int,
        layers: int,
        heads: int,
        output_dim: int,
        length: int = 16,
        tokenizer: TokenizerName = "wordpiece",
    ) -> None:
        config = dict(
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            max_position_embeddings=length,
            projection_size=output_dim,
            # The tower fills up by itself; these would have to lie in the vocabulary.
            pad_token_id=None,
            bos_token_id=None,
            eos_token_id=None,
        )

        def body(vocabulary: Vocabulary) -> SiglipTextModel:
            return SiglipTextModel(SiglipTextConfig(vocab_size=vocabulary.size, **config))

        super().__init__(body, output_dim, length, tokenizer)

    def states(self, ids: Tensor) -> Tensor:
        """The last states of the tokens, shape (n, length, width), from `tokenize`."""
        return self.body(input_ids=ids).last_hidden_state

    def forward(self, texts: list[str]) -> Tensor:
        """The vector of each text, shape (n, output_dim)."""
        return self.body(input_ids=self.tokenize(texts)).pooler_output


class ClipTextTower(_Tokenized):
    """CLIP's own: each token sees those before it, and the state of the first end token stands for the text.

    Source: Radford et al. 2021, table 20, ViT-B models, with plain GELU as in open_clip. 63.4 M parameters.

    Args:
        width, layers, heads, output_dim, length: as in `TextTower`.
        tokenizer: "clip", by whose end token the tower finds the end of a text.

    Raises:
        UserError: another tokenizer.
    """

    def __init__(
        self,
        width: int = 512,
        layers: int = 12,
        heads: int = 8,
        output_dim: int = 512,
        length: int = 77,
        tokenizer: TokenizerName = "clip",
    ) -> None:
        if tokenizer != "clip":
            raise UserError(f"tokenizer is {tokenizer!r}; with CLIP's text tower it must be 'clip'")

        def body(vocabulary: Vocabulary) -> CLIPTextModelWithProjection:
            config = CLIPTextConfig(
                vocab_size=vocabulary.size,
                hidden_size=width,
                intermediate_size=4 * width,
                num_hidden_layers=layers,
                num_attention_heads=heads,
                max_position_embeddings=length,
                projection_dim=output_dim,
                hidden_act="gelu",
                eos_token_id=vocabulary.size - 1,
            )
            return CLIPTextModelWithProjection(config)

        super().__init__(body, output_dim, length, tokenizer)

    @property
    def last(self) -> nn.Linear:
        """The linear map from `features` to the text's vector, without a bias."""
        return self.body.text_projection

    def features(self, texts: list[str]) -> Tensor:
        """The state of the first end token, normalized, shape (n, width)."""
        return self.body.text_model(input_ids=self.tokenize(texts)).pooler_output

    def forward(self, texts: list[str]) -> Tensor:
        """The vector of each text, shape (n, output_dim)."""
        return self.body(input_ids=self.tokenize(texts)).text_embeds
