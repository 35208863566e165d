"""InfoNCE against a queue written as loops."""


def queue_info_nce(query, key, queue, *, temperature):
    losses = []
    for q, k in zip(query, key, strict=True):
        positive = (q.dot(k) / temperature).exp()
        losses.append(-(positive / (positive + sum((q.dot(u) / temperature).exp() for u in queue))).log())
    return sum(losses) / len(losses)
