"""Contrast of blocks written as loops."""

import math


def block_contrast(anchor, positives, *, negatives=1, form="logistic"):
    n, losses = len(anchor), []
    blocks = [sum(block) / len(block) for block in positives]
    for i in range(n):
        gaps = [anchor[i].dot(blocks[i] - blocks[(i + k) % n]) for k in range(1, min(negatives, n - 1) + 1)]
        if form == "logistic":
            losses.append((1 + sum((-gap).exp() for gap in gaps)).log() / math.log(2))
        else:
            losses.append((1 - min(gaps)).clamp(min=0))
    return sum(losses) / n
