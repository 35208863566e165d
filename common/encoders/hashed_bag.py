"""A bag of hashed words and runs of three letters below a small network: a text encoder of seconds, in any script."""

from zlib import crc32

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.errors import UserError


class HashedBag(nn.Module):
    """The mean of the vectors of a text's words and letter trigrams, then two layers; trained from scratch.

    There is no vocabulary: a feature's row is a hash of it (Weinberger et al. 2009), so two may share one. What
    texts passed is remembered, 8 bytes a feature, since a text is read in each epoch.

    Args:
        output_dim: of the text's vector.
        width: of the rows; the hidden layer has twice as many units.
        rows: of the table.

    Raises:
        UserError: there is no row.
    """

    def __init__(self, *, output_dim: int = 256, width: int = 128, rows: int = 8192) -> None:
        super().__init__()
        if rows < 1:
            raise UserError(f"rows is {rows}; it must be at least 1")
        self.output_dim = output_dim
        self.table = nn.EmbeddingBag(rows, width, mode="mean")
        self.network = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, output_dim))
        self._known: dict[str, Tensor] = {}

    def features(self, text: str) -> Tensor:
        """The rows of a text's features, int64 (f,), each as often as it is there; a text without any has one."""
        if text not in self._known:
            words = text.lower().split()
            trigrams = [f" {word} "[at : at + 3] for word in words for at in range(len(word))]
            rows = [crc32(feature.encode()) % self.table.num_embeddings for feature in words + trigrams]
            self._known[text] = torch.tensor(rows or [0])
        return self._known[text]

    def forward(self, texts: list[str]) -> Tensor:
        """One unit vector a text, (n, output_dim)."""
        found = [self.features(text) for text in texts]
        starts = torch.tensor([0, *(len(rows) for rows in found[:-1])]).cumsum(dim=0)
        device = self.table.weight.device
        pooled = self.table(torch.cat(found).to(device), starts.to(device))
        return F.normalize(self.network(pooled), dim=1)
