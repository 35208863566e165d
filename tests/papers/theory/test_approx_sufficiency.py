"""Approximate sufficiency: losses against loops, on processes; codes; and properties that a wrong constant breaks."""

import math
from collections.abc import Callable

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.batches import LabelledVectors
from common.errors import UserError
from common.population import spectral
from common.population.joint import Joint
from data.benchmarks.worlds.topics import Topics
from papers.theory.approx_sufficiency import properties
from papers.theory.approx_sufficiency.baselines import GivenCode, WordPrediction
from papers.theory.approx_sufficiency.module import Coder, SufficientContrast, chi_square_contrastive
from tests.papers.theory import breaking
from tests.processes import assert_steps_agree


def batch(n: int = 6) -> LabelledVectors:
    draw = torch.Generator().manual_seed(3)
    counts = torch.randint(0, 3, (2, n, 10), generator=draw).double()
    counts[:, :, 0] += 1
    return LabelledVectors(counts, torch.full((n,), -1), torch.arange(n))


def module(kind: type[Coder] = SufficientContrast, **arguments) -> Coder:
    torch.manual_seed(0)
    made = kind(channels=10, width=8, dim=5, **arguments).double()
    made.log_loss = lambda loss, **terms: loss  # without a trainer there is no log
    return made


def info_nce_loop(x: Tensor, y: Tensor, t: float) -> float:
    n, total = len(x), 0.0
    for one, other in ((x, y), (y, x)):
        for i in range(n):
            logits = [float(one[i] @ other[j]) / t for j in range(n)]
            top = max(logits)
            total += (top + math.log(sum(math.exp(v - top) for v in logits)) - logits[i]) / (2 * n)
    return total


def chi_square_loop(x: Tensor, y: Tensor, t: float) -> float:
    n, alike, apart = len(x), 0.0, 0.0
    for i in range(n):
        alike += math.exp(float(x[i] @ y[i] - 1) / t) / n
        apart += sum(math.exp(2 * float(x[i] @ y[j] - 1) / t) for j in range(n) if j != i) / (n * (n - 1))
    return -(alike**2) / apart


@pytest.mark.parametrize("t", [1.0, 0.2, 0.02])
@pytest.mark.parametrize(("form", "loop"), [("info_nce", info_nce_loop), ("chi_square", chi_square_loop)])
def test_the_loss_of_the_codes_directions_is_that_of_a_loop(form: str, loop: Callable, t: float) -> None:
    data, method = batch(), module(form=form, temperature=t)
    x, y = (F.normalize(method.embed_vectors(view).detach(), dim=1) for view in data.views)
    assert float(method.training_step(data, 0).detach()) == pytest.approx(loop(x, y, t), rel=1e-10)


def test_chi_square_contrast_is_the_spectral_loss_at_its_best_scale() -> None:
    """In expectation, of two values of each view: a batch that has every pair as often as it is likely."""
    n, t = 40, 0.5
    x = F.normalize(torch.randn(n, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64), dim=1)
    value = float(chi_square_contrastive(x, x.flip(1), temperature=t))
    pairs, apart = torch.eye(n, dtype=torch.float64) / n, (1 - torch.eye(n, dtype=torch.float64)) / (n - 1)
    ratio = (x @ x.flip(1).T / t).exp()
    alike, square = (pairs * ratio).sum(), (apart / n * ratio.square()).sum()
    best = alike / square
    for scale, over in ((best, 0.0), (1.01 * best, 1e-4), (0.99 * best, 1e-4)):
        found = float(spectral(scale * ratio, Joint(pairs), apart))
        assert found / value == pytest.approx(1 - over, abs=1e-12)


def test_far_and_cold_nothing_overflows() -> None:
    x = F.normalize(torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(2)), dim=2).requires_grad_()
    loss = chi_square_contrastive(*x, temperature=0.05)
    (gradient,) = torch.autograd.grad(loss, x)
    assert loss.isfinite() and gradient.isfinite().all()


@pytest.mark.parametrize("target", ["own", "other"])
def test_words_are_said_of_the_half_or_of_the_other(target: str) -> None:
    data, method = batch(), module(WordPrediction, target=target)
    total = 0.0
    for view, counts in zip(data.views, data.views if target == "own" else data.views.flip(0), strict=True):
        said = method.decoder(method.embed_vectors(view)).detach()
        for row, words in zip(said, counts, strict=True):
            normalizer = math.log(sum(math.exp(float(v)) for v in row))
            total -= sum(float(c) * (float(v) - normalizer) for c, v in zip(words, row, strict=True)) / float(
                words.sum()
            )
    assert float(method.training_step(data, 0).detach()) == pytest.approx(total / 12, rel=1e-10)


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (SufficientContrast, {"form": "info_nce"}),
        (SufficientContrast, {"form": "chi_square"}),
        (WordPrediction, {"target": "own"}),
        (WordPrediction, {"target": "other"}),
    ],
)
def test_processes_share_the_batch(kind: type[Coder], arguments: dict) -> None:
    data = batch(7)
    assert_steps_agree(
        (0, 3, 7),
        lambda: module(kind, **arguments),
        lambda rows: LabelledVectors(data.views[:, rows], *(part[rows] for part in data[1:])),
    )


def given(kind: str, **arguments) -> tuple[GivenCode, Topics]:
    method, data = GivenCode(kind=kind, **arguments), Topics(train_size=500)
    quiet = dict(logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
    L.Trainer(max_steps=0, accelerator="cpu", limit_val_batches=0, **quiet).fit(method, data)
    return method, data


def test_given_codes_are_components_and_posteriors() -> None:
    method, data = given("components", dim=3)
    rows = data.train.views - data.train.views.mean(dim=0)
    spreads = torch.linalg.svdvals(rows.double())[:3].square()
    found = method.embed_vectors(rows).double().square().sum(dim=0).sort(descending=True).values
    torch.testing.assert_close(found, spreads, rtol=1e-4, atol=0)
    method, data = given("posterior")
    counts = data.splits["val"].views[:50]
    torch.testing.assert_close(
        method.embed_vectors(counts).exp(), data.posteriors(counts).float(), rtol=1e-3, atol=1e-5
    )
    with pytest.raises(UserError, match=r"trainer\.max_steps must be 0"):
        method.training_step(batch(), 0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: module(form="kl"), "model.form is 'kl'; it must be 'info_nce' or 'chi_square'"),
        (lambda: module(WordPrediction, target="both"), "model.target is 'both'; it must be 'own' or 'other'"),
        (lambda: GivenCode(kind="pca"), "model.kind is 'pca'; it must be 'components' or 'posterior'"),
        (lambda: chi_square_contrastive(*torch.eye(2).split(1), temperature=1.0), "there is one sample"),
        (lambda: chi_square_contrastive(torch.eye(3), torch.eye(3)[:2], temperature=1.0), "expected as many rows"),
    ],
)
def test_what_is_out_of_range_is_refused(make: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()


# --- properties, and what breaks them ---------------------------------------------------------------------------------

TOLERANCES = {
    "identity": 1e-10,
    "candidates": 1e-10,
    "two_sided": 1e-10,
    "downstream": 1e-6,
    "augmentation": 1e-12,
    "topics": 1e-12,
    "gaussian": 1e-10,
}


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(properties, "DRAWS", 12)


@pytest.mark.parametrize("name", TOLERANCES)
def test_the_property_holds(name: str) -> None:
    assert max(getattr(properties, name)(3).values()) <= TOLERANCES[name]


@pytest.mark.parametrize(
    ("name", "constant", "change", "key"),
    [
        ("identity", "information_lost", lambda value: 1.000001 * value, "kl"),
        ("identity", "information_lost", lambda value: 1.000001 * value, "chi2"),
        ("identity", "information_lost", lambda value: 1.01 * value, "kl, another link"),
        ("identity", "ratio_lost", lambda value: value + 1e-6, "chi2"),
        ("identity", "excess", lambda value: 1.000001 * value, "kl"),
        ("identity", "excess", lambda value: 0.99 * value, "chi2, another link"),
        ("identity", "info_nce_limit", lambda value: 1.000001 * value, "kl"),
        ("identity", "spectral", lambda value: 1.000001 * value, "chi2"),
        ("candidates", "information_lost", lambda value: 1.000001 * value, "limit"),
        ("candidates", "chi_square", lambda value: 1.01 * value, "limit"),
        ("candidates", "info_nce", lambda value: 1.000001 * value, "limit"),
        ("candidates", "info_nce", lambda value: -value, "below 0"),
        ("two_sided", "info_nce_limit", lambda value: 1.000001 * value, "identity"),
        ("two_sided", "information_lost", lambda value: 10 * value, "less than one-sided"),
        ("downstream", "bounded", lambda value: 0.999 * value, "kl, where they meet"),
        ("downstream", "bounded", lambda value: 0.2 * value, "kl, worst for each"),
        ("downstream", "missed", lambda value: 1.001 * value, "chi2, where they meet"),
        ("downstream", "missed", lambda value: 3 * value, "kl"),
        ("augmentation", "invariant", lambda value: 0.999 * value, "where they meet"),
        ("augmentation", "invariant", lambda value: 0.3 * value, "concentration 3.0"),
        ("topics", "ratio_of_posteriors", lambda value: 1.000001 * value, "ratio"),
        ("topics", "ratio_of_posteriors", lambda value: value.roll(1, 0), "info_nce"),
        ("topics", "ratio_of_posteriors", lambda value: value.roll(1, 0), "spectral"),
        ("topics", "information_lost", lambda value: value + 1e-9, "merged"),
        ("gaussian", "told", lambda value: 1.000001 * value, "formula"),
        ("gaussian", "strengths", lambda value: (value[0], value[1][::-1]), "formula"),
        ("gaussian", "strengths", lambda value: (value[0] ** 0.5, value[1]), "another"),
    ],
)
def test_a_wrong_constant_breaks_it(
    name: str, constant: str, change: Callable, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(properties, constant, breaking.wrong(getattr(properties, constant), change))
    assert breaking.broken(properties, name, key, seed=3, tolerance=TOLERANCES[name])


@pytest.mark.parametrize(("name", "scale"), [("identity", 1.001), ("candidates", 1.001)])
def test_another_link_is_not_the_best(name: str, scale: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Joint, "log_ratio", property(breaking.wrong(Joint.log_ratio.fget, lambda x: scale * x)))
    assert breaking.broken(properties, name, "link", seed=3, tolerance=TOLERANCES[name])


def test_a_better_code_than_the_strongest_directions_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The weakest directions in their place, with the loss that they have."""
    kept = properties.strengths
    monkeypatch.setattr(properties, "strengths", lambda *given: tuple(x[::-1] for x in kept(*given)))
    assert breaking.broken(properties, "gaussian", "another", seed=3, tolerance=1e-10)
