"""Hinge losses written as loops."""


def pairwise_hinge(query, key, *, margin, ids=None, hard_negatives=None, hardest=True, symmetric=True):
    n, total = len(query), 0.0
    for anchors, others in ((query, key), (key, query))[: 2 if symmetric else 1]:
        for i in range(n):
            positive = anchors[i].dot(others[i])
            costs = [
                (margin + anchors[i].dot(others[j]) - positive).clamp(min=0.0)
                for j in range(n)
                if (i != j if ids is None else ids[i] != ids[j])
            ]
            if hard_negatives is not None and anchors is query:
                costs += [
                    (margin + anchors[i].dot(other) - positive).clamp(min=0.0) for other in hard_negatives.flatten(0, 1)
                ]
            if costs:
                total = total + (max(costs) if hardest else sum(costs))
    return total / n
