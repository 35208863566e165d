"""Triplet losses written as loops."""

import torch
import torch.nn.functional as F


def triplet(embeddings, labels, *, margin, mining="batch_hard", squared=False):
    n, losses = len(embeddings), []

    def distance(i, j):
        square = (embeddings[i] - embeddings[j]).square().sum()
        return square if squared else square.sqrt()

    for a in range(n):
        near = [distance(a, j) for j in range(n) if labels[j] != labels[a]]
        far = [distance(a, j) for j in range(n) if j != a and labels[j] == labels[a]]
        if not near or not far:
            continue
        pairs = [(max(far), min(near))]
        if mining == "semi_hard":
            pairs = [(p, min((x for x in near if x > p), default=max(near))) for p in far]
        losses += [F.softplus(p - x) if margin is None else torch.relu(p - x + margin) for p, x in pairs]
    return sum(losses) / len(losses)
