"""InfoNCE with a filter on the meanings, written as loops."""

import torch


def filtered_info_nce(query, key, *, temperature, meaning, threshold):
    n, losses = len(query), []
    for i in range(n):
        candidates = [j for j in range(n) if j == i or not meaning[i].dot(meaning[j]) > threshold]
        for rows in (True, False):
            logits = [(query[i].dot(key[j]) if rows else query[j].dot(key[i])) / temperature for j in candidates]
            losses.append(torch.stack(logits).exp().sum().log() - query[i].dot(key[i]) / temperature)
    return sum(losses) / (2 * n)
