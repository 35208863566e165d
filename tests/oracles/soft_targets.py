"""Cross-entropy against soft targets written as loops. The targets themselves are tested in test_soft_targets.py."""


def soft_target_cross_entropy(scores, targets):
    matrix = scores.matrix()
    m, n = matrix.shape
    weights = targets.tile(slice(0, m), slice(0, n))
    total = 0.0
    for i in range(m):
        mass = sum(s.exp() for s in matrix[i])
        for j in range(n):
            total = total - weights[i, j] * (matrix[i, j].exp() / mass).log()
    return total / m
