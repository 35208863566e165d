"""CCSL and CSSL: which pairs of different images are drawn together, from when on, and what the controls draw."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from common.batches import Images
from common.distributed import shards
from common.errors import UserError
from papers.vision_ssl.byol.module import BYOL
from papers.vision_ssl.byol_ccsl.module import SelfLabellingBYOL
from tests.processes import on_processes

LABELS = torch.tensor([0, 0, 1, 0, 1, 2, 0, 1])


def batch() -> Images:
    pixels = torch.rand(2, 8, 1, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.double)
    return Images(pixels, LABELS, torch.arange(8))


def module(step: int = 50, kind: type[BYOL] = SelfLabellingBYOL, **arguments) -> BYOL:
    torch.manual_seed(0)
    made = kind(width=8, hidden_dim=30, projection_dim=3, **arguments).double().train()
    made.log_loss, made.log = lambda loss: loss, lambda *_, **__: None  # without a trainer there is no log
    made._trainer = SimpleNamespace(global_step=step, estimated_stepping_batches=100)
    return made


@torch.no_grad()
def cosines() -> list[Tensor]:
    """Of predictions and targets, in both directions."""
    made = module()
    predicted = [F.normalize(made.predictor(made.student(view)), dim=1) for view in batch().views]
    target = [F.normalize(made.teacher(view), dim=1) for view in batch().views]
    return [predicted[0] @ target[1].T, predicted[1] @ target[0].T]


def written(weight: float, form: str, below: float | None, selected) -> float:
    """Equations 7 and 11 to 13, with eq. 12's sign turned."""
    total = 0.0
    for s in cosines():
        for i in range(8):
            for j in range(8):
                cosine = float(s[i, j])
                together = 2 - 2 * cosine if form == "distance" else -math.log(max(cosine, 1e-4))
                apart = 2 * cosine - 2 if form == "distance" else -math.log(1 - cosine)
                if i == j:
                    total += together
                elif selected(cosine, i, j):
                    total += weight * together
                if i != j and below is not None and cosine <= below:
                    total += weight * apart
    return total / 8


@pytest.mark.parametrize("form", ["distance", "entropy"])
@pytest.mark.parametrize("below", [None, 0.1])
def test_similar_pairs_of_different_images_count(form: str, below: float | None) -> None:
    made = module(form=form, weight=0.3, above=0.5, below=below)
    expected = written(0.3, form, below, lambda cosine, i, j: cosine >= 0.5)
    assert float(made.training_step(batch(), 0).detach()) == pytest.approx(expected, rel=1e-9)
    without = written(0.3, form, below, lambda *_: False)
    assert abs(expected - without) > 0.1, "some pairs are similar"


def test_until_it_begins_and_above_one_it_is_byol() -> None:
    expected = module(kind=BYOL).training_step(batch(), 0)
    for made in (module(step=29, above=-1.1, weight=1.0, form="entropy", below=2.0), module(above=1.1, weight=1.0)):
        torch.testing.assert_close(made.training_step(batch(), 0), expected)
    begun = module(step=30, above=-1.1, weight=1.0).training_step(batch(), 0)
    assert float(begun.detach()) > float(expected.detach()) + 1


def test_the_oracle_draws_all_of_one_class() -> None:
    made = module(weight=0.3, above=0.99, selection="one_class")
    expected = written(0.3, "distance", None, lambda _, i, j: LABELS[i] == LABELS[j])
    assert float(made.training_step(batch(), 0).detach()) == pytest.approx(expected, rel=1e-9)


def test_pictures_without_labels_are_of_no_class() -> None:
    made, logged = module(weight=0.3, above=0.5, selection="one_class"), {}
    made.log = lambda name, value, **_: logged.update({name: float(value)})
    found = made.training_step(Images(batch().views, torch.full_like(LABELS, -1), batch().ids), 0)
    torch.testing.assert_close(found, module(kind=BYOL).training_step(batch(), 0))
    assert logged["train/similar_a"] > 0 and logged["train/right_a"] == 0


def test_random_pairs_are_as_many_and_never_ones_own() -> None:
    made, counts = module(selection="random"), torch.tensor([0.0, 1, 2, 3, 4, 5, 6, 7])
    drawn = made.drawn(counts, shards(8, torch.device("cpu")), torch.arange(8), "a")
    assert drawn.sum(dim=1).tolist() == counts.tolist() and not drawn.diagonal().any()
    assert not torch.equal(drawn, made.drawn(counts, shards(8, torch.device("cpu")), torch.arange(8), "b"))
    assert not torch.equal(drawn, module(51).drawn(counts, shards(8, torch.device("cpu")), torch.arange(8), "a"))


def test_a_random_pair_costs_what_a_similar_one_costs() -> None:
    made = module(selection="random", weight=0.3, above=0.5)
    counts = [(s >= 0.5).sum(1) - (s.diagonal() >= 0.5).long() for s in cosines()]
    total = 0.0
    for view, s, count in zip("ab", cosines(), counts, strict=True):
        drawn = made.drawn(count, shards(8, torch.device("cpu")), torch.arange(8), view)
        total += float((2 - 2 * s.diagonal()).mean() + 0.3 * (2 - 2 * s)[drawn].sum() / 8)
    assert float(made.training_step(batch(), 0).detach()) == pytest.approx(total, rel=1e-9)


@pytest.mark.parametrize("selection", ["similar", "random", "one_class"])
@pytest.mark.parametrize("processes", [2, 4])
def test_processes_select_among_all_images(selection: str, processes: int) -> None:
    arguments = dict(selection=selection, weight=0.3, above=0.5, below=0.0)

    def work() -> Tensor:
        rank, share = torch.distributed.get_rank(), 8 // processes
        own = slice(rank * share, (rank + 1) * share)
        part = Images(batch().views[:, own], batch().labels[own], batch().ids[own])
        return module(**arguments).training_step(part, 0).detach()

    whole = module(**arguments).training_step(batch(), 0).detach()
    for found in on_processes(processes, work):
        torch.testing.assert_close(found, whole)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"begin": 1.5}, "model.begin 1.5: expected"),
        ({"weight": -1.0}, "model.weight -1.0: expected"),
        ({"selection": "best"}, "must be 'similar', 'random' or 'one_class'"),
    ],
)
def test_what_is_out_of_range_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        module(**arguments)
