"""Word vectors without context, counted and not trained."""

import numpy as np
import torch
from scipy.sparse import csr_array
from scipy.sparse.linalg import svds
from sklearn.feature_extraction.text import CountVectorizer
from torch import Tensor, nn


def ppmi_svd(texts: list[str], words: list[str], width: int) -> Tensor:
    """Vectors of words by the company they keep, float32 of shape (len(words), width).

    The positive pointwise mutual information of two words, counted over texts that hold both, in its `width` largest
    singular directions, each by the root of its singular value (Levy, Goldberg and Dagan 2015, with p = 1/2). A word
    that no text has is 0.

    Args:
        texts: words with white space between them.
        words: the vocabulary; other words are passed over.
        width: directions, at most as many as there are words.
    """
    counts = CountVectorizer(vocabulary=words, token_pattern=r"\S+", lowercase=False, dtype=np.float64).transform(texts)
    together = torch.from_numpy((counts.T @ counts).toarray()).fill_diagonal_(0)
    of_word = together.sum(dim=1)
    expected = of_word[:, None] * of_word / of_word.sum().clamp(min=1)
    ppmi = (together / expected.clamp(min=1e-300)).clamp(min=1).log()
    # Of a symmetric matrix: singular values are the sizes of its eigenvalues.
    values, axes = map(torch.from_numpy, np.linalg.eigh(ppmi.numpy()))
    order = values.abs().argsort(descending=True, stable=True)[:width]
    vectors = axes[:, order] * values[order].abs().sqrt()
    return _turned(vectors).float()


def _turned(vectors: Tensor) -> Tensor:
    """A singular vector, a column, may as well point the other way: the first of its largest entries is positive.

    Entries that rounding alone tells apart are as large as one another, lest it choose.
    """
    sizes = vectors.abs()
    first = (sizes >= sizes.amax(dim=0) * (1 - 1e-6)).to(torch.int8).argmax(dim=0, keepdim=True)
    return vectors * vectors.gather(0, first).sign()


def ppmi_svd_of_counts(counts: csr_array, width: int) -> Tensor:
    """As `ppmi_svd`, of words by counts that are given: U S^(1/2) of the largest singular values, float32 (n, width).

    Args:
        counts: how often each word stood beside each other one, (n, m); a word that never did is 0.
        width: directions, below n and m.
    """
    found = counts.astype(np.float64).tocoo()
    row, column = found.coords
    of_row, of_column = (found.sum(axis=axis) for axis in (1, 0))
    values = np.log(np.maximum(found.data * found.data.sum() / (of_row[row] * of_column[column]), 1))
    ppmi = csr_array((values, (row, column)), shape=counts.shape)
    left, sizes, _ = svds(ppmi, width, v0=np.ones(min(counts.shape)))
    return _turned(torch.from_numpy(left[:, ::-1] * np.sqrt(sizes[::-1]))).float()


class StaticVectors(nn.Module):
    """A text as the mean of `ppmi_svd` of its words.

    Args:
        texts: what is counted.
        width: of the vectors.
        weighted: words count the more the rarer they are, a / (a + share of all words), a = 0.001, and the mean of
            `texts` is taken off (as Arora, Liang and Ma 2017, who take off a direction).
    """

    def __init__(self, texts: list[str], width: int, weighted: bool = False) -> None:
        super().__init__()
        self.counter = CountVectorizer(token_pattern=r"\S+", lowercase=False, dtype=np.float64)
        counts = torch.from_numpy(np.asarray(self.counter.fit_transform(texts).sum(axis=0))).flatten()
        vectors = ppmi_svd(texts, self.counter.get_feature_names_out().tolist(), width)
        if weighted:
            vectors *= (1e-3 / (1e-3 + counts / counts.sum())).float()[:, None]
        self.register_buffer("vectors", vectors)
        self.register_buffer("mean", torch.zeros(width))
        if weighted:
            self.mean = self.embed_text(texts).mean(dim=0)

    def embed_text(self, texts: list[str]) -> Tensor:
        counts = torch.from_numpy(self.counter.transform(texts).toarray()).float()
        return counts @ self.vectors / counts.sum(dim=1, keepdim=True).clamp(min=1) - self.mean
