"""NT-Xent divided by 1 - P, written as loops."""


def reweighted_nt_xent(view_a, view_b, *, temperature, weights="anchor"):
    views, n, found = [*view_a, *view_b], len(view_a), []
    for i in range(2 * n):
        positive = (views[i].dot(views[(i + n) % (2 * n)]) / temperature).exp()
        negatives = sum((views[i].dot(views[j]) / temperature).exp() for j in range(2 * n) if j % n != i % n)
        found.append((-(positive / (positive + negatives)).log(), (negatives / (positive + negatives)).detach()))
    if weights == "batch":
        return sum(loss for loss, _ in found) / sum(rest for _, rest in found)
    return sum(loss / rest for loss, rest in found) / (2 * n)
