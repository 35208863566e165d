"""NT-Xent and its decoupled form written as loops."""

import torch


def nt_xent(view_a, view_b, *, temperature):
    views, n, losses = [*view_a, *view_b], len(view_a), []
    for i in range(2 * n):
        logits = [views[i].dot(views[j]) / temperature for j in range(2 * n) if j != i]
        positive = views[i].dot(views[(i + n) % (2 * n)]) / temperature
        losses.append(-(positive.exp() / sum(logit.exp() for logit in logits)).log())
    return sum(losses) / (2 * n)


def decoupled_nt_xent(view_a, view_b, *, temperature, sigma=None):
    views, n, losses = [*view_a, *view_b], len(view_a), []
    pulls = [torch.ones(()).double() for _ in range(n)]
    if sigma is not None:
        raw = [(view_a[i].dot(view_b[i]) / sigma).exp() for i in range(n)]
        pulls = [2 - value / (sum(raw) / n) for value in raw]
    for i in range(2 * n):
        negatives = sum((views[i].dot(views[j]) / temperature).exp() for j in range(2 * n) if j % n != i % n)
        losses.append(negatives.log() - pulls[i % n] * views[i].dot(views[(i + n) % (2 * n)]) / temperature)
    return sum(losses) / (2 * n)
