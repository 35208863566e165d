"""SupCon written as loops."""


def sup_con(embeddings, labels, *, temperature, positives="out"):
    n, losses = len(embeddings), []
    for i in range(n):
        others = [j for j in range(n) if j != i]
        same = [j for j in others if labels[j] == labels[i]]
        if not same:
            continue
        weight = {j: (embeddings[i].dot(embeddings[j]) / temperature).exp() for j in others}
        shares = [weight[j] / sum(weight.values()) for j in same]
        if positives == "out":
            losses.append(-sum(share.log() for share in shares) / len(same))
        else:
            losses.append(-(sum(shares) / len(same)).log())
    return sum(losses) / len(losses)
