"""The pairwise sigmoid loss written as loops."""

import torch


def sigmoid_pairwise(query, key, *, scale, bias, ids=None):
    n, total = len(query), 0.0
    for i in range(n):
        for j in range(n):
            positive = i == j if ids is None else ids[i] == ids[j]
            sign = 1.0 if positive else -1.0
            total = total - torch.sigmoid(sign * (scale * query[i].dot(key[j]) + bias)).log()
    return total / n
