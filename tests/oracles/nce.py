"""Noise-contrastive estimation written as loops."""

import math


def noise_contrastive(query, bank, columns, *, temperature, log_z, eps=1e-7):
    total, z = 0.0, math.exp(log_z)
    for q, row in zip(query, columns.tolist(), strict=True):
        noise = (len(row) - 1) / len(bank)
        own, *others = [(q.dot(bank[c]) / temperature).exp() / z for c in row]
        total = total - (own / (own + noise + eps)).log()
        for p in others:
            total = total - (noise / (p + noise + eps)).log()
    return total / len(query)
