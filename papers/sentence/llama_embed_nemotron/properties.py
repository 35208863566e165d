"""What holds exactly of the four denominators."""

import math
from typing import get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from papers.sentence.llama_embed_nemotron.denominators import ABOVE, Denominator, contrast

TEMPERATURE = 0.1


def batch(seed: int, n: int = 6, h: int = 3, d: int = 8) -> dict[str, Tensor]:
    """Unit vectors of queries, positives and mined negatives, alike enough for the mask of Qwen3, and ids, of which two
    are equal."""
    draw = torch.Generator().manual_seed(seed)
    base = torch.randn(d, generator=draw, dtype=torch.float64)

    def rows(*shape: int) -> Tensor:
        return F.normalize(torch.randn(*shape, d, generator=draw, dtype=torch.float64) + base, dim=-1)

    ids = torch.arange(n)
    ids[-1] = 0
    return {"query": rows(n), "positive": rows(n), "hard": rows(n, h), "ids": ids}


def members(denominator: Denominator, i: int, x: dict[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
    """The pairs whose scores stand beside the positive's in the denominator of query i, one by one."""
    q, d, hard, ids = x["query"], x["positive"], x["hard"], x["ids"].tolist()
    found = [(q[i], negative) for negative in hard[i]]
    others = [j for j in range(len(q)) if ids[j] != ids[i]]
    if denominator != "hard":
        found += [(q[i], d[j]) for j in others]
    if denominator in ("gecko", "qwen3"):
        found += [(q[i], q[j]) for j in others]
    if denominator == "qwen3":
        found += [(d[i], d[j]) for j in others]
        found += [(d[i], negative) for j in range(len(q)) for negative in hard[j]]
        found = [pair for pair in found if float(pair[0] @ pair[1]) <= float(q[i] @ d[i]) + ABOVE]
    return found


def membership(seed: int) -> dict[str, float]:
    """Each denominator's loss against one that adds up its pairs one by one, and its gradients."""
    found = {}
    for denominator in get_args(Denominator):
        x = batch(seed)
        rows = [x[name].requires_grad_() for name in ("query", "positive", "hard")]
        loss = contrast(**x, temperature=TEMPERATURE, denominator=denominator)
        by_query = []
        for i in range(len(x["query"])):
            positive = x["query"][i] @ x["positive"][i]
            scores = [positive, *(a @ b for a, b in members(denominator, i, x))]
            by_query.append(torch.stack(scores).div(TEMPERATURE).logsumexp(dim=0) - positive / TEMPERATURE)
        slow = torch.stack(by_query).mean()
        found[f"loss, {denominator}"] = abs(float(loss.detach() - slow.detach()))
        slopes = [torch.cat([g.flatten() for g in torch.autograd.grad(value, rows)]) for value in (loss, slow)]
        found[f"gradient, {denominator}"] = float((slopes[0] - slopes[1]).abs().max())
    return found


def rows_alone(seed: int) -> dict[str, float]:
    """Hard negatives alone: the loss of a batch is the mean of its rows', and so is its gradient; others' are not."""
    x = batch(seed)
    query = x["query"].requires_grad_()

    def gap(denominator: Denominator) -> tuple[float, float]:
        whole = contrast(**x, temperature=TEMPERATURE, denominator=denominator)
        rows = [{name: value[i : i + 1] for name, value in x.items()} for i in range(len(query))]
        alone = torch.stack([contrast(**row, temperature=TEMPERATURE, denominator=denominator) for row in rows]).mean()
        slopes = [torch.autograd.grad(value, query)[0] for value in (whole, alone)]
        return abs(float(whole.detach() - alone.detach())), float((slopes[0] - slopes[1]).abs().max())

    if gap("gemini")[0] < 0.01:
        raise ArithmeticError("other rows do not count in any denominator, and the check means nothing")
    loss, gradient = gap("hard")
    return {"loss": loss, "gradient": gradient}


def order(seed: int) -> dict[str, float]:
    """By how much a loss falls short of one with fewer terms; without the mask of Qwen3, which takes some away."""
    x, losses = batch(seed), []
    for denominator in ("hard", "gemini", "gecko"):
        losses.append(float(contrast(**x, temperature=TEMPERATURE, denominator=denominator)))
    steps = zip(("gemini", "gecko"), losses[:-1], losses[1:], strict=True)
    short = {f"{name} below what it adds to": max(0.0, less - more) for name, less, more in steps}
    if not losses[0] < losses[1] < losses[2] < math.inf:
        raise ArithmeticError(f"the losses are {losses}: the terms add nothing, and the check means nothing")
    return short
