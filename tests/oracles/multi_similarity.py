"""The multi-similarity loss written as loops."""


def multi_similarity(embeddings, labels, *, pull, push, base):
    n, total = len(embeddings), 0.0
    for i in range(n):
        positives = negatives = 0.0 * embeddings[i].sum()
        for j in range(n):
            similarity = embeddings[i].dot(embeddings[j])
            if labels[i] != labels[j]:
                negatives = negatives + (push * (similarity - base)).exp()
            elif i != j:
                positives = positives + (-pull * (similarity - base)).exp()
        total = total + (1 + positives).log() / pull + (1 + negatives).log() / push
    return total / n
