"""What holds exactly of CoDiEmb's losses, and of our reading of its fusion."""

import torch
from torch import Tensor
from torch.nn import functional as F

from common.training.soup import averaged
from papers.sentence.codiemb import fusion, losses

TEMPERATURE = 0.05
LIST_LOSSES = {"pearson": losses.pearson, "pro": losses.pro, "rank": losses.rank_kl}


def drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rows(draw: torch.Generator, *shape: int) -> Tensor:
    """Unit vectors."""
    return F.normalize(torch.randn(*shape, generator=draw, dtype=torch.float64), dim=-1)


def graded(seed: int, n: int = 12) -> tuple[Tensor, Tensor]:
    """Scores, and grades of which several are equal, (n,) each."""
    draw = drawn(seed)
    grades = torch.randint(6, (n,), generator=draw).double() / 5
    grades[0], grades[1] = 1, 0
    return torch.rand(n, generator=draw, dtype=torch.float64) * 2 - 1, grades


def several_positives(seed: int, n: int = 5, m: int = 3, h: int = 2) -> dict[str, float]:
    """The loss of several positives against one that adds up candidates one by one, and its gradients.

    Raises:
        ArithmeticError: as candidates of one another a query's positives change nothing, and the check means nothing.
    """
    draw = drawn(seed)
    query, positives, negatives = (rows(draw, *shape, 6).requires_grad_() for shape in ((n,), (n, m), (n, h)))

    def slow(others: bool) -> Tensor:
        found = []
        for i in range(n):
            for p in range(m):
                keys = [positives[j, p] for j in range(n)] + list(negatives.flatten(0, 1))
                keys += [positives[i, k] for k in range(m) if k != p] if others else []
                logits = torch.stack([query[i] @ key for key in keys]) / TEMPERATURE
                found.append(logits.logsumexp(dim=0) - logits[i])
        return torch.stack(found).mean()

    fast, expected = losses.multi_positive(query, positives, negatives, temperature=TEMPERATURE), slow(False)
    if abs(float(slow(True).detach() - expected.detach())) < 1e-3:
        raise ArithmeticError("other positives of a query change nothing")
    inputs = (query, positives, negatives)
    slopes = [torch.cat([g.flatten() for g in torch.autograd.grad(loss, inputs)]) for loss in (fast, expected)]
    return {
        "loss": abs(float(fast.detach() - expected.detach())),
        "gradient": float((slopes[0] - slopes[1]).abs().max()),
    }


def order_of_a_batch(seed: int) -> dict[str, float]:
    """By how much each loss on pairs changes with their order; and what Pearson and PRO are where grades are equal."""
    scores, grades = graded(seed)
    order = torch.randperm(len(scores), generator=drawn(seed + 1))
    found = {
        f"{name}, another order": abs(float(loss(scores, grades) - loss(scores[order], grades[order])))
        for name, loss in LIST_LOSSES.items()
    }
    ranked, rank = grades.sort().values, scores.argsort().argsort()
    for name, loss in LIST_LOSSES.items():
        if float(loss(scores, ranked.flip(0)[rank]) - loss(scores, ranked[rank])) < 1e-3:
            raise ArithmeticError(f"{name} does not see which grade is whose")
    equal = torch.full_like(grades, 0.4)
    return found | {
        f"{name}, equal grades": abs(float(LIST_LOSSES[name](scores, equal))) for name in ("pearson", "pro")
    }


def best_scores(seed: int) -> dict[str, float]:
    """RankKL where the scores are the ideal ones and a constant, and its slope there; and of n times the divergence."""
    scores, grades = graded(seed)
    ideal = (losses.ideal_scores(grades) - 0.3).requires_grad_()
    loss = losses.rank_kl(ideal, grades)
    target, predicted = (torch.softmax(x / TEMPERATURE, dim=0) for x in (losses.ideal_scores(grades), scores))
    divergence = (target * (target / predicted).log()).sum()
    return {
        "loss": abs(float(loss.detach())),
        "gradient": float(torch.autograd.grad(loss, ideal)[0].abs().max()),
        "a share of the divergence": abs(float(len(scores) * losses.rank_kl(scores, grades) - divergence)),
    }


def fused(seed: int, checkpoints: int = 3) -> dict[str, float]:
    """Equal distances give the soup, a checkpoint at the start has no weight, and tensors have weights of their own.

    Raises:
        ArithmeticError: at other distances it is the soup as well, and the check means nothing.
    """
    draw = drawn(seed)
    start = {name: torch.randn(4, 3, generator=draw, dtype=torch.float64) for name in ("first", "second")}

    def state(**distance: float) -> dict[str, Tensor]:
        steps = {name: F.normalize(torch.randn(12, generator=draw).double(), dim=0).view(4, 3) for name in start}
        return {name: start[name] + distance[name] * steps[name] for name in start}

    def gap(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
        return max(float((one[name] - other[name]).abs().max()) for name in start)

    alike = [state(first=0.5, second=2.0) for _ in range(checkpoints)]
    far, near = state(first=3.0, second=1.0), state(first=1.0, second=1.0)
    both = fusion.delta_guided([far, near], start)
    if gap(both, averaged([far, near])) < 1e-3:
        raise ArithmeticError("distances do not count")
    expected = {"first": (3 * far["first"] + near["first"]) / 4, "second": (far["second"] + near["second"]) / 2}
    return {
        "equal distances": gap(fusion.delta_guided(alike, start), averaged(alike)),
        "a checkpoint at the start": gap(fusion.delta_guided([far, start], start), far),
        "weights by tensor": gap(both, expected),
        "nothing moved": gap(fusion.delta_guided([start, start], start), start),
    }
