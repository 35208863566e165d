"""Alignment and uniformity written as loops."""


def alignment(x, y, *, alpha=2.0):
    return sum((a - b).norm() ** alpha for a, b in zip(x, y, strict=True)) / len(x)


def uniformity(x, *, t=2.0):
    n = len(x)
    potentials = [(-t * (x[i] - x[j]).square().sum()).exp() for i in range(n) for j in range(i)]
    return (sum(potentials) / len(potentials)).log()


def cross_uniformity(x, y, *, t=2.0):
    n = len(x)
    potentials = [(-t * (x[i] - y[j]).square().sum()).exp() for i in range(n) for j in range(n) if i != j]
    return (sum(potentials) / len(potentials)).log()
