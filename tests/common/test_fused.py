"""Triton's log-sum-exp in its interpreter against a float64 matrix, at odd sizes, with offsets and pairs left out."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, library

from common.losses.registry import Example
from common.tiled import fused
from common.tiled.backends import using
from common.tiled.tiles import tiling
from tests.common.losses.cases import CASES, Case, call, leaves

pytest.importorskip("triton", reason="Triton is not here")


def sides(m: int, n: int, d: int, size: float = 1.0) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(m + n)
    return tuple((size * torch.randn(rows, d, generator=draw)).requires_grad_() for rows in (m, n))


def edits(m: int, n: int, offset: bool, own: int) -> tuple[Tensor | None, Tensor]:
    """What is given to the operator, and the whole of what is added in float64."""
    given, total = None, torch.zeros(m, n, dtype=torch.float64)
    if offset:
        given = torch.linspace(-3, 3, m * n).view(m, n).clone()
        given[torch.rand(m, n, generator=torch.Generator().manual_seed(0)) < 0.2] = -math.inf
        given[0] = -math.inf
        total += given.double()
    left_out = torch.arange(n)[None] - torch.arange(m)[:, None] == own
    return given, total.masked_fill(left_out, -math.inf)


@pytest.mark.parametrize(("m", "n", "d"), [(1, 1, 1), (5, 7, 3), (64, 64, 32), (65, 130, 33), (3, 200, 70)])
@pytest.mark.parametrize(("offset", "own"), [(False, fused.NONE), (False, 0), (True, 2), (True, -1)])
def test_value_and_gradient_are_those_of_the_matrix(m: int, n: int, d: int, offset: bool, own: int) -> None:
    query, key = sides(m, n, d)
    given, added = edits(m, n, offset, own)
    weights = torch.linspace(0.5, 1.5, m)
    value = fused.logsumexp(query, key, given, own, False)
    exact = [x.detach().double().requires_grad_() for x in (query, key)]
    matrix = exact[0] @ exact[1].T + added
    finite = ~matrix.isneginf().all(1)
    expected = matrix.masked_fill(~finite[:, None], 0.0).logsumexp(1).masked_fill(~finite, -math.inf)
    torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=1e-5)
    ours = torch.autograd.grad((value * weights)[finite].sum(), (query, key))
    theirs = torch.autograd.grad((expected * weights)[finite].sum(), exact)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-5)


def test_a_logit_of_100_beside_one_of_minus_100() -> None:
    query, key = torch.tensor([[10.0], [-10.0]]), torch.tensor([[10.0], [9.0], [-10.0]])
    torch.testing.assert_close(fused.logsumexp(query, key, None, fused.NONE, False), (query @ key.T).logsumexp(1))


@pytest.mark.parametrize("own", [fused.NONE, 3])
def test_both_directions_share_a_slope(own: int) -> None:
    query, key = sides(9, 70, 5)
    scores = query.double() @ key.double().T
    scores = scores.masked_fill(torch.arange(70)[None] - torch.arange(9)[:, None] == own, -math.inf)
    totals = [scores.logsumexp(dim).float().detach() for dim in (1, 0)]
    grads = torch.linspace(-1, 1, 9), torch.linspace(0.5, 1, 70)
    row, column = zip(totals, grads, strict=True)
    expected = sum(
        g.unsqueeze(d) * (scores - t.unsqueeze(d)).exp() for d, (t, g) in zip((1, 0), (row, column), strict=True)
    )
    found = fused.slope(query, key, None, own, False, *row, *column)
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-6)


def test_the_backward_pass_goes_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    query, key = sides(11, 8, 4)
    once = torch.autograd.grad(fused.logsumexp(query, key, None, 2, False).sum(), (query, key))
    monkeypatch.setattr(fused, "_SLOPES", 24)  # three rows at a time
    parts = torch.autograd.grad(fused.logsumexp(query, key, None, 2, False).sum(), (query, key))
    for a, b in zip(once, parts, strict=True):
        torch.testing.assert_close(a, b)


def test_torch_knows_the_operators() -> None:
    query, key = sides(5, 7, 3)
    library.opcheck(fused.logsumexp, (query, key, None, 1, False))
    library.opcheck(fused.logsumexp, (query, key, torch.zeros(5, 7), fused.NONE, False))
    row, column = (torch.zeros(5), torch.ones(5)), (torch.zeros(7), torch.ones(7))
    library.opcheck(fused.slope, (query.detach(), key.detach(), None, 1, False, *row, *column))


def test_what_the_kernels_do_not_take_is_left_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    query, key = sides(5, 7, 3)
    assert fused.usable(query, key) and not fused.usable(query.double(), key.double())
    monkeypatch.delenv("TRITON_INTERPRET")
    assert not fused.usable(query, key)  # on a CPU


def single(example: Example) -> Example:
    """The example in float32."""

    def changed(value: object) -> object:
        if not isinstance(value, Tensor) or not value.is_floating_point():
            return value
        return value.detach().float().requires_grad_(value.requires_grad)

    groups = {
        name: {k: changed(v) for k, v in getattr(example, name).items()} for name in ("embeddings", "samples", "shared")
    }
    return replace(example, **groups)


SERVED = {
    "attraction_repulsion",
    "cross_uniformity",
    "cross_view_info_nce",
    "decoupled_nt_xent",
    "decoupled_softmax",
    "filtered_info_nce",
    "focal_info_nce",
    "focal_sup_con",
    "info_nce",
    "multi_label_softmax",
    "multi_similarity",
    "multi_view_info_nce",
    "nt_xent",
    "queue_info_nce",
    "reweighted_nt_xent",
    "soft_target_cross_entropy",
    "sup_con",
    "symmetric_info_nce",
    "uniformity",
}
"""The losses whose sums of exponentials are those of the kernels."""


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_loss_is_the_plain_loop_s(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(fused, "logsumexp", lambda *given, plain=fused.logsumexp: calls.append(given) or plain(*given))
    example = single(case.example(7))
    with using("triton"), tiling(5, 4):
        value = call(case.entry.function, example)
        gradients = torch.autograd.grad(value, leaves(example))
    expected = call(case.oracle(), exact := case.example(7))
    torch.testing.assert_close(value.double(), expected, rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(gradients, torch.autograd.grad(expected, leaves(exact)), strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-3, atol=1e-4)
    assert bool(calls) == (case.entry.name in SERVED and str(case) != "attraction_repulsion-uniform")
