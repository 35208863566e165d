"""The contrastive loss of metric learning written as loops."""


def contrastive_margin(embeddings, labels, *, margin):
    n = len(embeddings)
    pulls, pushes = [], []
    for i in range(n):
        for j in range(n):
            if i == j:
                continue
            distance = (embeddings[i] - embeddings[j]).norm()
            if labels[i] == labels[j]:
                pulls.append(distance)
            elif distance < margin:
                pushes.append(margin - distance)
    return sum(sum(costs) / len(costs) if costs else 0.0 for costs in (pulls, pushes))
