"""SupCon with mixtures and weights by distance (SupReMix), written as loops."""


def supremix(embeddings, labels, *, temperature, shares=None, window=None, weight="linear"):
    """`shares` mixes negatives, an anchor's own share in its mixture with each row; `window` mixes positives."""
    n, losses = len(embeddings), []
    labels = [int(label) for label in labels]

    def factor(distance):
        return {"none": 1.0, "linear": abs(distance) + 1.0, "square": distance**2 + 1.0}[weight]

    for i in range(n):
        y, candidates, positives = labels[i], [], []
        for a in range(n):
            if a != i:
                score = embeddings[i].dot(embeddings[a]) / temperature
                candidates.append((score, factor(labels[a] - y)))
                if labels[a] == y:
                    positives.append(score)
        constant = embeddings.detach()
        for k in range(n if shares is not None else 0):
            if labels[k] != y:
                share = float(shares[i, k])
                mixture = share * constant[i] + (1 - share) * constant[k]
                score = embeddings[i].dot(mixture) / temperature
                candidates.append((score, factor(share * y + (1 - share) * labels[k] - y)))
        for j in range(n if window is not None else 0):
            for k in range(n):
                if labels[j] < y < labels[k] and y - labels[j] < window and labels[k] - y < window:
                    share = (labels[k] - y) / (labels[k] - labels[j])
                    mixture = share * constant[j] + (1 - share) * constant[k]
                    score = embeddings[i].dot(mixture) / temperature
                    candidates.append((score, 1.0))
                    positives.append(score)
        if positives:
            top = max(float(score.detach()) for score, _ in candidates)
            total = sum(w * (score - top).exp() for score, w in candidates)
            losses.append(total.log() + top - sum(positives) / len(positives))
    return sum(losses) / len(losses) if losses else 0.0 * embeddings.sum()
