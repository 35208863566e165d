"""The last ReLU, the bound, and properties that fail where they should."""

import math

import pytest
import torch
from torch import Tensor

from common.batches import Images
from common.errors import UserError
from common.sampling.labels import BatchBindingSampler
from data.benchmarks.mini.digits import Digits
from papers.classification.scl_relu import properties
from papers.classification.scl_relu.module import SymmetricSupCon
from papers.classification.scl_relu.properties import (
    bound_batches,
    broken,
    frame,
    labels_of,
    lacking,
    least,
    loss,
    never_below,
    reached,
    unbound,
)
from papers.classification.supcon.module import SupCon


def by_loops(h: Tensor, labels: Tensor, tau: float) -> Tensor:
    total = h.new_zeros(())
    for i in range(len(h)):
        others = [j for j in range(len(h)) if j != i]
        positives = [j for j in others if labels[j] == labels[i]]
        for j in positives:
            total = total + sum(((h[i] @ h[k] - h[i] @ h[j]) / tau).exp() for k in others).log() / len(positives)
    return total


@pytest.mark.parametrize("tau", [1.0, 0.2])
def test_the_loss_of_a_family_is_that_of_loops(tau: float) -> None:
    labels = torch.tensor([0, 0, 1, 2, 1, 0, 2, 3])
    h = properties.drawn(2, 8)
    assert float(loss(h, labels, tau)) == pytest.approx(float(by_loops(h, labels, tau)), rel=1e-10)
    family = [torch.tensor([0, 1, 3, 4]), torch.tensor([2, 4, 5, 6, 7])]
    expected = sum(float(by_loops(h[batch], labels[batch], tau)) for batch in family)
    assert float(loss(h, labels, tau, family)) == pytest.approx(expected, rel=1e-10)


def test_the_bound_is_that_of_the_published_formula() -> None:
    labels = labels_of((4, 2, 3))
    expected = 4 * math.log(3 + 5 / math.e) + 2 * math.log(1 + 7 / math.e) + 3 * math.log(2 + 6 / math.e)
    assert least(labels, 1.0) == pytest.approx(expected)
    assert least(labels, 1.0, [torch.arange(5)]) == pytest.approx(4 * math.log(3 + math.exp(-1)))  # one is alone
    assert float(loss(frame(labels), labels, 1.0)) == pytest.approx(expected)


def test_a_bound_that_is_a_thousandth_higher_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    assert max(never_below(0).values()) < 1e-9
    monkeypatch.setattr(properties, "least", lambda *arguments: 1.001 * least(*arguments))
    found = never_below(0)
    assert found["below"] > 9e-4 and found["at_frame"] > 9e-4


def test_without_the_sign_the_bound_is_undercut_and_with_equal_classes_it_is_symmetric(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert max(broken(0).values()) == 0
    monkeypatch.setattr(properties, "SIZES", ((12, 12, 12),))
    assert broken(0)["symmetry"] > 0.09
    free = properties.descended
    monkeypatch.setattr(properties, "descended", lambda *rest, **named: free(*rest, **named | {"constrained": False}))
    monkeypatch.setattr(properties, "SIZES", ((20, 20, 3, 3),))
    found = reached(0)
    assert found["loss"] > 0.01 and found["gram"] > 0.1


def test_descent_reaches_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(properties, "SIZES", ((20, 20, 3, 3),))
    assert max(reached(0).values()) < 1e-3


def test_what_batches_lack_is_seen() -> None:
    labels = torch.tensor([0, 0, 0, 1, 1, 2, 2])
    whole = [torch.arange(7)]
    assert lacking(labels, whole) == {"classes": 0, "pairs": 0}
    parted = [torch.tensor([0, 3, 5]), torch.tensor([1, 2, 3, 4, 6])]
    assert lacking(labels, parted) == {"classes": 2, "pairs": 0}
    never_met = [torch.tensor([0, 1, 2, 3, 4]), torch.tensor([0, 5, 6])]
    assert lacking(labels, never_met) == {"classes": 0, "pairs": 1}
    assert lacking(labels, [torch.tensor([0, 1])]) == {"classes": 0, "pairs": 0}
    assert sum(lacking(labels_of((30, 12, 5, 2)), bound_batches(labels_of((30, 12, 5, 2)), 0)).values()) == 0


def test_classes_that_meet_are_parted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert max(unbound(0).values()) < 1e-9
    monkeypatch.setattr(properties, "bound_batches", lambda labels, seed: [torch.arange(80)])  # without class 2 and 3
    assert unbound(0)["bound"] > 0


def test_embeddings_are_projections_of_unit_length_and_at_least_0() -> None:
    torch.manual_seed(0)
    pixels = torch.randint(256, (5, 1, 28, 28), dtype=torch.uint8)
    least_entries = {}
    for last in ("relu", "softplus", "none"):
        rows = SymmetricSupCon(width=8, projection_dim=16, last=last).embed_image(pixels)
        torch.testing.assert_close(rows.norm(dim=1), torch.ones(5))
        least_entries[last] = float(rows.detach().min())
    assert least_entries["relu"] == 0 < least_entries["softplus"] and least_entries["none"] < 0


def test_without_an_end_it_is_supcon() -> None:
    pixels = torch.rand(2, 6, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    data, losses = Images(pixels, torch.tensor([0, 1, 0, 2, 1, 0]), torch.arange(6)), []
    for kind, arguments in ((SupCon, {}), (SymmetricSupCon, {"last": "none"}), (SymmetricSupCon, {})):
        torch.manual_seed(0)
        module = kind(width=8, projection_dim=16, **arguments)
        module.log_loss = lambda value, **terms: value
        losses.append(float(module.training_step(data, 0)))
    assert losses[0] == losses[1] != losses[2]


def test_bound_batches_are_those_of_the_benchmark(fetched) -> None:
    fetched(*Digits.sources)
    benchmark = Digits(batch_size=32, views=1)

    class Trainer:
        datamodule = benchmark

    module = SymmetricSupCon(width=8, binding=True)
    module._trainer = Trainer()
    module.setup("fit")
    assert isinstance(benchmark.sampler, BatchBindingSampler)
    first, second, *_ = benchmark.sampler
    shared = sorted(set(first) & set(second))

    assert sorted(benchmark.train.labels[shared].tolist()) == list(range(10))


def test_what_is_out_of_range_is_refused() -> None:
    with pytest.raises(UserError, match=r"model.last is 'tanh'; it must be one of relu, softplus, none"):
        SymmetricSupCon(last="tanh")
