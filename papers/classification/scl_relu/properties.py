"""What the paper proves of free features of unit length, checked in float64.

A row of `h`, (n, d), is the feature of one example. The loss of a batch is the sum of SupCon's over its anchors that
have a positive, that of a family of batches the sum over them.
"""

import math
from collections.abc import Sequence

import torch
from scipy.sparse.csgraph import connected_components
from torch import Tensor
from torch.nn import functional as F

from common.evaluation.class_means import class_means, frame_distance
from common.losses import sup_con
from common.sampling.labels import BatchBindingSampler

SIZES = ((40, 40, 4, 4), (30, 12, 5, 2), (15, 15, 15))
TAUS = (1.0, 0.5)
DIM = 12


def labels_of(sizes: Sequence[int]) -> Tensor:
    return torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))


def loss(h: Tensor, labels: Tensor, tau: float, family: Sequence[Tensor] | None = None) -> Tensor:
    """Of a family of batches, each the positions of its examples; by default one batch of all."""
    total = h.new_zeros(())
    for batch in family if family is not None else [torch.arange(len(h))]:
        own = labels[batch]
        anchors = int((own.bincount()[own] > 1).sum())
        total = total + anchors * sup_con(h[batch], own, temperature=tau)
    return total


def least(labels: Tensor, tau: float, family: Sequence[Tensor] | None = None) -> float:
    """The bound: the sum over batches and their classes of two and more of n_c log(n_c - 1 + (n - n_c) e^(-1/tau))."""
    total = 0.0
    for batch in family if family is not None else [torch.arange(len(labels))]:
        counts = labels[batch].bincount().tolist()
        total += sum(c * math.log(c - 1 + (len(batch) - c) * math.exp(-1 / tau)) for c in counts if c > 1)
    return total


def frame(labels: Tensor) -> Tensor:
    """Features at the bound: each class one of the axes."""
    return torch.eye(DIM, dtype=torch.float64)[labels]


def drawn(seed: int, n: int) -> Tensor:
    """Features that are at least 0, most of their entries small."""
    draw = torch.Generator().manual_seed(seed)
    raw = torch.randn(n, DIM, generator=draw, dtype=torch.float64).abs()
    return F.normalize(raw ** (1 + seed % 3), dim=1)


def fixed_batches(labels: Tensor, seed: int) -> list[Tensor]:
    """Two halves by chance; a class may have one example in a batch, or none."""
    return [*torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed)).chunk(2)]


def bound_batches(labels: Tensor, seed: int, batch_size: int = 16) -> list[Tensor]:
    """The batches of an epoch of the sampler, the same in every other; what does not fill one is in none."""
    sampler = BatchBindingSampler(labels, batch_size, seed, reshuffle=False)
    return [torch.tensor(batch) for batch in sampler]


def descended(
    seed: int, labels: Tensor, tau: float, *, constrained: bool, family: Sequence[Tensor] | None = None
) -> Tensor:
    """Where L-BFGS ends from a random start; features at least 0 are squares, normalized."""
    x = torch.randn(len(labels), DIM, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    x.requires_grad_()
    optimizer = torch.optim.LBFGS(
        [x], max_iter=200, tolerance_grad=1e-9, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def features() -> Tensor:
        return F.normalize(x.square() if constrained else x, dim=1)

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(features(), labels, tau, family)
        value.backward()
        return value

    optimizer.step(closure)
    return features().detach()


def never_below(seed: int) -> dict[str, float]:
    """By how much the loss of features that are at least 0 is below the bound, and how far from it it is at the frame.

    Of random features, of the frame moved a little, and of ones on the way from the first to the second; over the
    whole set and over fixed batches. Relative to the bound.
    """
    below, at_frame = 0.0, 0.0
    for sizes in SIZES:
        labels = labels_of(sizes)
        h, ideal = drawn(seed, len(labels)), frame(labels)
        for tau in (*TAUS, 0.1):
            for family in (None, fixed_batches(labels, seed)):
                bound = least(labels, tau, family)
                at_frame = max(at_frame, abs(float(loss(ideal, labels, tau, family)) / bound - 1))
                for share in (1.0, 0.5, 0.1, 0.01, 1e-4):
                    value = float(loss(F.normalize(share * h + (1 - share) * ideal, dim=1), labels, tau, family))
                    below = max(below, 1 - value / bound)
    return {"below": below, "at_frame": at_frame}


def reached(seed: int) -> dict[str, float]:
    """Where descent of free features that are at least 0 ends: its loss over the bound, less 1, and how far the Gram
    matrix of the class means is from the identity, entry by entry."""
    found = {"loss": 0.0, "gram": 0.0}
    for sizes in SIZES:
        labels, tau = labels_of(sizes), TAUS[seed % 2]
        for family in (None, bound_batches(labels, seed)):
            h = descended(seed, labels, tau, constrained=True, family=family)
            seen = torch.arange(len(labels)) if family is None else torch.cat(family).unique()
            _, means = class_means(h[seen], labels[seen])
            off = float((means @ means.T - torch.eye(len(sizes), dtype=h.dtype)).abs().max())
            excess = abs(float(loss(h, labels, tau, family)) / least(labels, tau, family) - 1)
            found = {"loss": max(found["loss"], excess), "gram": max(found["gram"], off)}
    return found


def broken(seed: int) -> dict[str, float]:
    """Whether free features without a sign, of imbalanced classes, end in something else.

    Returns:
        `loss`, what lacks of ending one per cent below the bound; `symmetry`, of ending at a `frame_distance` of 0.1
        from either frame.
    """
    labels = labels_of(SIZES[0])
    h = descended(seed, labels, 1.0, constrained=False)
    away = min(frame_distance(class_means(h, labels)[1], name) for name in ("orthogonal", "simplex"))
    relative = float(loss(h, labels, 1.0)) / least(labels, 1.0)
    return {"loss": max(0.0, relative - 0.99), "symmetry": max(0.0, 0.1 - away)}


def binding(seed: int) -> dict[str, float]:
    """What the batches of the sampler lack for an orthogonal frame to be the only minimizer.

    Returns:
        `classes`, into how many more parts than one the examples of a class fall, if those are tied that share a batch;
        `pairs`, how many pairs of classes share none.
    """
    draw = torch.Generator().manual_seed(seed)
    classes = int(torch.randint(2, 9, (), generator=draw))
    labels = labels_of(torch.randint(6, 40, (classes,), generator=draw).tolist())
    labels = labels[torch.randperm(len(labels), generator=draw)]
    return lacking(labels, bound_batches(labels, seed, batch_size=classes + 2 + seed % 5))


def lacking(labels: Tensor, family: Sequence[Tensor]) -> dict[str, float]:
    """See `binding`, of any family of batches; examples that are in none do not count."""
    held = torch.zeros(len(labels), len(family), dtype=torch.float64)
    for place, batch in enumerate(family):
        held[batch, place] = 1
    seen, shared = held.any(dim=1), (held @ held.T > 0).numpy()
    parts, apart = 0, 0
    classes = labels[seen].unique().tolist()
    for i, c in enumerate(classes):
        own = (seen & (labels == c)).numpy()
        parts += connected_components(shared[own][:, own])[0] - 1
        apart += sum(not shared[own][:, (labels == other).numpy()].any() for other in classes[:i])
    return {"classes": float(parts), "pairs": float(apart)}


def unbound(seed: int) -> dict[str, float]:
    """What a family does in which two classes never meet: features that give both one axis are at the bound.

    Returns:
        `at_bound`, how far they are from it, relative; `bound`, what their loss lacks of exceeding by a thousandth the
        bound of a family with bound batches, which so tells them from a frame.
    """
    labels, tau = labels_of(SIZES[0]), TAUS[seed % 2]
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    family = [order[labels[order] != c] for c in (2, 3)]
    merged = frame(torch.where(labels == 3, 2, labels))
    tied = bound_batches(labels, seed)
    return {
        "at_bound": abs(float(loss(merged, labels, tau, family)) / least(labels, tau, family) - 1),
        "bound": max(0.0, 1.001 - float(loss(merged, labels, tau, tied)) / least(labels, tau, tied)),
    }
