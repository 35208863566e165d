"""The spectral contrastive loss written as loops."""


def spectral_contrastive(query, key, *, ids=None):
    n, total = len(query), 0.0
    for i in range(n):
        positives = [j for j in range(n) if (i == j if ids is None else ids[i] == ids[j])]
        total = total - 2 * sum(query[i].dot(key[j]) for j in positives) / len(positives)
        if n > 1:
            total = total + sum(query[i].dot(key[j]) ** 2 for j in range(n) if j != i) / (n - 1)
    return total / n
