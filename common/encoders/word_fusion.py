"""Fusion of whole words with a picture: small enough to be trained from nothing in a minute."""

from typing import Literal

import torch
from torch import Tensor, nn

from common.encoders.fusion import FusionEncoder, FusionName
from common.encoders.pooling import Tokens
from common.encoders.word_tower import WordTower
from common.errors import UserError

FusionTextName = FusionName | Literal["words"]


class WordReader(WordTower):
    """The states of `WordTower`'s words behind one of the whole text, which is their mean.

    Behind the rows of words the table has one for the whole, which nothing reads, and one for a hidden word.

    Args:
        rows: for words and padding, as in `WordTower`.
        shape: the other arguments of `WordTower`; there is no map to an output.
    """

    def __init__(self, *, rows: int = 2048, **shape) -> None:
        super().__init__(output_dim=1, rows=rows + 2, **shape)
        self.words = rows
        self.output = nn.Identity()

    @property
    def vocab_size(self) -> int:
        return self.table.num_embeddings

    @property
    def whole_id(self) -> int:
        """The id that stands before the words."""
        return self.words

    @property
    def mask_id(self) -> int:
        """The id of a hidden word."""
        return self.words + 1

    @property
    def special_ids(self) -> Tensor:
        """The ids that stand for no word, shape (3,)."""
        return torch.tensor([0, self.whole_id, self.mask_id], device=self.table.weight.device)

    def row(self, word: str) -> int:
        return 1 + self.hashed(word) % (self.words - 1)

    def tokens(self, texts: list[str]) -> Tokens:
        """The ids of `texts`, that of the whole first."""
        ids = self.tokenize(texts)
        ids = torch.cat([torch.full_like(ids[:, :1], self.whole_id), ids], dim=1)
        return Tokens(ids, (ids > 0).long())

    def read(self, tokens: Tokens) -> Tensor:
        """The last states, (n, 1 + t, d): the mean over the words, then that of each."""
        states, real = self.states(tokens.ids[:, 1:]), tokens.mask[:, 1:, None]
        whole = (states * real).sum(dim=1, keepdim=True) / real.sum(dim=1, keepdim=True)
        return torch.cat([whole, states], dim=1)


class WordFusion(nn.Module):
    """Layers that read words, and layers that look at a picture as well: what `FusionEncoder` does, far smaller.

    Pre-norm layers of width 64 learn at rates at which BERT's do not, and the mean over the words has a gradient for
    each of them from the first step on.

    Args:
        text_layers: lower layers, see `WordTower`.
        fused_layers: upper layers: each attends to the words, to the picture, and feeds forward.
        image_width: of the picture's states.
        dropout: of all layers.
        max_length: words at which a text is cut.
        width: d of all states.
        heads: attention heads; they divide `width`.

    Raises:
        UserError: no layer is left to read or to fuse, or the heads do not divide the width.
    """

    files = None
    """Nothing it could start from."""

    def __init__(
        self,
        text_layers: int = 1,
        fused_layers: int = 1,
        image_width: int = 96,
        dropout: float = 0.0,
        max_length: int = 40,
        width: int = 64,
        heads: int = 4,
    ) -> None:
        super().__init__()
        if text_layers < 1 or fused_layers < 1:
            raise UserError(f"layers are {text_layers} for the text and {fused_layers} fused; there must be 1 each")
        self.width = width
        self.text = WordReader(width=width, layers=text_layers, heads=heads, length=max_length, dropout=dropout)
        self.look = nn.Linear(image_width, width)
        options = dict(dim_feedforward=2 * width, dropout=dropout, activation="gelu", batch_first=True, norm_first=True)
        self.layers = nn.ModuleList(nn.TransformerDecoderLayer(width, heads, **options) for _ in range(fused_layers))
        self.norm = nn.LayerNorm(width)

    @property
    def vocab_size(self) -> int:
        return self.text.vocab_size

    @property
    def table(self) -> Tensor:
        """The table of words, shape (v, d)."""
        return self.text.table.weight

    def tokenize(self, texts: list[str], whole: bool = False) -> Tokens:
        """The ids of `texts`, cut at `max_length`, beyond which there are no positions for a `whole` text either."""
        return self.text.tokens(texts)

    def fusing(self) -> list[nn.Module]:
        """What `fuse` alone goes through."""
        return [self.look, self.layers, self.norm]

    def states(self, tokens: Tokens) -> Tensor:
        """What the lower layers make of a text alone, that of the whole first, (n, t, d)."""
        return self.text.read(tokens)

    def fuse(self, text: Tensor, mask: Tensor, image: Tensor) -> Tensor:
        """Texts that have seen their pictures; arguments and result as in `FusionEncoder.fuse`."""
        seen, padding = self.look(image), mask == 0
        for layer in self.layers:
            text = layer(text, seen, tgt_key_padding_mask=padding)
        return self.norm(text)


def fusion_encoder(
    name: FusionTextName,
    text_layers: int,
    image_width: int,
    dropout: float,
    max_length: int,
    weights: str | None = None,
) -> FusionEncoder | WordFusion:
    """Builds the encoder that a recipe names: "words", or a BERT cut in two.

    Args:
        name: of a `FusionEncoder`, or "words", which has `text_layers` and one fused layer.
        text_layers, image_width, dropout, max_length, weights: as in `FusionEncoder`.

    Raises:
        UserError: an unknown name, no layer to read or to fuse, or weights for words, which start from none.
    """
    if name != "words":
        return FusionEncoder(name, text_layers, image_width, dropout, max_length, weights=weights)
    if weights is not None:
        raise UserError(f"model.text_weights is {weights!r}; words start from none")
    return WordFusion(text_layers, 1, image_width, dropout, max_length)
