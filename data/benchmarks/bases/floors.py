"""Embeddings that need no learning: what a method has to beat."""

import hashlib

import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from torch import Tensor, nn

from common.random import uniform


class BagOfWords(nn.Module):
    """TF-IDF over the `features` commonest words of `texts`."""

    def __init__(self, texts: list[str], features: int = 10_000) -> None:
        super().__init__()
        self.vectorizer = TfidfVectorizer(max_features=features, sublinear_tf=True).fit(texts)

    def embed_text(self, texts: list[str]) -> Tensor:
        return torch.from_numpy(self.vectorizer.transform(texts).toarray()).float()


class Scattered(nn.Module):
    """A random direction for every text, others with each `draw`: chance, by whatever protocol."""

    def __init__(self, draw: int = 0) -> None:
        super().__init__()
        self.draw = draw

    def embed_text(self, texts: list[str]) -> Tensor:
        digests = [hashlib.sha256(text.encode()).digest()[:8] for text in texts]
        ids = torch.tensor([int.from_bytes(digest, "big", signed=True) for digest in digests])
        return uniform(ids, 64, self.draw) - 0.5


def bounded_words(texts: list[str], scored: int) -> BagOfWords:
    """The 10,000 commonest words of `texts`, or fewer where so many scored texts would take over 128 MB."""
    return BagOfWords(texts, max(64, min(10_000, (1 << 25) // max(1, scored))))
