"""What holds exactly of CWM: which way its gradients point, and where full-batch training comes to rest."""

import torch
from torch import Tensor
from torch.nn import functional as F

from common.sampling.noise import UnigramNoise
from papers.sentence.cwm_analogies.module import CWM

WORDS, DIM = 20, 5
ACTIVE = 3.0
"""A margin above the sum of both weights: no term is ever 0."""
STEPS = 150
WEIGHTS = ((1.0, 1.0), (0.8, 1.2))
"""Of the positive and the negative. Where the positive outweighs noise all words end up in one direction."""


def world(seed: int, words: int = WORDS) -> tuple[Tensor, Tensor]:
    """Counts of (neighbour, centre), of which no word is beside itself, and shares of noise, in float64."""
    draw = torch.Generator().manual_seed(seed)
    counts = torch.randint(0, 30, (words, words), generator=draw).double().fill_diagonal_(0)
    noise = UnigramNoise(words)
    noise.count(counts.sum(dim=0) + counts.sum(dim=1))
    return counts, noise.shares()


def method(seed: int, words: int = WORDS, **arguments) -> CWM:
    torch.manual_seed(seed)
    return CWM(words=words, dim=DIM, negatives=1, **arguments).double()


def expected_loss(cwm: CWM, counts: Tensor, shares: Tensor) -> Tensor:
    """The loss by which CWM is trained, over all pairs and all words of noise, each as often as it comes."""
    u, v, n = (index.flatten() for index in torch.meshgrid(*[torch.arange(len(counts))] * 3, indexing="ij"))
    return (counts[u, v] * shares[n] * cwm.contrast(u, v, n[:, None])).sum()


def company(rows: Tensor, counts: Tensor, shares: Tensor, positive: float, negative: float) -> Tensor:
    """g_w of each word: the other words' unit vectors by how much more they come with it than noise does, (n, d).

    Noise that is the centre itself is passed over: a pair (u, v) counts as often as noise is another word than v, and
    noise v meets the pairs of u with other words than v.
    """
    pull = positive * counts * (1 - shares)
    push = negative * (counts.sum(dim=1, keepdim=True) - counts) * shares
    weight = pull - push
    # As neighbour and as centre; a word's cosine with itself, from noise that is the neighbour, has no slope.
    return (weight + weight.T).fill_diagonal_(0) @ F.normalize(rows, dim=1)


def orthogonality(seed: int) -> dict[str, float]:
    """The cosine of each gradient with its own vector, for hinges that are active and by the released margin."""
    found = {}
    for name, arguments in (("active", {"margin": ACTIVE}), ("released", {"margin": 0.15})):
        cwm = method(seed, **arguments)
        with torch.no_grad():
            cwm.vectors.weight.mul_(torch.linspace(0.1, 10, WORDS, dtype=torch.float64)[:, None])
        u, v, n = torch.arange(WORDS).roll(1), torch.arange(WORDS), torch.arange(WORDS).roll(3)
        (gradient,) = torch.autograd.grad(cwm.contrast(u, v, n[:, None]).sum(), cwm.vectors.weight)
        if not bool(gradient.any()):
            raise ArithmeticError("no term is active, and there is nothing to look at")
        found[name] = float(F.cosine_similarity(gradient, cwm.vectors.weight, dim=1).abs().max())
    return found


def stationarity(seed: int) -> dict[str, float]:
    """1 - the least cos(w, g_w) after full-batch training with the hinge always active."""
    found = {}
    for positive, negative in WEIGHTS:
        counts, shares = world(seed)
        cwm = method(seed, margin=ACTIVE, positive_weight=positive, negative_weight=negative)
        rows = cwm.vectors.weight
        optimizer = torch.optim.LBFGS(
            [rows], max_iter=STEPS, tolerance_grad=1e-10, tolerance_change=0, line_search_fn="strong_wolfe"
        )

        def closure(cwm: CWM = cwm, given: tuple[Tensor, Tensor] = (counts, shares)) -> Tensor:
            cwm.zero_grad()
            loss = expected_loss(cwm, *given) / given[0].sum()
            loss.backward()
            return loss

        optimizer.step(closure)
        if float(torch.linalg.svdvals(F.normalize(rows.detach(), dim=1))[1]) < 1:
            raise ArithmeticError("all words have ended up on one line, where nothing could be wrong")
        pulled = company(rows.detach(), counts, shares, positive, negative)
        cosine = F.cosine_similarity(rows.detach(), pulled, dim=1)
        found[f"direction, weights {positive} and {negative}"] = float(1 - cosine.min())
    return found


def gradient(seed: int) -> dict[str, float]:
    """The gradient of the expected loss against -g_w less its part along w, over |w|, relative to the largest entry."""
    found = {}
    for positive, negative in WEIGHTS:
        counts, shares = world(seed, 15)
        cwm = method(seed, 15, margin=ACTIVE, positive_weight=positive, negative_weight=negative)
        rows = cwm.vectors.weight
        (slope,) = torch.autograd.grad(expected_loss(cwm, counts, shares), rows)
        unit, pulled = F.normalize(rows, dim=1).detach(), company(rows.detach(), counts, shares, positive, negative)
        closed = -(pulled - (pulled * unit).sum(dim=1, keepdim=True) * unit) / rows.detach().norm(dim=1, keepdim=True)
        found[f"weights {positive} and {negative}"] = float((slope - closed).abs().max() / closed.abs().max())
    return found
