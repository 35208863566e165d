"""Barlow Twins written as loops."""


def barlow_twins(view_a, view_b, *, weight=0.0051, eps=1e-5):
    n, d = view_a.shape

    def standardized(column):
        mean = sum(column) / n
        variance = sum((x - mean) ** 2 for x in column) / n
        return [(x - mean) / (variance + eps) ** 0.5 for x in column]

    ours, theirs = ([standardized(view[:, k]) for k in range(d)] for view in (view_a, view_b))
    total = 0.0
    for k in range(d):
        for m in range(d):
            correlation = sum(x * y for x, y in zip(ours[k], theirs[m], strict=True)) / n
            total = total + ((1 - correlation) ** 2 if k == m else weight * correlation**2)
    return total
