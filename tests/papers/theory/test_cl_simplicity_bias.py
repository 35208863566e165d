"""Which features contrast learns: the loss against loops, and properties that a wrong constant breaks."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from common.batches import LabelledVectors
from common.errors import UserError
from papers.theory.cl_simplicity_bias import properties
from papers.theory.cl_simplicity_bias.module import JointContrast
from tests.papers.theory import breaking
from tests.processes import assert_steps_agree


def batch(n: int = 6) -> LabelledVectors:
    draw = torch.Generator().manual_seed(3)
    views = torch.randn(2, n, 10, generator=draw, dtype=torch.double)
    return LabelledVectors(views, torch.arange(n) % 3, torch.arange(n))


def module(**arguments) -> JointContrast:
    torch.manual_seed(0)
    made = JointContrast(channels=10, **arguments).double()
    made.log_loss = lambda loss, **terms: loss  # without a trainer there is no log
    return made


def spectral_loop(x: Tensor, y: Tensor, labels: list[int]) -> float:
    """-2 times the mean product with a positive, plus the mean square of the product with any other sample."""
    n, value = len(x), 0.0
    for i in range(n):
        alike = [j for j in range(n) if labels[j] == labels[i]]
        value -= 2 * sum(float(x[i] @ y[j]) for j in alike) / len(alike) / n
        value += sum(float(x[i] @ y[j]) ** 2 for j in range(n) if j != i) / (n - 1) / n
    return value


def softmax_loop(x: Tensor, y: Tensor, labels: list[int], temperature: float) -> float:
    """Over all views, of unit length: those of one label are positives, all but the view itself are compared."""
    z = F.normalize(torch.cat([x, y]), dim=1)
    told, value = labels * 2, 0.0
    for i in range(len(z)):
        logits = {j: float(z[i] @ z[j]) / temperature for j in range(len(z)) if j != i}
        alike = [logits[j] for j in logits if told[j] == told[i]]
        value += (math.log(sum(map(math.exp, logits.values()))) - sum(alike) / len(alike)) / len(z)
    return value


@pytest.mark.parametrize("by_label", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("form", ["spectral", "softmax"])
def test_the_loss_is_that_of_a_loop(form: str, by_label: float) -> None:
    method, data = module(form=form, by_label=by_label, start=0.7, temperature=0.05), batch()
    x, y = (method.embed_vectors(view).detach() for view in data.views)

    def loop(labels: list[int]) -> float:
        return spectral_loop(x, y, labels) if form == "spectral" else softmax_loop(x, y, labels, 0.05)

    expected = by_label * loop(data.labels.tolist()) + (1 - by_label) * loop(list(range(6)))
    assert float(method.training_step(data, 0).detach()) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("form", ["spectral", "softmax"])
def test_processes_share_the_pairs(form: str) -> None:
    data = batch(7)
    assert_steps_agree(
        (0, 3, 7),
        lambda: module(form=form, start=0.7),
        lambda rows: LabelledVectors(data.views[:, rows], *(part[rows] for part in data[1:])),
    )


def test_a_loss_without_weight_is_not_computed() -> None:
    one, other = batch().pair()
    labels = torch.arange(6)
    assert list(module(by_label=0.0).terms(one, other, labels)) == ["unsupervised"]
    assert list(module(by_label=1.0).terms(one, other, labels)) == ["supervised"]


def test_the_matrix_starts_as_said_and_pictures_have_a_network() -> None:
    assert float(module(dim=400, start=1e-3).head.weight.detach().std()) == pytest.approx(1e-3, rel=0.05)
    pictures = JointContrast(encoder="small_convnet", channels=1, width=4, dim=5, form="softmax")
    seen = pictures.embed_image(torch.zeros(2, 1, 28, 28, dtype=torch.uint8))
    assert seen.shape[1] > 5 and pictures.head(seen).shape == (2, 5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"by_label": 1.1}, "model.by_label 1.1: expected"),
        ({"start": 0.0}, "model.start 0.0: expected"),
        ({"dim": 0}, "model.dim is 0; it must be at least 1"),
        ({"form": "hinge"}, "model.form is 'hinge'; it must be 'spectral' or 'softmax'"),
    ],
)
def test_what_is_out_of_range_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        module(**arguments)


# --- properties, and what breaks them ---------------------------------------------------------------------------------

TOLERANCES = {"not_all": 1e-9, "collapse": 1e-9, "unlearned": 1e-3, "suppression": 1e-9, "joint": 1e-9}


@pytest.mark.parametrize("name", TOLERANCES)
def test_the_property_holds(name: str) -> None:
    assert max(getattr(properties, name)(11).values()) <= TOLERANCES[name]


def broken(name: str, key: str) -> bool:
    return breaking.broken(properties, name, key, seed=11, tolerance=TOLERANCES[name])


@pytest.mark.parametrize(
    ("name", "constant", "change", "key"),
    [
        ("not_all", "told", lambda share: 0.9 * share, "not told"),
        ("not_all", "told", lambda share: share + 0.3, "told by the minimum"),
        ("not_all", "linear_minimizer", lambda weight: 1.001 * weight, "gradient"),
        ("collapse", "length", lambda value: 1.001 * value, "width"),
        ("collapse", "leak", lambda bound: 0.01 * bound, "Gaussian"),
        ("suppression", "length", lambda value: 1.001 * value, "width 2"),
        ("suppression", "length", lambda value: 1.001 * value, "drawn anew"),
        ("suppression", "linear_minimizer_of_samples", lambda weight: 2 * weight, "kept"),
        ("joint", "length", lambda value: 1.001 * value, "beta 0.5"),
        ("joint", "expected", lambda lengths: lengths * torch.tensor([1.0, 0.0, 1.0]), "not seen"),
    ],
)
def test_a_wrong_constant_breaks_it(
    name: str, constant: str, change: Callable, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(properties, constant, breaking.wrong(getattr(properties, constant), change))
    assert broken(name, key)


@pytest.mark.parametrize("power", [0.4, 0.6, 1.0])
def test_the_root_of_the_share_counts(power: float, monkeypatch: pytest.MonkeyPatch) -> None:
    right = properties.length
    monkeypatch.setattr(properties, "length", lambda a, b, c, share: right(a, b, c, share ** (2 * power)))
    assert broken("joint", "beta 0.25")


def test_which_features_come_first_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the strengths of class and shortcut exchanged in the formula, another feature would have the only row."""
    right = properties.expected
    turned = torch.tensor([2, 1, 0])
    monkeypatch.setattr(
        properties, "expected", lambda world, *a: right(replace(world, strengths=world.strengths[turned]), *a)[turned]
    )
    assert broken("joint", "width 1")


def test_without_balance_the_subclass_is_not_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    right = properties.balanced

    def tilted() -> Tensor:
        signs = right()
        signs[(signs[:, 0] > 0) & (torch.arange(len(signs)) < 8), 1] = 1.0
        return signs

    monkeypatch.setattr(properties, "balanced", tilted)
    assert broken("collapse", "width")


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (lambda strengths, rho, noise: (strengths.flip(0), rho, noise), "early"),
        (lambda strengths, rho, noise: (strengths, 1.02 * rho, noise), "early"),
        (lambda strengths, rho, noise: (strengths, rho, 1.05 * noise), "in the end"),
        (lambda strengths, rho, noise: (strengths, rho, noise * (1 - rho**2)), "in the end"),
    ],
)
def test_what_is_unlearned_follows_from_all_of_it(change: Callable, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = properties.ratios
    monkeypatch.setattr(properties, "ratios", lambda *given: right(*change(*given)))
    assert broken("unlearned", key)


def test_a_bound_that_says_nothing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(properties, "leak", lambda world: 1.0)
    with pytest.raises(ArithmeticError, match="says nothing"):
        properties.collapse(0)
