"""Agreement with targets and with similar pairs, written as loops."""


def self_labelled(query, key, *, weight, above=0.8, below=None, form="distance", among=None):
    losses = []
    for i, q in enumerate(query):
        cosines = [q.dot(k) for k in key]
        total = together(cosines[i], form)
        for j, s in enumerate(cosines):
            if i == j:
                continue
            if s >= above and (among is None or among[i, j]):
                total = total + weight * together(s, form)
            if below is not None and s <= below:
                total = total + weight * apart(s, form)
        losses.append(total)
    return sum(losses) / len(losses)


def together(s, form):
    return 2 - 2 * s if form == "distance" else -s.clamp(min=1e-4).log()


def apart(s, form):
    return -(2 - 2 * s) if form == "distance" else -(1 - s).clamp(min=1e-4).log()
