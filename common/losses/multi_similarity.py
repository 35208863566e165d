"""Multi-similarity loss: within an anchor's positives and its negatives, the hard ones weigh most."""

import torch
from torch import Tensor
from torch.nn import functional as F

from common.checks import check_embeddings, check_ids, check_number
from common.distributed import Exchange, global_mean
from common.losses import examples
from common.losses.registry import Example, Needs, loss
from common.scores import Scores

_NONE = -1e30
"""For the log of an empty sum, whose -inf would give a gradient of NaN."""


def _classes(n: int, seed: int) -> Example:
    example = examples.labelled(n, seed)
    return Example(example.embeddings, example.samples, {"pull": 2.0, "push": 20.0, "base": 0.5})


@loss(_classes, needs=Needs.KEYS)
def multi_similarity(
    embeddings: Tensor,
    labels: Tensor,
    *,
    pull: float = 2.0,
    push: float = 50.0,
    base: float = 0.5,
    exchange: Exchange = Exchange.GATHER,
) -> Tensor:
    """Two soft hinges an anchor: positives should lie above the base similarity, negatives below it.

    For each anchor a with positives P and negatives N, and s the inner product,
    log[1 + sum_{p in P} exp(-pull (s_ap - base))] / pull + log[1 + sum_{n in N} exp(push (s_an - base))] / push.

    Args:
        embeddings: (n, d), normalized by the caller.
        labels: int (n,); no sample is its own positive.
        pull: alpha of its paper, above 0: how much more a far positive weighs than a near one.
        push: beta of its paper, above 0: how much more a near negative weighs than a far one.
        base: lambda of its paper, a similarity.
        exchange: which embeddings an anchor meets on several processes.

    Returns:
        The mean over the anchors of all processes, those without a positive included. The pair mining that its authors
        put before it is left out.

    Raises:
        UserError: a number out of range, or labels that do not fit the embeddings.

    Relations: with pull and push to infinity it is the hinge on the hardest positive and the hardest negative.

    Source: Wang et al. 2019 (Multi-Similarity Loss), eq. 15.
    """
    check_number("pull", pull, above=0)
    check_number("push", push, above=0)
    check_number("base", base)
    check_embeddings(embeddings=embeddings)
    check_ids("labels", labels, len(embeddings))

    def one_side(sharpness: float, excluded: str) -> Tensor:
        scores = Scores(embeddings, embeddings, scale=sharpness, bias=-sharpness * base, exchange=exchange)
        if excluded == "positives":
            kept = scores.exclude(scores.equal(labels, labels))  # and the anchor itself
        else:
            kept = scores.exclude(scores.own()).exclude(scores.pairwise(torch.ne, (labels,), (labels,)))
        return F.softplus(kept.logsumexp(dim=1).clamp(min=_NONE)) / abs(sharpness)

    return global_mean(one_side(-pull, "negatives") + one_side(push, "positives"))
