"""Kernel-InfoNCE: losses against loops, on processes; a graph's points; and properties that a wrong constant breaks."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from common.batches import Graph
from common.distributed import rank, world_size
from common.errors import UserError
from common.losses import nt_xent
from papers.theory.kernel_infonce import properties
from papers.theory.kernel_infonce.kernels import exponential, kernel_nt_xent, kernel_sum
from papers.theory.kernel_infonce.module import KernelPoints, KernelSimCLR, SpectralClustering
from tests.papers.theory.breaking import wrong
from tests.processes import assert_shares_agree, on_processes


def views(n: int = 5, d: int = 6) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(4)
    one, other = F.normalize(torch.randn(2, n, d, generator=draw, dtype=torch.double), dim=2)
    return one, other


def module(**arguments) -> KernelSimCLR:
    torch.manual_seed(0)
    return KernelSimCLR(width=8, projection_dim=6, **arguments).double()


def loop(one: Tensor, other: Tensor, kernel: Callable[[float], float], floor: float = 0.0) -> float:
    """View by view, by a kernel of a distance."""
    rows, total = torch.cat([one, other]), 0.0
    for i, row in enumerate(rows):
        near = [kernel(float((row - rows[j]).norm())) for j in range(len(rows)) if j != i]
        positive = kernel(float((row - rows[(i + len(one)) % len(rows)]).norm()))
        total -= math.log(positive / (max(sum(near), floor) + floor)) / len(rows)
    return total


def gauss(t: float) -> Callable[[float], float]:
    return lambda d: math.exp(-(d**2) / t)


def power(gamma: float, t: float) -> Callable[[float], float]:
    return lambda d: math.exp(-(d**gamma) / t)


@pytest.mark.parametrize(("gamma", "t"), [(2.0, 0.4), (1.0, 0.2), (0.5, 0.05)])
@pytest.mark.parametrize("floor", [0.0, 1e-6])
def test_one_kernel_is_that_of_a_loop(gamma: float, t: float, floor: float) -> None:
    found = module(mixture="none", gamma=gamma, temperature=t, floor=floor).contrast(*views())
    assert float(found) == pytest.approx(loop(*views(), power(gamma, t), floor), rel=1e-10)


def test_kernels_are_summed_before_the_logarithm_and_losses_behind_it() -> None:
    arguments = dict(gamma=1.0, temperature=0.2, gaussian_temperature=0.6)
    kernels = float(module(mixture="kernels", **arguments).contrast(*views()))
    assert kernels == pytest.approx(loop(*views(), lambda d: power(1, 0.2)(d) + gauss(0.6)(d)), rel=1e-10)
    losses = float(module(mixture="losses", share=0.3, **arguments).contrast(*views()))
    expected = 0.3 * loop(*views(), power(1, 0.2)) + 0.7 * loop(*views(), gauss(0.6))
    assert losses == pytest.approx(expected, rel=1e-10) and abs(losses - kernels) > 0.01


def test_each_half_has_a_kernel() -> None:
    one, other = views()
    found = module(mixture="halves", share=0.3, temperature=0.2, gaussian_temperature=0.6).contrast(one, other)
    expected = 0.3 * loop(one[:, :3], other[:, :3], power(1, 0.2)) + 0.7 * loop(one[:, 3:], other[:, 3:], gauss(0.6))
    assert float(found) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("t", [1.0, 0.02])
def test_the_gaussian_is_simclr_at_half_of_its_temperature(t: float) -> None:
    one, other = (view.requires_grad_() for view in views())
    found, plain = kernel_nt_xent(one, other, exponential(2.0, 2 * t)).mean(), nt_xent(one, other, temperature=t)
    torch.testing.assert_close(found, plain, rtol=1e-12, atol=0)
    ours, theirs = (torch.autograd.grad(x, one)[0] for x in (found, plain))
    # Distances and cosines are the same function on the sphere alone.
    ours, theirs = (g - (g * one.detach()).sum(dim=1, keepdim=True) * one.detach() for g in (ours, theirs))
    torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-10)


def test_a_pair_in_one_place_has_a_slope_of_zero() -> None:
    one, other = (view.float() for view in views())
    other[0] = one[0]
    one.requires_grad_()
    (gradient,) = torch.autograd.grad(kernel_nt_xent(one, other, exponential(0.5, 0.1)).sum(), one)
    assert gradient.isfinite().all()


@pytest.mark.parametrize(("gamma", "t"), [(2.0, 0.2), (1.0, 0.1), (0.5, 0.1)])
def test_rows_of_16_bits_keep_their_distances(gamma: float, t: float) -> None:
    """Of near rows: a distance is a small difference of products, which 16 bits do not hold."""
    base = views(8, 16)[0]
    pair = [F.normalize(base + 0.2 * views(8, 16)[1].roll(turn, dims=0), dim=1).bfloat16() for turn in (0, 1)]
    found = kernel_nt_xent(*pair, exponential(gamma, t)).mean()
    expected = kernel_nt_xent(*(view.double() for view in pair), exponential(gamma, t)).mean()
    assert float(found) == pytest.approx(float(expected), rel=5e-3)


def test_a_gaussian_of_near_points_is_not_cut_off() -> None:
    assert float(exponential(2.0, 0.4)(torch.tensor(-1e-10))) == pytest.approx(-2.5e-10)


def test_far_and_cold_nothing_overflows() -> None:
    """At a temperature of 0.005 every kernel is 0 in float32."""
    one, other = (view.float() for view in views())
    loss = kernel_nt_xent(one, other, kernel_sum(exponential(2.0, 0.005), exponential(1.0, 0.005))).mean()
    assert loss.isfinite() and float(loss) > 10


def shares() -> tuple[Tensor, Tensor]:
    share = slice(5 * rank() // world_size(), 5 * (rank() + 1) // world_size())
    one, other = (view[share].requires_grad_() for view in views())
    loss = module().contrast(one, other)
    return loss.detach(), torch.autograd.grad(loss / world_size(), one)[0]


def test_processes_share_the_views() -> None:
    value, gradient = shares()
    assert_shares_agree(on_processes(2, shares), value, gradient)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mixture": "product"}, "model.mixture is 'product'; it must be one of none, kernels, losses, halves"),
        ({"gamma": 0.0}, "model.gamma 0.0: expected"),
        ({"gaussian_temperature": -1.0}, "model.gaussian_temperature -1.0: expected"),
        ({"share": 1.5}, "model.share 1.5: expected"),
        ({"floor": -1.0}, "model.floor -1.0: expected"),
        ({"temperature": 0.0}, "model.temperature is 0.0; it must be above 0"),
    ],
)
def test_what_is_out_of_range_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        module(**arguments)


def test_spectral_clustering_trains_nothing() -> None:
    edges = torch.tensor([[0, 1, 2, 3], [1, 0, 3, 2]])
    graph = Graph(torch.eye(4), edges, torch.zeros(4), torch.arange(4))
    method = SpectralClustering(dim=2)
    rows = F.normalize(method.embed_graph(graph), dim=1)
    assert float(rows[0] @ rows[1]) == pytest.approx(1, abs=1e-5) == float(rows[2] @ rows[3])
    assert abs(float(rows[0] @ rows[2])) < 1e-5
    with pytest.raises(UserError, match=r"trainer\.max_steps must be 0"):
        method.training_step(graph, 0)


def test_regularized_pairs_have_a_weight_each() -> None:
    """A pair of nodes aside is a block of its own to the eigenvectors, unless every pair has a weight."""
    edges = torch.tensor([[0, 0, 1, 1, 2, 2, 3, 4], [1, 2, 0, 2, 0, 1, 4, 3]])
    graph = Graph(torch.eye(5), edges, torch.zeros(5), torch.arange(5))
    weights = graph.adjacency().double()
    weights = weights + 1.5 * weights.sum() / 25
    scale = weights.sum(dim=1).rsqrt()
    expected = torch.linalg.eigh(scale[:, None] * weights * scale)[1][:, -1]
    found = SpectralClustering(dim=1, regularization=1.5).embed_graph(graph)[:, 0]
    assert abs(float(found.double() @ expected)) == pytest.approx(1, abs=1e-6)
    plain = SpectralClustering(dim=1).embed_graph(graph)[:, 0]
    assert abs(float(plain.double() @ expected)) < 0.99


def test_a_laplacian_graph_is_that_of_a_loop() -> None:
    rows, edges = views(5, 3)[0], torch.tensor([[0, 0, 1, 2, 3], [1, 2, 0, 0, 4]])
    total = 0.0
    for i in range(5):
        distance = [float((rows[i] - rows[j]).norm()) for j in range(5)]
        near = edges[1][edges[0] == i].tolist()
        total += math.log(sum(math.exp(-d / 0.7) for j, d in enumerate(distance) if j != i)) / 5
        total += sum(distance[j] / 0.7 / len(near) / 5 for j in near)
    found = KernelPoints(count=1, gamma=1.0, temperature=0.7).contrast(rows, edges)
    assert float(found) == pytest.approx(total, rel=1e-10)


# --- properties, and what breaks them ---------------------------------------------------------------------------------

TOLERANCES = {"equivalence": 1e-12, "law": 1e-12, "bipartite": 1e-12}


@pytest.mark.parametrize("seed", [11, 19])
@pytest.mark.parametrize("name", TOLERANCES)
def test_the_property_holds(name: str, seed: int) -> None:
    assert max(getattr(properties, name)(seed).values()) <= TOLERANCES[name]


@pytest.mark.parametrize(
    ("name", "constant", "change"),
    [
        ("equivalence", "laplacian", lambda value: 1.0001 * value),
        ("equivalence", "laplacian", lambda value: value - torch.diag(value.diagonal())),
        ("equivalence", "kernel", lambda value: value + torch.eye(len(value))),
        ("equivalence", "kernel", lambda value: value**2),
        ("equivalence", "given_node", lambda value: value**1.001),
        ("equivalence", "info_nce_limit", lambda value: 1.0001 * value),
        ("law", "cross_entropy", lambda value: 1.0001 * value),
        ("law", "given_node", lambda value: value.T),
        ("bipartite", "laplacian", lambda value: 1.0001 * value),
        ("bipartite", "squares", lambda value: 2 * value),
        ("bipartite", "info_nce_limit", lambda value: value + 1e-6),
    ],
)
def test_a_wrong_constant_breaks_it(
    name: str, constant: str, change: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(properties, constant, wrong(getattr(properties, constant), change))
    try:
        found = max(getattr(properties, name)(11).values())
    except UserError:  # what is no distribution is refused
        return
    assert found > 10 * TOLERANCES[name]


def test_the_gradients_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same values with another slope."""
    monkeypatch.setattr(properties, "clustering", wrong(properties.clustering, lambda x: 2 * x - x.detach()))
    found = properties.equivalence(11)
    assert max(value for name, value in found.items() if name.startswith("values")) < 1e-12
    assert min(value for name, value in found.items() if name.startswith("gradients")) > 0.1


def test_another_loss_in_training_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(properties.KernelPoints, "contrast", wrong(KernelPoints.contrast, lambda x: 1.0001 * x))
    found = properties.equivalence(11)
    assert min(value for name, value in found.items() if name.startswith("trained by")) > 1e-5


def test_random_graphs_are_not_symmetric() -> None:
    pi = properties.graph(3, 6)
    assert float((pi - pi.T).abs().max()) > 0.1 and not pi.diagonal().any()
