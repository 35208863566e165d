"""Losses on lists of candidates, written as loops."""


def listwise_kl(scores, teacher, *, temperature=1.0, teacher_temperature=1.0, mask=None):
    total = 0.0
    for i in range(len(scores)):
        real = [j for j in range(scores.shape[1]) if mask is None or mask[i, j]]
        p = (teacher[i, real] / teacher_temperature).softmax(0)
        q = (scores[i, real] / temperature).softmax(0)
        total = total + sum(a * (a / b).log() for a, b in zip(p, q, strict=True))
    return total / len(scores)


def _circle(positives, negatives, margin, gamma):
    up = sum((-gamma * max(0.0, 1 + margin - s.item()) * (s - (1 - margin))).exp() for s in positives)
    down = sum((gamma * max(0.0, s.item() + margin) * (s - margin)).exp() for s in negatives)
    return (1 + up * down).log()


def circle_list(scores, positive, *, margin, gamma, mask=None):
    losses = []
    for i in range(len(scores)):
        real = [j for j in range(scores.shape[1]) if mask is None or mask[i, j]]
        ups, downs = [scores[i, j] for j in real if positive[i, j]], [scores[i, j] for j in real if not positive[i, j]]
        if ups and downs:
            losses.append(_circle(ups, downs, margin, gamma))
    return sum(losses) / len(losses)


def circle(embeddings, labels, *, margin, gamma):
    n, losses = len(embeddings), []
    for i in range(n):
        scores = {j: embeddings[i].dot(embeddings[j]) for j in range(n) if j != i}
        ups = [s for j, s in scores.items() if labels[j] == labels[i]]
        downs = [s for j, s in scores.items() if labels[j] != labels[i]]
        if ups and downs:
            losses.append(_circle(ups, downs, margin, gamma))
    return sum(losses) / len(losses)
