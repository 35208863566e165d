"""Alignment and uniformity: the loss against loops, with a queue too, and properties that a wrong constant breaks."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from common.batches import LabelledVectors
from common.distributed import rank, world_size
from common.errors import UserError
from papers.theory.align_uniform import plane, properties
from papers.theory.align_uniform.module import AlignUniform
from papers.theory.align_uniform.queue import AlignUniformMoCo
from tests.papers.theory.breaking import wrong
from tests.processes import assert_steps_agree, on_processes

COMPARED = {"align_weight": 0.0, "uniform_weight": 0.0, "contrast_weight": 1.0}


def batch(n: int = 6) -> LabelledVectors:
    draw = torch.Generator().manual_seed(3)
    return LabelledVectors(torch.randn(2, n, 10, generator=draw, dtype=torch.double), torch.zeros(n), torch.arange(n))


def module(**arguments) -> AlignUniform:
    torch.manual_seed(0)
    made = AlignUniform(width=8, projection_dim=5, **arguments).double()
    made.log_loss = lambda loss, **terms: loss  # without a trainer there is no log
    return made


def loop(x: Tensor, y: Tensor, align: float, uniform: float, contrast: float, alpha: float, t: float, tau: float):
    """The three losses of appendix B.1, term by term."""
    n = len(x)
    pull = sum(float((x[i] - y[i]).norm()) ** alpha for i in range(n)) / n
    spread = 0.0
    for z in (x, y):
        pairs = [math.exp(-t * float((z[i] - z[j]).square().sum())) for i in range(n) for j in range(i)]
        spread += math.log(sum(pairs) / len(pairs)) / 2
    told = 0.0
    for i in range(n):
        for logits in ((x[i] * y).sum(1) / tau, (y[i] * x).sum(1) / tau):
            told += (math.log(sum(math.exp(s) for s in logits.tolist())) - float(logits[i])) / (2 * n)
    return align * pull + uniform * spread + contrast * told


@pytest.mark.parametrize(
    ("weights", "alpha", "t", "temperature"),
    [((1, 1, 0), 2, 2, 1), ((0.98, 0.96, 0), 1, 5, 1), ((0, 1, 1), 2, 2, 0.5), ((0.3, 0, 0.7), 2, 1, 0.05)],
)
def test_the_loss_is_that_of_a_loop(weights: tuple[float, ...], alpha: float, t: float, temperature: float) -> None:
    names = ("align_weight", "uniform_weight", "contrast_weight")
    method = module(**dict(zip(names, weights, strict=True)), alpha=alpha, t=t, temperature=temperature)
    data = batch()
    x, y = (method.embed_vectors(view).detach() for view in data.views)
    assert float(x.norm(dim=1).sub(1).abs().max()) < 1e-12
    found = float(method.training_step(data, 0).detach())
    assert found == pytest.approx(loop(x, y, *weights, alpha, t, temperature), rel=1e-10)


@pytest.mark.parametrize("arguments", [{}, COMPARED])
def test_processes_share_the_pairs(arguments: dict) -> None:
    data = batch(7)
    assert_steps_agree(
        (0, 3, 7),
        lambda: module(**arguments),
        lambda rows: LabelledVectors(data.views[:, rows], *(part[rows] for part in data[1:])),
    )


def test_a_loss_without_weight_is_not_computed() -> None:
    assert list(module(**COMPARED).terms(*batch().views)) == ["contrast"]
    assert list(module().terms(*batch().views)) == ["alignment", "uniformity"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"align_weight": -1.0}, "model.align_weight -1.0: expected"),
        ({"contrast_weight": float("nan")}, "model.contrast_weight nan: expected"),
        ({"align_weight": 0.0, "uniform_weight": 0.0}, "are all 0; one must be above"),
        ({"alpha": 0.0}, "model.alpha 0.0: expected"),
        ({"t": 0.0}, "model.t 0.0: expected"),
    ],
)
def test_what_is_out_of_range_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        module(**arguments)


def test_one_view_is_refused() -> None:
    data = batch()
    with pytest.raises(UserError, match="there is 1 view of each vector; this method compares two"):
        module().training_step(data._replace(views=data.views[:1]), 0)


# --- with a queue -----------------------------------------------------------------------------------------------------


def with_queue(keys: Tensor, **arguments) -> AlignUniformMoCo:
    torch.manual_seed(0)
    made = AlignUniformMoCo(width=8, projection_dim=5, queue_size=4, norm_parts=1, **arguments).double()
    if len(keys):
        made.queue.enqueue(keys)
    return made


def rows(n: int, seed: int) -> Tensor:
    return F.normalize(torch.randn(n, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.double), dim=1)


@pytest.mark.parametrize(("keys", "in_batch"), [(4, True), (4, False), (3, True), (0, True)])
def test_the_queue_and_the_batch_have_one_mean(keys: int, in_batch: bool) -> None:
    query, queue = rows(6, 1), rows(keys, 2)
    pairs = [float((q - k).square().sum()) for q in query for k in queue]
    pairs += [float((query[i] - query[j]).square().sum()) for i in range(6) for j in range(i)] if in_batch else []
    expected = math.log(sum(math.exp(-3 * square) for square in pairs) / len(pairs))
    assert float(with_queue(queue, in_batch=in_batch).spread(query)) == pytest.approx(expected, rel=1e-12)


def test_without_any_pair_nothing_is_spread() -> None:
    query = rows(6, 1).requires_grad_()
    value = with_queue(rows(0, 2), in_batch=False).spread(query)
    assert float(value.detach()) == 0 and not torch.autograd.grad(value, query)[0].any()


def spread_shares(own: bool) -> tuple[Tensor, Tensor]:
    share = slice(6 * rank() // world_size(), 6 * (rank() + 1) // world_size()) if own else slice(None)
    query = rows(6, 1)[share].requires_grad_()
    value = with_queue(rows(4, 2)).spread(query)
    return value.detach(), torch.autograd.grad(value / world_size(), query)[0]


def test_processes_spread_their_queries_together() -> None:
    value, gradient = spread_shares(own=False)
    shares = on_processes(2, lambda: spread_shares(own=True))
    for share in shares:
        torch.testing.assert_close(share[0], value, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(torch.cat([share[1] for share in shares]), gradient, rtol=1e-10, atol=1e-12)


# --- properties, and what breaks them ---------------------------------------------------------------------------------

TOLERANCES = {
    "asymptotics": 1e-9,
    "terms": 1e-11,
    "place_of_the_log": 1e-12,
    "uniform_value": 1e-10,
    "own_pairs": 1e-12,
}


def deviations(name: str) -> dict[str, float]:
    found = getattr(properties, name)(11)
    return found[0] if isinstance(found, tuple) else found


@pytest.mark.parametrize("name", TOLERANCES)
def test_the_property_holds(name: str) -> None:
    assert max(deviations(name).values()) <= TOLERANCES[name]


def test_the_distances_that_are_drawn_fall_with_the_negatives() -> None:
    _, drawn = properties.asymptotics(11)
    for t in properties.TEMPERATURES:
        distances = [drawn[f"distance at {t} with {count}"] for count in (16, 1024, 16384)]
        assert distances[0] > 8 * distances[1] > 8 * 4 * distances[2]


@pytest.mark.parametrize(
    ("name", "constant", "change", "key"),
    [
        ("asymptotics", "info_nce_limit", lambda value: value + 0.01, "slope"),
        ("asymptotics", "info_nce", lambda value: value + 1e6, "bound"),
        ("terms", "alignment", lambda value: 1.001 * value, "alignment"),
        ("terms", "uniformity", lambda value: value + 1e-6, "uniformity"),
        ("terms", "uniformity", lambda value: value - 5, "uniformity"),
        ("uniform_value", "hyp0f1", lambda value: 1.0001 * value, "m 3"),
        ("own_pairs", "least", lambda value: value + 2, "below"),
        ("own_pairs", "uniformity", lambda value: value + 1e-6, "equation 8"),
        ("place_of_the_log", "potentials", lambda values: tuple(-value for value in values), "second term"),
        ("place_of_the_log", "potentials", lambda values: (values[0], *values[:2]), "innermost"),
    ],
)
def test_a_wrong_constant_breaks_it(
    name: str, constant: str, change: Callable, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(properties, constant, wrong(getattr(properties, constant), change))
    found = [value for deviation, value in deviations(name).items() if key in deviation]
    assert found and max(found) > 10 * TOLERANCES[name]


def test_the_dimension_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    right = properties.hyp0f1
    monkeypatch.setattr(properties, "hyp0f1", lambda half, z: right(half + 0.5, z))
    assert min(value for key, value in properties.uniform_value(0).items() if key.startswith("m ")) > 1e-6


def test_expected_losses_are_those_of_all_draws() -> None:
    """Two samples, so four vectors, and all 64 ways to draw three negatives of them."""
    one, other = (view[:2] for view in properties.drawn(5))
    vectors, joint = properties.views(one, other)
    assert joint.rows.tolist() == [0.25] * 4 and joint.p[0, 2] == 0.25
    scores, total = (vectors @ vectors.T / 0.3).exp(), 0.0
    for a in range(4):
        for draw in np.ndindex(4, 4, 4):
            positive = scores[a, (a + 2) % 4]
            total -= float((positive / (positive + sum(scores[a, b] for b in draw))).log()) / 4 / 64
    assert float(properties.info_nce(vectors @ vectors.T / 0.3, joint, 3)) == pytest.approx(total, rel=1e-12)


def second_order(scores: Tensor, joint: properties.Joint) -> float:
    """M times the distance from the limit, as M grows: E[exp(s+) / m] - E[variance / (2 m^2)], m the mean of exp(s)."""
    weight = scores.exp()
    mean = weight.mean(dim=1)
    return float((joint.p * (weight / mean[:, None])).sum() - (weight.var(dim=1, correction=0) / mean**2).mean() / 2)


@pytest.mark.parametrize("temperature", properties.TEMPERATURES)
def test_the_distance_falls_as_one_over_m_with_its_own_constant(temperature: float) -> None:
    """Sharper than the theorem, whose bound at a temperature of 0.1 is of thousands: a limit off by 1e-6 is seen."""
    rows, joint = properties.views(*properties.drawn(5))
    scores = rows @ rows.T / temperature

    def scaled(negatives: int) -> float:
        off = properties.info_nce(scores, joint, negatives) - math.log(negatives)
        return float(off - properties.info_nce_limit(scores, joint)) * negatives

    far, farther = scaled(1 << 17), scaled(1 << 18)
    # What is left falls as 1 / M too.
    assert 2 * farther - far == pytest.approx(second_order(scores, joint), rel=1e-3)


def test_no_batch_below_the_value_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(properties, "least", lambda m, t: -100.0)
    with pytest.raises(ArithmeticError, match="no batch without own pairs is below"):
        properties.own_pairs(0)


def test_a_pentagon_beats_the_circle() -> None:
    """Theorem 2 fails by plain arithmetic: a few corners, and ten thousand in place of all points."""

    def loss(corners: int, temperature: float) -> float:
        cosines = (math.cos(2 * math.pi * k / corners) for k in range(corners))
        return sum(math.log(1 + math.exp((cosine - 1) / temperature)) for cosine in cosines) / corners

    assert loss(10_000, 0.5) - loss(5, 0.5) == pytest.approx(5.4e-4, abs=1e-5)
    found = properties.single_negative(0)
    for corners, temperature in ((7, 0.2), (5, 0.5), (4, 1.0)):
        lower = loss(10_000, temperature) - loss(corners, temperature)
        assert found[f"polygons, temperature {temperature}"] == pytest.approx(lower, rel=1e-9)
    assert found["m 3, temperature 0.5"] > 1e-6


@pytest.mark.parametrize("temperature", [0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 10.0])
def test_at_every_temperature_a_wave_is_better(temperature: float) -> None:
    """By plain arithmetic: a density with a wave whose Fourier coefficient is negative has a lower loss."""
    angle = 2 * np.pi * np.arange(1024) / 1024
    kernel = np.log1p(np.exp((np.cos(angle) - 1) / temperature))
    waves = np.cos(np.arange(1, 17)[:, None] * angle)
    coefficients = (kernel * waves).mean(axis=1)
    density = 1 + waves[coefficients.argmin()]
    mass = density / density.sum()
    loss = mass @ kernel[np.arange(1024)[:, None] - np.arange(1024)] @ mass
    assert kernel.mean() - loss == pytest.approx(-coefficients.min() / 2, rel=1e-4)
    assert kernel.mean() - loss > 1e-9


def test_a_positive_definite_kernel_would_have_kept_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(properties, "info_nce", lambda scores, joint, negatives: scores.exp().mean())
    monkeypatch.setattr(np, "logaddexp", lambda zero, exponent: np.exp(exponent))
    assert max(properties.single_negative(0).values()) < 1e-12


# --- the plane --------------------------------------------------------------------------------------------------------


def test_ranks_have_their_mean_where_values_tie() -> None:
    assert plane.ranks(torch.tensor([3.0, 1.0, 3.0, 0.0])).tolist() == [2.5, 1.0, 2.5, 0.0]


def test_the_plane_is_read_off_the_records(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    plane.main(["--results", str(tmp_path)])
    assert "fewer than three runs" in capsys.readouterr().out
    known = next(line for path in sorted(Path("results/runs").glob("*.jsonl")) for line in path.open())
    record = plane.Record.parse(known)
    (tmp_path / "runs").mkdir()
    # The score is the sum of both coordinates' ranks, so that neither tells it alone.
    points = [(0.1, -1.0), (0.2, -4.0), (0.3, -2.0), (0.4, -3.0), (0.5, -5.0)]
    with (tmp_path / "runs/align_uniform.jsonl").open("w") as file:
        for seed, (pull, spread) in enumerate(points):
            metrics = {plane.SCORE: -pull - spread / 10, plane.AXES[0]: pull, plane.AXES[1]: spread}
            arm = "few" if seed < 2 else "many"
            file.write(
                replace(record, paper="align_uniform", arm=arm, seed=seed, metrics=metrics, means=()).line() + "\n"
            )
    plane.main(["--results", str(tmp_path)])
    out = capsys.readouterr().out
    assert "| few | 2 | 0.100 | 0.150 | -2.500 |" in out
    found = plane.explained([plane.Record.parse(line) for line in (tmp_path / "runs/align_uniform.jsonl").open()])
    assert found["both"] > max(abs(found[name]) for name in plane.AXES)
    assert json.dumps(found)
