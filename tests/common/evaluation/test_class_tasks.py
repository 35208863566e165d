"""Accuracy on tasks of a few classes against all tasks one by one; the mean classifier; what is refused."""

import itertools
import math

import pytest
import torch

from common.errors import UserError
from common.evaluation.class_tasks import Bound, Form, contrastive_bound, mean_classifier_metrics, task_accuracy


@pytest.mark.parametrize("ways", [2, 3, 6])
def test_accuracy_is_the_mean_over_all_tasks(ways: int) -> None:
    draw = torch.Generator().manual_seed(0)
    scores, labels = torch.randn(40, 6, generator=draw), torch.randint(6, (40,), generator=draw)
    found = task_accuracy(scores, labels, ways)
    for row, label, item in zip(scores.tolist(), labels.tolist(), found.items.tolist(), strict=True):
        others = [c for c in range(6) if c != label]
        tasks = [all(row[label] > row[c] for c in task) for task in itertools.combinations(others, ways - 1)]
        assert item == pytest.approx(sum(tasks) / len(tasks))
    assert found == pytest.approx(float(found.items.mean()))


def test_a_tie_is_lost() -> None:
    assert task_accuracy(torch.zeros(2, 4), torch.tensor([0, 3]), 2) == 0.0


def test_the_mean_classifier_takes_products_with_the_means_as_they_are() -> None:
    train = torch.tensor([[2.0, 0.0], [4.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    test = torch.tensor([[1.0, 1.0], [1.0, 7.0]])  # with 3 and 0.5 in length the first mean wins wherever x > y / 6
    found = mean_classifier_metrics(train, torch.tensor([0, 0, 1, 1]), test, torch.tensor([0, 1]))
    assert found == {"avg2": 1.0, "top1": 1.0}
    assert found["avg2"].items.tolist() == [1.0, 1.0]
    turned = mean_classifier_metrics(train, torch.tensor([0, 0, 1, 1]), test[:, [1, 0]], torch.tensor([0, 1]))
    assert turned == {"avg2": 0.5, "top1": 0.5}


def test_of_ten_classes_there_is_avg10() -> None:
    rows = torch.eye(12)
    found = mean_classifier_metrics(rows, torch.arange(12), rows, torch.arange(12))
    assert found == {"avg2": 1.0, "avg10": 1.0, "top1": 1.0}


def test_no_gap_costs_a_guess() -> None:
    found = contrastive_bound(torch.zeros(8, 2), torch.arange(8) % 4)
    assert found.contrastive == found.supervised == found.within == found.ceiling == 1.0
    assert found.collisions == 0.25


@pytest.mark.parametrize("form", ["logistic", "hinge"])
def test_the_loss_at_the_best_length_does_not_know_the_length(form: Form) -> None:
    draw, labels = torch.Generator().manual_seed(0), torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2])
    rows = torch.randn(9, 3, generator=draw, dtype=torch.float64) + 2 * torch.eye(3).double()[labels]
    # Products grow like the square of the length.
    found = [contrastive_bound(math.sqrt(by) * rows, labels, form) for by in torch.logspace(-3, 3, 601).tolist()]
    assert min(bound.supervised for bound in found) == pytest.approx(found[0].rescaled, rel=1e-4)
    assert all(bound.rescaled == pytest.approx(found[0].rescaled, rel=1e-6) for bound in found[::100])
    assert all(bound.rescaled <= bound.supervised + 1e-9 for bound in found)


@pytest.mark.parametrize("form", ["logistic", "hinge"])
def test_an_item_is_what_its_row_does_to_the_loss(form: Form) -> None:
    """A row that moves a little towards another of its class changes the losses by as much as their items differ."""
    draw, labels = torch.Generator().manual_seed(3), torch.tensor([2, 0, 0, 1, 0, 1, 2, 2, 1, 2])
    rows = torch.randn(10, 3, generator=draw, dtype=torch.float64) + torch.eye(3).double()[labels]
    if form == "hinge":
        rows /= 5  # no margin is near 1, where the hinge has no slope; at its best length some are
    known, of_known = rows.repeat_interleave(20, dim=0), labels.repeat_interleave(20)
    found = contrastive_bound(rows, labels, form)

    def after(one: int, other: int) -> Bound:
        moved = known.clone()
        moved[20 * one] = rows[other]  # a two-hundredth of all mass
        return contrastive_bound(moved, of_known, form)

    for one, other in ((0, 6), (1, 4), (8, 3)):
        there, back = after(one, other), after(other, one)
        for name in ("supervised", "rescaled") if form == "logistic" else ("supervised",):
            value = getattr(found, name)
            assert float(value.items.mean()) == pytest.approx(value, rel=1e-9)
            change = 100 * (getattr(there, name) - getattr(back, name))
            assert change == pytest.approx(float(value.items[other] - value.items[one]), rel=0.01, abs=1e-3)


def test_what_cannot_be_scored_is_refused() -> None:
    with pytest.raises(UserError, match="ways is 5; it must be from 2 to 4"):
        task_accuracy(torch.zeros(2, 4), torch.tensor([0, 1]), 5)
    with pytest.raises(UserError, match=r"classes of the training rows are \[0, 2\]"):
        mean_classifier_metrics(torch.ones(2, 2), torch.tensor([0, 2]), torch.ones(1, 2), torch.tensor([0]))
    with pytest.raises(UserError, match="rows hold NaN"):
        contrastive_bound(torch.full((2, 2), torch.nan), torch.tensor([0, 1]))
