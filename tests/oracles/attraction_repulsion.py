"""CACR's loss written as loops."""


def _expected(costs, sharpness, detached):
    weights = [(sharpness * cost).exp() for cost in costs]
    weights = [weight / sum(weights) for weight in weights]
    return sum((w.detach() if detached else w) * cost for w, cost in zip(weights, costs, strict=True))


def attraction_repulsion(views, *, attraction, repulsion, detached=False):
    n, v, _ = views.shape

    def cost(i, a, j, b):
        return 2 - 2 * views[i, a].dot(views[j, b])

    pull = push = 0.0
    for i in range(n):
        for a in range(v):
            pull = pull + _expected([cost(i, a, i, b) for b in range(v) if b != a], attraction, detached) / (n * v)
            for b in range(a + 1, v):
                costs = [cost(i, a, j, b) for j in range(n) if j != i]
                push = push + _expected(costs, -repulsion, detached) / (n * v * (v - 1) / 2)
    return pull - push
