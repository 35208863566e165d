"""Small text towers over whole words: a bag of words, or one transformer layer below the mean."""

from zlib import crc32

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from common.encoders.pooling import Read
from common.errors import UserError


class WordTower(nn.Module):
    """The mean of a text's word vectors, each normalized, then a small network; trained from scratch in seconds.

    Words are what stands between spaces, commas apart. There is no vocabulary to learn: a word's row in the table is a
    hash of it (the hashing trick, Weinberger et al. 2009), so two words may share one, in any language.

    Args:
        output_dim: of the text's vector.
        width: d of the word vectors.
        layers: pre-norm transformer layers between the words and the mean, with learnt positions; 0 is a bag of words,
            which has a hidden layer of width 2 d behind the mean instead.
        heads: attention heads; they divide `width`.
        length: words of a text at most; longer ones are cut.
        rows: of the table, of which the first is padding.
        dropout: probability in the layers.

    Raises:
        UserError: the heads do not divide the width, or there is no row for a word.
    """

    def __init__(
        self,
        *,
        output_dim: int,
        width: int = 64,
        layers: int = 0,
        heads: int = 4,
        length: int = 40,
        rows: int = 2048,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if width % heads:
            raise UserError(f"heads is {heads}; it must divide the width, which is {width}")
        if rows < 2:
            raise UserError(f"rows is {rows}; it must be at least 2")
        self.output_dim = output_dim
        self.length = length
        self.table = nn.Embedding(rows, width)
        nn.init.normal_(self.table.weight, std=0.3)
        self.positions = nn.Parameter(0.1 * torch.randn(length, width)) if layers else None
        options = dict(dim_feedforward=2 * width, dropout=dropout, activation="gelu", batch_first=True, norm_first=True)
        self.layers = nn.ModuleList(nn.TransformerEncoderLayer(width, heads, **options) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        hidden = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, output_dim))
        self.output = nn.Linear(width, output_dim) if layers else hidden

    def row(self, word: str) -> int:
        """The word's row of the table, from 1."""
        return 1 + self.hashed(word) % (self.table.num_embeddings - 1)

    @staticmethod
    def hashed(word: str) -> int:
        """A number of the word alone: the same in every process and on every machine."""
        return crc32(word.encode())

    def tokenize(self, texts: list[str]) -> Tensor:
        """The rows of the words of `texts`, padded behind with 0, int64 of shape (n, t), on the tower's device."""
        # A text without a word is the empty word, so that there is something to attend to.
        words = [text.replace(",", " ,").split()[: self.length] or [""] for text in texts]
        ids = [torch.tensor([self.row(word) for word in line], dtype=torch.int64) for line in words]
        return pad_sequence(ids, batch_first=True).to(self.table.weight.device)

    def states(self, ids: Tensor) -> Tensor:
        """The last states of the words, normalized, shape (n, t, width), from `tokenize`."""
        states = self.table(ids)
        if self.positions is not None:
            states = states + self.positions[: ids.shape[1]]
        for layer in self.layers:
            states = layer(states, src_key_padding_mask=ids == 0)
        return self.norm(states)

    @property
    def last(self) -> nn.Linear:
        """The linear map from `features` to the text's vector."""
        return self.output if isinstance(self.output, nn.Linear) else self.output[-1]

    def features(self, texts: list[str]) -> Tensor:
        """What the last linear map reads, shape (n, last.in_features)."""
        ids = self.tokenize(texts)
        return self._features(ids, self.states(ids))

    def _features(self, ids: Tensor, states: Tensor) -> Tensor:
        weights = (ids > 0).unsqueeze(-1).to(self.table.weight.dtype)
        mean = (states * weights).sum(1) / weights.sum(1)
        return mean if isinstance(self.output, nn.Linear) else self.output[:-1](mean)

    def forward(self, texts: list[str]) -> Tensor:
        """The vector of each text, shape (n, output_dim)."""
        return self.last(self.features(texts))

    @property
    def state_dim(self) -> int:
        """Width of the states of `with_states`."""
        return self.table.embedding_dim

    def with_states(self, texts: list[str]) -> Read:
        """The vectors, and the states of the words."""
        ids = self.tokenize(texts)
        states = self.states(ids)
        return Read(self.last(self._features(ids, states)), states, ids == 0)
