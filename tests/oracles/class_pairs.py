"""Pairs of classes written as loops."""

import torch


def class_pairs(embeddings, labels, partners, *, temperature, gates=None, renormalize=True):
    n, losses = len(embeddings), []
    for i in range(n):
        gate = torch.ones_like(embeddings[i]) if gates is None else gates[i]

        def score(j, i=i, gate=gate):
            ours, theirs = gate * embeddings[i], gate * embeddings[j]
            product = ours.dot(theirs)
            return product / (ours.norm() * theirs.norm()) if renormalize and gates is not None else product

        negatives = [j for j in range(n) if labels[j] != labels[i] and labels[j] != partners[i]]
        for p in range(n):
            if labels[p] == partners[i]:
                weights = [(score(j) / temperature).exp() for j in (p, *negatives)]
                losses.append(sum(weights).log() - score(p) / temperature)
    return sum(losses) / len(losses)
