"""Queries with several relevant labels, against all labels: softmax, one-vs-all, decoupled softmax, soft top-k."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from common.checks import check_embeddings, check_integers, check_number
from common.distributed import global_mean, global_ratio
from common.errors import UserError
from common.losses import examples
from common.losses.precision import at_least_float32
from common.losses.registry import Example, Needs, loss
from common.losses.temperature import inverse
from common.scores import Scores

_LABELS = 9
_STEPS = 64  # at most; about eight are taken


class Listed(NamedTuple):
    """True at the columns listed for each row, (m, p); -1 pads short lists. A matrix for `Scores`."""

    columns: Tensor

    def tile(self, rows: slice, columns: slice) -> Tensor:
        width = columns.stop - columns.start
        local = self.columns[rows] - columns.start
        inside = (local >= 0) & (local < width) & (self.columns[rows] >= 0)
        # Everything that is not here is written to a column past the end, and cut off.
        marks = torch.zeros(len(local), width + 1, dtype=torch.bool, device=local.device)
        return marks.scatter(1, torch.where(inside, local, width), True)[:, :width]


class Beyond(NamedTuple):
    """True where a score is above minus the threshold of its row, or where it is not. A matrix for `Scores`."""

    scores: Scores
    threshold: Tensor
    above: bool

    @torch.no_grad()
    def tile(self, rows: slice, columns: slice) -> Tensor:
        return (self.scores.tile(rows, columns) + self.threshold[rows, None] > 0) == self.above


def _labels(n: int, seed: int) -> Example:
    draw = examples.generator(seed)
    order = torch.rand(n, _LABELS, generator=draw).argsort(dim=1)[:, :3]
    count = torch.randint(4, (n, 1), generator=draw)
    positive = torch.where(torch.arange(3) < count, order, -1)
    label = examples.unit(draw, _LABELS).requires_grad_()
    shared = {"label": label, "temperature": examples.number(0.3)}
    return Example({"query": examples.unit(draw, n)}, {"positive": positive}, shared)


def _with_ignored(n: int, seed: int) -> Example:
    example = _labels(n, seed)
    positive = example.samples["positive"]
    samples = {"positive": positive[:, :1], "ignored": positive[:, 1:]}
    return Example(example.embeddings, samples, example.shared)


def _top(n: int, seed: int) -> Example:
    example = _with_ignored(n, seed)
    return Example(example.embeddings, example.samples, {**example.shared, "k": 2, "alpha": 0.5})


def _top_each(n: int, seed: int) -> Example:
    example = _labels(n, seed)
    k = (example.samples["positive"] >= 0).sum(dim=1).clamp(min=1)
    return Example(example.embeddings, {**example.samples, "k": k}, example.shared)


def _scores(
    query: Tensor, label: Tensor, positive: Tensor, temperature: float | Tensor
) -> tuple[Scores, Tensor, Tensor]:
    """The score matrix, the positives' scores (m, p), and which of them are no padding."""
    check_embeddings(query=query, label=label)
    _check_columns("positive", positive, query, label)
    scores = Scores(query, label, scale=inverse(temperature))
    return scores, scores.pairs(positive.clamp(min=0)), positive >= 0


def _check_columns(name: str, columns: Tensor, query: Tensor, label: Tensor) -> None:
    if columns.ndim != 2 or len(columns) != len(query):
        raise UserError(f"{name} {tuple(columns.shape)}: expected columns of labels, integers ({len(query)}, p)")
    check_integers(name, columns)
    # A look would stall a GPU, which says itself that an index is out of bounds.
    if columns.device.type == "cpu" and columns.numel() and not -1 <= columns.min() <= columns.max() < len(label):
        raise UserError(
            f"{name} {columns.min()} to {columns.max()}: expected columns from 0 to {len(label) - 1}, or -1 for none"
        )


@loss(_labels, needs=Needs.NOTHING)
def multi_label_softmax(query: Tensor, label: Tensor, positive: Tensor, *, temperature: float | Tensor = 1.0) -> Tensor:
    """InfoNCE summed over the relevant labels of a query.

    mean_i sum_{p in P(i)} -log( exp(s_ip) / sum_l exp(s_il) ), s = q l / t. Its best has every positive at probability
    1/|P|: the gradient at a positive, |P| p_ip - 1, pushes a confident one down.

    Args:
        query: (n, d), normalized by the caller or not.
        label: (l, d), all labels, the same on every process.
        positive: int (n, p), columns of the relevant labels, padded with -1.
        temperature: number or 0-d tensor (learnable).

    Returns:
        The mean over the queries of all processes; those without a positive count as 0.

    Raises:
        UserError: the temperature is not above 0, or the positives are no columns of labels, a list for each query.

    Relations: `decoupled_softmax` takes the other positives out of the denominator, and divides by |P|.

    Source: Gupta et al. 2024 (DEXML), the baseline it argues against.
    """
    scores, own, real = _scores(query, label, positive, temperature)
    return global_mean((scores.logsumexp(dim=1)[:, None] - own).masked_fill(~real, 0.0).sum(dim=1))


@loss(_labels, needs=Needs.NOTHING)
def one_vs_all(query: Tensor, label: Tensor, positive: Tensor, *, temperature: float | Tensor = 1.0) -> Tensor:
    """Decides for each label by itself whether it is relevant.

    Binary cross-entropy of s = q l / t, mean over queries and labels.

    Arguments, returns and errors as for `multi_label_softmax`, divided by the number of labels.

    Relations: `sigmoid_pairwise` does it for pairs of a batch, with a bias.

    Source: Gupta et al. 2024 (DEXML), one-versus-all.
    """
    scores, own, real = _scores(query, label, positive, temperature)
    return global_ratio(scores.softplus_total() - own.masked_fill(~real, 0.0).sum(), len(query)) / len(label)


@loss(_labels, _with_ignored, needs=Needs.NOTHING)
def decoupled_softmax(
    query: Tensor,
    label: Tensor,
    positive: Tensor,
    *,
    temperature: float | Tensor = 1.0,
    ignored: Tensor | None = None,
) -> Tensor:
    """Each relevant label competes with the irrelevant ones only.

    mean_i (1 / |P(i)|) sum_{p in P(i)} -log( exp(s_ip) / ( exp(s_ip) + sum_{l not in P(i)} exp(s_il) ) ), s = q l / t.
    The gradient at a positive is never above 0.

    Args:
        query, label, positive, temperature: as for `multi_label_softmax`.
        ignored: int (n, r), further columns that are neither positive nor negative, padded with -1: with one positive
            drawn for each query, the relevant labels that were not drawn.

    Returns:
        The mean over the queries of all processes; those without a positive count as 0.

    Relations: `decoupled_nt_xent` also takes the positive itself out of its denominator; this does not.

    Source: Gupta et al. 2024 (DEXML), decoupled softmax.
    """
    scores, own, real = _scores(query, label, positive, temperature)
    negatives = scores.exclude(Listed(positive))
    if ignored is not None:
        _check_columns("ignored", ignored, query, label)
        negatives = negatives.exclude(Listed(ignored))
    terms = F.softplus(negatives.logsumexp(dim=1)[:, None] - own)
    return global_mean(_mean(terms, real))


@loss(_top, _top_each, needs=Needs.NOTHING)
def soft_top_k(
    query: Tensor,
    label: Tensor,
    positive: Tensor,
    *,
    k: int | Tensor,
    alpha: float = 2.0,
    temperature: float | Tensor = 1.0,
    ignored: Tensor | None = None,
) -> Tensor:
    """Brings the relevant labels among the k best.

    mean_i (1 / |P(i)|) sum_{p in P(i)} -log f_ip, f_il = sigmoid(alpha (s_il + h_i)), s = q l / t, with the threshold
    h_i such that sum_l f_il = k. The gradient includes how the threshold moves with the scores.

    Args:
        query, label, positive, temperature: as for `multi_label_softmax`.
        k: number, or int (n,), one for each query; below the number of labels that count.
        alpha: sharpness; large, and almost all gradients vanish.
        ignored: as for `decoupled_softmax`; those labels do not count among the k.

    Returns:
        The mean over the queries of all processes; those without a positive count as 0.

    Raises:
        UserError: k out of range, or temperature or alpha not above 0.

    Source: Gupta et al. 2024 (DEXML), soft top-k.
    """
    check_number("alpha", alpha, above=0)
    scores, own, real = _scores(query, label, positive, temperature)
    if ignored is not None:
        _check_columns("ignored", ignored, query, label)
        scores = scores.exclude(Listed(ignored))
    check_number("k", k, rows=len(query))
    if not isinstance(k, Tensor) and not 0 < k < len(label):
        raise UserError(f"k {k:g}: expected above 0, below {len(label)} labels")
    goal = torch.as_tensor(k, dtype=scores.dtype, device=query.device).expand(len(query))
    if isinstance(k, Tensor) or ignored is not None:  # else it is known without a look at the device
        _check_k(goal, scores.sum(torch.ones_like).detach())
    threshold, parted = _threshold(scores, goal, alpha, _largest(query, label, temperature).to(scores.dtype))
    if bool(parted.any()):
        sides = [Scores(query, label, scale=sign * alpha * inverse(temperature)) for sign in (-1, 1)]
        above, below = (side if ignored is None else side.exclude(Listed(ignored)) for side in sides)
        low = above.exclude(Beyond(scores, threshold.detach(), above=False)).logsumexp(dim=1)
        high = below.exclude(Beyond(scores, threshold.detach(), above=True)).logsumexp(dim=1)
        # Far from all scores a sigmoid is an exponential, and the threshold stands where those of both sides balance.
        threshold = torch.where(parted, (low - high) / (2 * alpha), threshold)
    return global_mean(_mean(F.softplus(-alpha * (own + threshold[:, None])), real))


def _check_k(goal: Tensor, number: Tensor) -> None:
    if not bool(((goal > 0) & (goal < number)).all()):  # NaN is neither
        raise UserError(f"k {goal.min():g} to {goal.max():g}: expected above 0, below {number.min():g} labels")


@torch.no_grad()
def _largest(query: Tensor, label: Tensor, temperature: float | Tensor) -> Tensor:
    """An upper bound on |s| for each query (Cauchy-Schwarz), (n,)."""
    lengths = [torch.linalg.vector_norm(at_least_float32(x), dim=1) for x in (query, label)]
    return lengths[0] * lengths[1].max() * inverse(temperature)


def _threshold(scores: Scores, goal: Tensor, alpha: float, largest: Tensor) -> tuple[Tensor, Tensor]:
    """h (m,) with sum_l sigmoid(alpha (s_l + h)) = goal, differentiable in the scores; |s| <= largest.

    And whether it parts the labels so well that no sigmoid has digits left: then any h between the two sides solves it.
    """

    def above(s: Tensor, h: Tensor) -> Tensor:
        return (s + h > 0).to(s.dtype)

    def beyond(s: Tensor, h: Tensor) -> Tensor:
        # The sigmoid less `above`: near a threshold that parts the labels well, the digits are in this rest alone.
        x = alpha * (s + h)
        return torch.where(x > 0, -torch.sigmoid(-x), torch.sigmoid(x))

    def slope(s: Tensor, h: Tensor) -> Tensor:
        x = alpha * (s + h)
        return alpha * torch.sigmoid(x) * torch.sigmoid(-x)

    with torch.no_grad():
        number = scores.sum(torch.ones_like)
        # Were all scores equal to s, h would be logit(k / n) / alpha - s.
        centre = torch.logit(goal / number) / alpha
        low, high = centre - largest, centre + largest
        h, step = (low + high) / 2, high - low
        for _ in range(_STEPS):
            excess = scores.sum(above, rows=(h,)) - goal + scores.sum(beyond, rows=(h,))
            low, high = torch.where(excess < 0, h, low), torch.where(excess < 0, high, h)
            newton = h - excess / scores.sum(slope, rows=(h,))
            # Newton's step if it stays in the bracket and is at most half the step before, else halve the bracket.
            good = (newton > low) & (newton < high) & ((newton - h).abs() < step / 2)
            following = torch.where(good, newton, (low + high) / 2)
            step, h = (following - h).abs(), following
            if bool((step <= 4 * torch.finfo(h.dtype).eps * (1 + h.abs())).all()):
                break
        steepness = scores.sum(slope, rows=(h,)).clamp(min=torch.finfo(h.dtype).tiny)
        count = scores.sum(above, rows=(h,)) - goal
        parted = (count == 0) & (steepness < alpha * torch.finfo(h.dtype).eps)
    # One more step of Newton's method, with gradient: it leaves h where it is, and its derivative is that of the h the
    # scores imply.
    return h - (count + scores.sum(beyond, rows=(h,))) / steepness, parted


def _mean(terms: Tensor, real: Tensor) -> Tensor:
    """The mean of each row over its real entries, 0 where there is none."""
    return torch.where(real, terms, 0.0).sum(dim=1) / real.sum(dim=1).clamp(min=1)
