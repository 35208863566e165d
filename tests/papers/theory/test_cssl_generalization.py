"""What an augmentation decides: the losses against loops, and bounds that a wrong constant breaks."""

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
from common.errors import UserError
from papers.theory.cssl_generalization import properties, ranks
from papers.theory.cssl_generalization.module import VectorContrast
from tests.papers.theory import breaking
from tests.processes import assert_steps_agree


def batch(n: int = 6) -> LabelledVectors:
    draw = torch.Generator().manual_seed(3)
    return LabelledVectors(torch.randn(2, n, 10, generator=draw, dtype=torch.double), torch.zeros(n), torch.arange(n))


def module(**arguments) -> VectorContrast:
    torch.manual_seed(0)
    made = VectorContrast(channels=10, width=8, dim=5, **arguments).double()
    made.log_loss = lambda loss, **terms: loss  # without a trainer there is no log
    return made


def nt_xent_loop(x: Tensor, y: Tensor, temperature: float) -> float:
    z = F.normalize(torch.cat([x, y]), dim=1)
    n, value = len(x), 0.0
    for i in range(2 * n):
        logits = {j: float(z[i] @ z[j]) / temperature for j in range(2 * n) if j != i}
        top = max(logits.values())
        total = sum(math.exp(logit - top) for logit in logits.values())
        value += (top + math.log(total) - logits[(i + n) % (2 * n)]) / (2 * n)
    return value


def twins_loop(x: Tensor, y: Tensor, weight: float) -> float:
    value = 0.0
    for k in range(x.shape[1]):
        for other in range(x.shape[1]):
            one, two = x[:, k] - x[:, k].mean(), y[:, other] - y[:, other].mean()
            correlation = float(one @ two / (one.norm() * two.norm()))
            value += (1 - correlation) ** 2 if k == other else weight * correlation**2
    return value


def test_the_loss_is_taken_of_the_embeddings() -> None:
    data = batch()
    for arguments in ({"temperature": 0.07}, {"form": "barlow_twins"}):
        method = module(**arguments)
        x, y = (method.embed_vectors(view).detach() for view in data.views)
        expected = nt_xent_loop(x, y, 0.07) if "temperature" in arguments else twins_loop(x, y, 0.005)
        # Barlow Twins adds 1e-5 to variances that are far from 1 before training.
        rel = 1e-10 if "temperature" in arguments else 0.02
        assert float(method.training_step(data, 0).detach()) == pytest.approx(expected, rel=rel)


@pytest.mark.parametrize(("n", "d", "temperature"), [(16, 12, 0.5), (7, 3, 0.07), (5, 9, 0.02)])
def test_both_losses_are_those_of_a_loop(n: int, d: int, temperature: float) -> None:
    stream = np.random.RandomState(n)
    x, y = (torch.tensor(3 * stream.standard_normal((n, d))) for _ in range(2))
    found = float(module(temperature=temperature).contrast(x, y))
    assert found == pytest.approx(nt_xent_loop(x, y, temperature), rel=1e-10)
    found = float(module(form="barlow_twins", redundancy=temperature).contrast(x, y))
    assert found == pytest.approx(twins_loop(x, y, temperature), rel=1e-4)  # 1e-5 is added to variances of about 9


@pytest.mark.parametrize("form", ["nt_xent", "barlow_twins"])
def test_processes_share_the_batch(form: str) -> None:
    data = batch(7)
    assert_steps_agree(
        (0, 3, 7),
        lambda: module(form=form),
        lambda rows: LabelledVectors(data.views[:, rows], *(part[rows] for part in data[1:])),
    )


def test_another_loss_is_refused() -> None:
    with pytest.raises(UserError, match=r"model.form is 'vicreg'; it must be 'nt_xent' or 'barlow_twins'"):
        module(form="vicreg")


# --- properties, and what breaks them ---------------------------------------------------------------------------------

TOLERANCES = {
    "error_bound": 1e-12,
    "centre_bound": 1e-12,
    "alignment_bound": 1e-12,
    "divergence": 1e-12,
    "agreement": 1e-8,
    "nearer": 1e-5,
}


@pytest.mark.parametrize("name", TOLERANCES)
def test_the_property_holds(name: str) -> None:
    assert max(getattr(properties, name)(3).values()) <= TOLERANCES[name]


def broken(name: str, key: str) -> bool:
    return breaking.broken(properties, name, key, seed=3, tolerance=TOLERANCES[name])


@pytest.mark.parametrize(
    ("name", "constant", "change", "key"),
    [
        ("error_bound", "bound", lambda value: 0.9 * value, "theorem 1"),
        ("error_bound", "holds", lambda met: True, "theorem 1"),
        ("error_bound", "steepness", lambda value: 1e-4 * value, "by alignment"),
        ("centre_bound", "apart", lambda value: 0.999 * value, "at equality"),
        ("centre_bound", "apart", lambda value: 0.5 * value, "f(x).mu_k"),
        ("alignment_bound", "steepness", lambda value: 0.999 * value, "at equality"),
        ("alignment_bound", "steepness", lambda value: 0.2 * value, "3 versions"),
        ("divergence", "sharper_info_nce", lambda value: 0.999 * value, "sharper 3, at equality"),
        ("divergence", "sharper_correlation", lambda value: 0.999 * value, "sharper 4, at equality"),
        ("divergence", "correlation_bound", lambda value: 0.2 * value, "theorem 4, on one side"),
        ("divergence", "info_nce_bound", lambda value: 0.05 * value, "theorem 3, on one side"),
        ("agreement", "cauchy", lambda value: 0.999 * value, "at equality"),
        ("agreement", "cauchy", lambda value: 0.5 * value, "lemma 4.1"),
        ("nearer", "augmented_distance", lambda value: 1.001 * value, "d_A"),
        ("nearer", "concentration", lambda share: -share, "fall of sigma"),
    ],
)
def test_a_wrong_constant_breaks_it(
    name: str, constant: str, change: Callable, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(properties, constant, breaking.wrong(getattr(properties, constant), change))
    assert broken(name, key)


@pytest.mark.parametrize(
    "change",
    [
        # With three versions points with versions apart count 4/3 times, and not once as in theorem 1's rho.
        lambda sigma, late, m, width: (sigma, late, 2, width),
        lambda sigma, late, m, width: (1 - 0.99 * (1 - sigma), late, m, width),
        lambda sigma, late, m, width: (sigma, late, m, 0.99 * width),
    ],
)
def test_how_far_a_point_is_from_its_centre_follows_from_all_of_it(
    change: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = properties.apart
    monkeypatch.setattr(properties, "apart", lambda *given: right(*change(*given)))
    assert breaking.broken(properties, "centre_bound", "at equality", seed=1, tolerance=1e-12)


def test_the_shares_of_the_classes_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without dividing by them theorem 3 would not hold."""
    right = properties.info_nce_bound

    def undivided(products: Tensor, shares: Tensor) -> Tensor:
        loss = (shares[:, None] * shares * torch.log(torch.e + products.exp())).sum()
        return (loss.exp() - torch.e).clamp(min=1e-9).log().expand_as(right(products, shares))

    monkeypatch.setattr(properties, "info_nce_bound", undivided)
    assert any(properties.divergence(seed)["theorem 3, on one side"] > 1e-3 for seed in range(4))


def test_what_is_kept_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Versions that leave a group as it is would be farther apart than d_A."""
    right = properties._versions
    monkeypatch.setattr(properties, "_versions", lambda world, x: right(properties.Groups(redrawn=()), x))
    assert broken("nearer", "d_A")


def test_no_problem_that_tells_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(properties, "holds", lambda *given: False)
    with pytest.raises(ArithmeticError, match="no problem with an error met the condition"):
        properties.error_bound(0)


def test_a_problem_is_what_it_says() -> None:
    one = properties.problem(4, m=2)
    assert float(one.mass.sum()) == pytest.approx(1, abs=1e-12) and one.mass.min() > 0
    assert one.features.norm(dim=2).sub(1).abs().max() < 1e-12
    pairs = [float((one.features[0, i] - one.features[1, i]).norm()) for i in range(len(one.mass))]
    alignment = sum(float(w) * d**2 / 2 for w, d in zip(one.mass, pairs, strict=True))
    assert one.alignment() == pytest.approx(alignment, rel=1e-12)
    late = sum(float(w) for w, d in zip(one.mass, pairs, strict=True) if d > 0.1)
    assert one.misaligned(0.1) == pytest.approx(late, rel=1e-12) and late > 0
    centre = (one.features.mean(dim=0) * one.mass[:, None])[one.labels == 1].sum(dim=0) / one.mass[
        one.labels == 1
    ].sum()
    assert one.centres[1].allclose(centre)
    # The first two points of each class lie beside another class.
    assert one.error() == pytest.approx(float(one.mass.view(-1, 6)[:, :2].sum()), rel=1e-12)


# --- ranks ------------------------------------------------------------------------------------------------------------


def test_arms_are_ranked_by_sigma_and_by_error(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    ranks.main(["--results", str(tmp_path)])
    assert "nothing is on record" in capsys.readouterr().out
    known = next(line for path in sorted(Path("results/runs").glob("*.jsonl")) for line in path.open())
    record = ranks.Record.parse(known)
    (tmp_path / "runs").mkdir()
    with (tmp_path / "runs/cssl_generalization.jsonl").open("w") as file:
        for arm, score in {"one": 0.4, "two": 0.5, "three": 0.7, "twins_one": 0.6, "twins_three": 0.5}.items():
            run = replace(record, paper="cssl_generalization", arm=arm, metrics={ranks.SCORE: score}, means=())
            file.write(run.line() + "\n")
    ranks.main(["--results", str(tmp_path)])
    out = capsys.readouterr().out
    assert "NT-Xent: rank correlation of 1 - sigma and error +1.00 over 3 arms" in out
    assert "Barlow Twins: rank correlation of 1 - sigma and error -1.00 over 2 arms" in out
    assert "| three | 1 | 0.0" in out and "| one | 1 | 0.9" in out
