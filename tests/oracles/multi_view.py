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
