"""InfoNCE written as loops."""

import torch


def _log_sum(terms):
    return torch.stack(terms).exp().sum().log()


def _one_way(query, key, temperature, ids, ignore_ids, label_smoothing, margin, extra=None, weights=None):
    """The loss of each query; `extra` gives the further logits of query i."""
    n, losses = len(query), []
    for i in range(n):
        logits, candidates, positives = [], [], []
        for j in range(n):
            positive = i == j if ids is None else ids[i] == ids[j]
            logit = query[i].dot(key[j]) / temperature[i][j] - (margin if positive else 0.0)
            logits.append(logit)
            if ignore_ids is not None and i != j and ignore_ids[i] == ignore_ids[j]:
                continue
            candidates.append(logit + (0.0 if weights is None else weights[i][j]))
            if positive:
                positives.append(logit)
        total = _log_sum(candidates + ([] if extra is None else extra(i)))
        hit = total - sum(positives) / len(positives)
        smooth = total - sum(logits) / n
        losses.append((1 - label_smoothing) * hit + label_smoothing * smooth)
    return sum(losses) / n


def _by_pair(temperature, n):
    each = temperature.expand(n) if torch.is_tensor(temperature) else torch.full((n,), temperature)
    return [[each[i]] * n for i in range(n)]


def info_nce(
    query,
    key,
    *,
    temperature,
    ids=None,
    ignore_ids=None,
    hard_negatives=None,
    queue=None,
    log_weights=None,
    label_smoothing=0.0,
    margin=0.0,
):
    n = len(query)
    by_pair = _by_pair(temperature, n)

    def extra(i):
        logits = []
        if hard_negatives is not None:
            for owner in range(n):
                for vector in hard_negatives.key[owner]:
                    if owner == i:
                        logits.append(query[i].dot(vector) / by_pair[i][0] + hard_negatives.log_weight)
                    elif hard_negatives.scope == "all":
                        logits.append(query[i].dot(vector) / by_pair[i][0])
        return logits + [query[i].dot(vector) / by_pair[i][0] for vector in (queue if queue is not None else ())]

    return _one_way(query, key, by_pair, ids, ignore_ids, label_smoothing, margin, extra, log_weights)


def symmetric_info_nce(
    query, key, *, temperature, ids=None, ignore_ids=None, label_smoothing=0.0, margin=0.0, directions="mean"
):
    by_pair = _by_pair(temperature, len(query))
    transposed = [list(column) for column in zip(*by_pair, strict=True)]
    both = _one_way(query, key, by_pair, ids, ignore_ids, label_smoothing, margin) + _one_way(
        key, query, transposed, ids, ignore_ids, label_smoothing, margin
    )
    return both if directions == "sum" else both / 2
