"""The Mann-Whitney loss written as loops."""

import torch


def mann_whitney(query, key, *, temperature, negatives=None):
    n = len(query)
    passages = [*key, *(negatives if negatives is not None else ())]
    positive = [query[i].dot(key[i]) / temperature for i in range(n)]
    negative = [query[i].dot(p) / temperature for i in range(n) for j, p in enumerate(passages) if i != j]
    terms = [-torch.sigmoid(up - down).log() for up in positive for down in negative]
    return sum(terms) / len(terms)
