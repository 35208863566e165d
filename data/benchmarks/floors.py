"""Embeddings that need no learning: what a method has to beat."""

import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from torch import Tensor, nn


class BagOfWords(nn.Module):
    """TF-IDF over the `features` commonest words of `texts`."""

    def __init__(self, texts: list[str], features: int = 10_000) -> None:
        super().__init__()
        self.vectorizer = TfidfVectorizer(max_features=features, sublinear_tf=True).fit(texts)

    def embed_text(self, texts: list[str]) -> Tensor:
        return torch.from_numpy(self.vectorizer.transform(texts).toarray()).float()
