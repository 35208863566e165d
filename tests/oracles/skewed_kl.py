"""Skewed divergences written as loops."""


def _mean(student, teacher, mask, divergence):
    sequences = []
    for i in range(len(student)):
        tokens = [
            divergence(teacher[i, t].softmax(0), student[i, t].softmax(0))
            for t in range(student.shape[1])
            if mask is None or mask[i, t]
        ]
        if tokens:
            sequences.append(sum(tokens) / len(tokens))
    return sum(sequences) / len(sequences)


def _kl(a, b):
    return sum(x * (x / y).log() for x, y in zip(a, b, strict=True))


def skewed_kl(student, teacher, *, alpha=0.1, mask=None):
    return _mean(student, teacher, mask, lambda p, q: _kl(p, alpha * p + (1 - alpha) * q))


def skewed_reverse_kl(student, teacher, *, alpha=0.1, mask=None, stop_gradient=False):
    def divergence(p, q):
        return _kl(q, (1 - alpha) * p + alpha * (q.detach() if stop_gradient else q))

    return _mean(student, teacher, mask, divergence)
