"""Focal losses written as loops."""

import torch


def _share(anchor, candidates, own, temperature):
    weights = [(anchor.dot(x) / temperature).exp() for x in candidates]
    return weights[own] / sum(weights)


def _focal(p, gamma):
    return -((1 - p) ** gamma) * p.log()


def focal_info_nce(query, key, *, temperature, gamma, symmetric=False):
    n = len(query)
    losses = [_focal(_share(query[i], key, i, temperature), gamma) for i in range(n)]
    if symmetric:
        losses += [_focal(_share(key[i], query, i, temperature), gamma) for i in range(n)]
    return sum(losses) / len(losses)


def focal_sup_con(embeddings, labels, *, temperature, gamma, mean_over="positives"):
    n, losses = len(embeddings), []
    for i in range(n):
        others = [j for j in range(n) if j != i]
        shares = {j: _share(embeddings[i], embeddings[others], place, temperature) for place, j in enumerate(others)}
        own = [_focal(shares[j], gamma) for j in others if labels[j] == labels[i]]
        if own:
            losses.append(sum(own) / (len(own) if mean_over == "positives" else n))
    return sum(losses) / len(losses)


def focal_sigmoid(query, key, *, scale, bias, gamma, alpha):
    n, total = len(query), 0.0
    for i in range(n):
        for j in range(n):
            score = scale * query[i].dot(key[j]) + bias
            p = torch.sigmoid(score if i == j else -score)
            total = total + 2 * (alpha if i == j else 1 - alpha) * _focal(p, gamma)
    return total / n
