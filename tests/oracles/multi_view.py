"""Multi-view InfoNCE written as loops."""


def multi_view_info_nce(views, *, temperature, graph="full"):
    n, v, _ = views.shape
    total = 0.0
    for a in range(v):
        for b in range(v):
            if a == b or (graph == "core" and 0 not in (a, b)):
                continue
            for i in range(n):
                terms = [(views[i, a].dot(views[j, b]) / temperature).exp() for j in range(n)]
                total = total - (terms[i] / sum(terms)).log() / n
    return total


def cross_view_info_nce(first, second, *, temperature, label_smoothing=0.0):
    n, v, w, total = len(first), first.shape[1], second.shape[1], 0.0
    for a in range(v):
        for b in range(w):
            logits = [[first[i, a].dot(second[j, b]) / temperature for j in range(n)] for i in range(n)]
            for i in range(n):
                for row in (logits[i], [logits[j][i] for j in range(n)]):
                    target = (1 - label_smoothing) * row[i] + label_smoothing * sum(row) / n
                    total = total + (sum(logit.exp() for logit in row).log() - target) / (2 * n * v * w)
    return total
