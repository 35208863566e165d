"""The lazy score matrix against the matrix built whole, tile by tile and dense."""

import math
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from common.errors import UserError
from common.memory import peak_bytes
from common.scores import Scores
from common.tiled.backends import using
from common.tiled.tiles import tiling
from tests.common.walks import WALKS, walking


@pytest.fixture(params=WALKS, autouse=True)
def path(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every test here runs on all paths."""
    with walking(request.param, 3, 4, kept=30):
        yield request.param


def vectors(rows: int, seed: int, size: float = 1.0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return (size * torch.randn(rows, 6, generator=draw, dtype=torch.float64)).requires_grad_()


def assert_same(ours: Tensor, expected: Tensor, *leaves: Tensor) -> None:
    """Values agree, and so do the gradients of an arbitrary weighting of them."""
    torch.testing.assert_close(ours, expected, rtol=1e-11, atol=1e-11)
    weights = torch.linspace(0.5, 1.5, ours.numel(), dtype=ours.dtype).view_as(ours)
    for a, b in zip(
        *(torch.autograd.grad((x * weights).sum(), leaves, retain_graph=True) for x in (ours, expected)), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


# Scores of a few units; of hundreds, where a tile's shift loses whole rows; rows of very different size.
@pytest.mark.parametrize("size", [1.0, 12.0, "uneven"])
@pytest.mark.parametrize("scale", ["number", "learnable", "by row"])
def test_logsumexp_by_row_and_column(size: float | str, scale: str) -> None:
    query, key = vectors(7, 1), vectors(10, 2)
    if size == "uneven":
        sizes = torch.logspace(-2, 3, 7, dtype=torch.float64)
        query = (query.detach() * sizes[:, None]).requires_grad_()
    else:
        query = (query.detach() * size).requires_grad_()
        key = (key.detach() * size).requires_grad_()
    factor = {
        "number": 1.5,
        "learnable": torch.tensor(1.5, dtype=torch.float64, requires_grad=True),
        "by row": torch.linspace(0.5, 2.0, 7, dtype=torch.float64, requires_grad=True),
    }[scale]
    bias = torch.tensor(-0.7, dtype=torch.float64, requires_grad=True)
    leaves = [query, key, bias] + ([factor] if isinstance(factor, Tensor) else [])
    column = factor[:, None] if scale == "by row" else factor
    matrix = column * (query @ key.T) + bias
    scores = Scores(query, key, scale=factor, bias=bias)
    row, by_column = scores.logsumexps()
    assert_same(row, matrix.logsumexp(1), *leaves)
    assert_same(by_column, matrix.logsumexp(0), *leaves)
    assert_same(scores.logsumexp(dim=1), matrix.logsumexp(1), *leaves)
    assert_same(scores.logsumexp(dim=0), matrix.logsumexp(0), *leaves)
    assert_same(torch.cat(scores.logsumexps()), torch.cat([matrix.logsumexp(1), matrix.logsumexp(0)]), *leaves)


def test_float32_rows_far_below_the_maximum_of_their_tile() -> None:
    """One exp for a whole tile would give such a row log(0)."""
    key = vectors(9, 2).detach()
    query = vectors(8, 1).detach() * torch.logspace(-1, 2.5, 8, dtype=torch.float64)[:, None]
    exact = query @ key.T
    assert float(exact.amax() - exact.logsumexp(1).amin()) > 200
    single = [x.float().requires_grad_() for x in (query, key)]
    double = [x.float().double().requires_grad_() for x in (query, key)]
    matrix = double[0] @ double[1].T
    for ours, expected in zip(Scores(*single).logsumexps(), (matrix.logsumexp(1), matrix.logsumexp(0)), strict=True):
        torch.testing.assert_close(ours.double(), expected, rtol=2e-6, atol=1e-5)
        gradients = torch.autograd.grad(ours.sum(), single, retain_graph=True)
        for a, b in zip(gradients, torch.autograd.grad(expected.sum(), double, retain_graph=True), strict=True):
            torch.testing.assert_close(a.double(), b, rtol=1e-3, atol=1e-4 * float(b.abs().max()))


def test_excluded_pairs_and_offsets() -> None:
    query, key = vectors(7, 3), vectors(10, 4)
    mask = torch.rand(7, 10, generator=torch.Generator().manual_seed(0)) < 0.4
    mask[2], mask[:, 5] = True, True
    offset = torch.linspace(-3, 3, 70, dtype=torch.float64).view(7, 10)
    scores = Scores(query, key, scale=0.5).add(offset).exclude(mask)
    matrix = 0.5 * query @ key.T + offset
    row, column = scores.logsumexps()
    assert row[2] == -math.inf and column[5] == -math.inf
    some_rows, some_columns = ~mask.all(1), ~mask.all(0)
    expected = matrix.masked_fill(mask, -math.inf)
    assert_same(row[some_rows], expected[some_rows].logsumexp(1), query, key)
    assert_same(column[some_columns], expected[:, some_columns].logsumexp(0), query, key)
    # A row without a pair has a gradient of zero, never NaN.
    gradient = torch.autograd.grad(torch.where(row.isinf(), 0.0, row).sum(), query, retain_graph=True)[0]
    assert gradient.isfinite().all() and (gradient[2] == 0).all()
    assert_same(scores.sum(torch.tanh), matrix.tanh().masked_fill(mask, 0.0).sum(1), query, key)
    assert_same(scores.total(), matrix.masked_fill(mask, 0.0).sum(1), query, key)
    assert_same(scores.matrix()[~mask], matrix[~mask], query, key)


def test_a_row_whose_offsets_are_all_minus_infinity_has_no_gradient() -> None:
    query, key = vectors(7, 3), vectors(10, 4)
    offset = torch.zeros(7, 10, dtype=torch.float64)
    offset[2], offset[:, 5] = -math.inf, -math.inf
    for found, lost in zip(Scores(query, key).add(offset).logsumexps(), (2, 5), strict=True):
        assert found[lost] == -math.inf and found.isfinite().sum() == len(found) - 1
        gradients = torch.autograd.grad(found.sum(), (query, key), retain_graph=True)
        assert all(gradient.isfinite().all() for gradient in gradients)
        assert (gradients[0][2] == 0).all() and (gradients[1][5] == 0).all()


@pytest.mark.parametrize("dim", [0, 1])
def test_sum_differentiates_vectors_and_takes_pairs(dim: int) -> None:
    query, key, bias = vectors(7, 5), vectors(10, 6), torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    by_row, by_key = vectors(7, 7)[:, 0], vectors(10, 8)[:, 0]
    weight, other = torch.rand(7, 10, dtype=torch.float64), Scores(vectors(7, 9), vectors(10, 10))

    def f(s: Tensor, r: Tensor, c: Tensor, w: Tensor, t: Tensor) -> Tensor:
        return w * F.softplus(s * c - r) + s * t

    scores = Scores(query, key, scale=0.8, bias=bias)
    ours = scores.sum(f, dim, rows=(by_row,), keys=(by_key,), pairs=(weight, other))
    expected = f(0.8 * query @ key.T + bias, by_row[:, None], by_key[None], weight, other.matrix().detach()).sum(dim)
    assert_same(ours, expected, query, key, bias, by_row, by_key)


@pytest.mark.parametrize("excluding", [False, True])
@pytest.mark.parametrize("dim", [0, 1])
def test_positives_and_total(dim: int, excluding: bool) -> None:
    query, key, bias = vectors(7, 11), vectors(10, 12), torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    row_ids, key_ids = torch.tensor([0, 1, 2, 0, 1, 5, 0]), torch.tensor([0, 0, 1, 1, 1, 2, 9, 9, 0, 4])
    scores, matrix = Scores(query, key, scale=2.0, bias=bias), 2.0 * query @ key.T + bias
    same = row_ids[:, None] == key_ids
    kept = torch.ones_like(same)
    if excluding:
        kept = ~(torch.arange(7)[:, None] == torch.arange(10))
        scores = scores.exclude(scores.own())
    positives = scores.positives(row_ids, key_ids, dim)
    assert_same(positives.total, (matrix * (same & kept)).sum(dim), query, key, bias)
    assert torch.equal(positives.count, (same & kept).sum(dim).double())
    assert_same(scores.total(dim), (matrix * kept).sum(dim), query, key, bias)


def test_a_set_against_itself() -> None:
    x, bias = vectors(9, 17), torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    scale, own = torch.tensor(1.5, dtype=torch.float64, requires_grad=True), torch.eye(9, dtype=torch.bool)
    ids = torch.tensor([0, 1, 2, 0, 1, 5, 0, 2, 7])
    scores, matrix = Scores(x, x, scale=scale, bias=bias), scale * x @ x.T + bias
    others, same = scores.exclude(scores.own()), (ids[:, None] == ids) & ~own
    leaves = x, scale, bias
    assert_same(others.logsumexp(dim=1), matrix.masked_fill(own, -math.inf).logsumexp(1), *leaves)
    positives = others.positives(ids, ids)
    assert_same(positives.total, (matrix * same).sum(1), *leaves)
    assert torch.equal(positives.count, same.sum(1).double())
    assert_same(scores.diagonal(), matrix.diagonal(), *leaves)


@pytest.mark.parametrize("size", [1.0, 60.0])
@pytest.mark.parametrize("offset", [None, 0.4])
def test_cross_entropy_against_the_keys_of_an_id(size: float, offset: float | None) -> None:
    x, scale = vectors(9, 22, size), torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    ids, own = torch.tensor([0, 1, 2, 0, 1, 5, 0, 2, 7]), torch.eye(9, dtype=torch.bool)
    scores, matrix = Scores(x, x, scale=scale), scale * x @ x.T
    if offset is not None:
        first = torch.zeros(9, 9, dtype=torch.float64)
        first[:, 0] = offset
        scores, matrix = scores.add(first), matrix + first
    ours = scores.exclude(scores.own()).cross_entropy(ids, ids)
    same = (ids[:, None] == ids) & ~own
    mean = (matrix * same).sum(1) / same.sum(1).clamp(min=1)
    assert_same(ours.value, matrix.masked_fill(own, -math.inf).logsumexp(1) - mean, x, scale)
    assert ours.count.tolist() == [2, 1, 1, 2, 1, 0, 2, 1, 0]


# Scores of a few units; of thousands, where one shift for all loses whole rows; rows of very different size.
@pytest.mark.parametrize("dims", [(1,), (0,), (1, 0)])
@pytest.mark.parametrize("size", [1.0, 3000.0, "uneven"])
def test_cross_entropy_against_the_own_key(size: float | str, dims: tuple[int, ...]) -> None:
    query, key = vectors(7, 1), vectors(7, 2)
    sizes = torch.logspace(-2, 4, 7, dtype=torch.float64)[:, None] if size == "uneven" else size
    query = (query.detach() * sizes).requires_grad_()
    scale = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    matrix = scale * query @ key.T
    expected = sum((matrix.logsumexp(dim) - matrix.diagonal()).mean() for dim in dims)
    assert_same(Scores(query, key, scale=scale).own_cross_entropy(dims), expected, query, key, scale)
    with torch.no_grad():
        torch.testing.assert_close(Scores(query, key, scale=1.5).own_cross_entropy(dims), expected)


def test_what_is_kept_for_the_backward_pass_is_bounded() -> None:
    query, key = vectors(64, 24), vectors(48, 25)

    def peak(kept_entries: int) -> int:
        with using("cpu"), tiling(16, 16, kept_entries=kept_entries):
            return peak_bytes(lambda: torch.autograd.grad(Scores(query, key).logsumexp(dim=1).sum(), (query, key)))

    for entries in (256, 1000, 10**6):
        # Whole tiles of 256 numbers of 8 bytes, and no more of them than there are.
        assert peak(entries) - peak(0) == min(entries // 256, 12) * 256 * 8


def test_a_reduction_without_gradient_does_not_cut_the_next() -> None:
    query, key = vectors(7, 18), vectors(10, 19)
    scores, matrix = Scores(query, key, scale=1.5), 1.5 * query @ key.T
    with torch.no_grad():
        assert not scores.logsumexp(dim=1).requires_grad
    assert_same(scores.logsumexp(dim=1), matrix.logsumexp(1), query, key)
    assert_same(scores.diagonal(), matrix.diagonal(), query, key)


def test_offsets_do_not_reach_the_scores_they_were_added_to() -> None:
    query, key = vectors(7, 20), vectors(10, 21)
    scores = Scores(query, key)
    scores.add(100.0, where=scores.own()).logsumexps()
    scores.add(100.0, where=scores.own()).sum(torch.tanh)
    assert_same(scores.logsumexp(dim=1), (query @ key.T).logsumexp(1), query, key)
    assert_same(scores.sum(torch.tanh), (query @ key.T).tanh().sum(1), query, key)


def test_topk_and_pairs() -> None:
    query, key, bias = vectors(7, 13), vectors(10, 14), torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    scores = Scores(query, key, scale=2.0, bias=bias)
    matrix = 2.0 * query @ key.T + bias
    hardest = scores.exclude(scores.own())
    values, columns = hardest.topk(3)
    expected, where = matrix.masked_fill(torch.eye(7, 10, dtype=torch.bool), -math.inf).topk(3)
    assert torch.equal(columns, where)
    assert_same(values, expected, query, key, bias)
    assert_same(scores.pairs(where), matrix.gather(1, where), query, key, bias)
    assert_same(scores.diagonal(), matrix.diagonal(), query, key, bias)


def test_a_detached_side_gets_no_gradient() -> None:
    query, key = vectors(7, 15), vectors(10, 16).detach()
    Scores(query, key).logsumexp(dim=1).sum().backward()
    assert key.grad is None and query.grad is not None
    Scores(key, query).sum(torch.tanh).sum().backward()
    assert key.grad is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Scores(torch.ones(3, 2), torch.ones(3, 4)), r"query \(3, 2\) and key \(3, 4\)"),
        (lambda: Scores(torch.ones(3, 2), torch.ones(3, 2), scale=torch.ones(2)), r"scale \(2,\)"),
        (lambda: Scores(torch.ones(3, 2), torch.ones(2, 2)).diagonal(), "3 queries and 2 keys"),
        (lambda: Scores(torch.ones(3, 2), torch.ones(2, 2)).topk(3), "topk 3"),
        (lambda: Scores(torch.ones(3, 2), torch.ones(2, 2), exchange="star"), "exchange 'star': .*local, gather, ring"),
        (lambda: Scores(torch.ones(3, 2), torch.ones(3, 2), backend="gpu"), "backend 'gpu': .*reference, cpu, cuda"),
        (lambda: Scores(torch.ones(3, 2), torch.ones(2, 2)).add(torch.ones(2, 2)), r"matrix \(2, 2\)"),
    ],
)
def test_errors_name_the_shapes(make, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()


@pytest.mark.parametrize("bias", [None, -0.7, "learnable"])
def test_softplus_total(bias: float | str | None) -> None:
    query, key = vectors(7, 1, size=4.0), vectors(10, 2)
    leaves = [query, key]
    if bias == "learnable":
        bias = torch.tensor(-0.7, dtype=torch.float64, requires_grad=True)
        leaves.append(bias)
    out = torch.rand(7, 10, generator=torch.Generator().manual_seed(3)) < 0.3
    matrix = -F.logsigmoid(-(1.5 * query @ key.T + (0.0 if bias is None else bias)))
    scores = Scores(query, key, scale=1.5, bias=bias)
    assert_same(scores.softplus_total(), matrix.sum(), *leaves)
    assert_same(scores.exclude(out).softplus_total(), matrix.masked_fill(out, 0.0).sum(), *leaves)
    mended = matrix.sum() - (1.5 * query @ key.T + (0.0 if bias is None else bias)).diagonal().sum()
    assert_same(scores.softplus_total(own_positive=True), mended, *leaves)


def test_softplus_keeps_its_digits_far_from_zero() -> None:
    # e^-30 is below what 1 + e^-30 can show in float32, and 80 pairs of it are still 80 e^-30.
    for score in (-80.0, -30.0, -17.0, -5.0, 0.0, 3.0, 90.0):
        query, key = torch.full((8, 1), score), torch.ones(10, 1)
        expected = 80 * torch.tensor(math.log1p(math.exp(-abs(score))) + max(score, 0.0))
        torch.testing.assert_close(Scores(query, key).softplus_total(), expected, rtol=1e-6, atol=0.0)


def test_softplus_total_with_one_side_fixed() -> None:
    query, key = vectors(7, 1), vectors(10, 2)
    assert_same(Scores(query, key.detach()).softplus_total(), -F.logsigmoid(-query @ key.T).sum(), query)
    with torch.no_grad():
        assert Scores(query, key).softplus_total().requires_grad is False
