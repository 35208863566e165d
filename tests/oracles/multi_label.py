"""Multi-label losses written as loops."""

import torch


def _each(query, label, positive, temperature, ignored=None):
    """For each query: its scores, its positives, and the labels that count."""
    for i in range(len(query)):
        scores = [query[i].dot(x) / temperature for x in label]
        positives = [j for j in positive[i].tolist() if j >= 0]
        out = [] if ignored is None else ignored[i].tolist()
        yield scores, positives, [j for j in range(len(label)) if j not in out]


def multi_label_softmax(query, label, positive, *, temperature=1.0):
    total = torch.zeros(()).double()
    for scores, positives, _ in _each(query, label, positive, temperature):
        for j in positives:
            total = total - (scores[j].exp() / sum(s.exp() for s in scores)).log()
    return total / len(query)


def one_vs_all(query, label, positive, *, temperature=1.0):
    total = torch.zeros(()).double()
    for scores, positives, _ in _each(query, label, positive, temperature):
        for j, s in enumerate(scores):
            total = total - torch.sigmoid(s if j in positives else -s).log()
    return total / (len(query) * len(label))


def decoupled_softmax(query, label, positive, *, temperature=1.0, ignored=None):
    total = torch.zeros(()).double()
    for scores, positives, counted in _each(query, label, positive, temperature, ignored):
        rest = sum(scores[j].exp() for j in counted if j not in positives)
        for j in positives:
            total = total - (scores[j].exp() / (scores[j].exp() + rest)).log() / len(positives)
    return total / len(query)


def _threshold(scores, k, alpha):
    """By bisection, then one step of Newton's method for the gradient."""

    def excess(at):
        return sum(torch.sigmoid(alpha * (s + at)) for s in scores) - k

    plain, fixed = [s.item() for s in scores], [s.detach() for s in scores]
    low, high = -max(plain) - 50 / alpha, -min(plain) + 50 / alpha
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle).item() < 0 else (low, middle)
    slope = sum(alpha * torch.sigmoid(alpha * (s + low)) * torch.sigmoid(-alpha * (s + low)) for s in fixed)
    return low - excess(low) / slope


def soft_top_k(query, label, positive, *, k, alpha=2.0, temperature=1.0, ignored=None):
    total = torch.zeros(()).double()
    for i, (scores, positives, counted) in enumerate(_each(query, label, positive, temperature, ignored)):
        threshold = _threshold([scores[j] for j in counted], k if isinstance(k, int) else int(k[i]), alpha)
        for j in positives:
            total = total - torch.sigmoid(alpha * (scores[j] + threshold)).log() / len(positives)
    return total / len(query)
