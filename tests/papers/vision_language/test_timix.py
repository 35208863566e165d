"""TiMix: windows and pasting by loops, partners and labels, turns of plain and mixed steps, several processes."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from common.batches import ImageText
from common.errors import UserError
from papers.vision_language.timix import properties
from papers.vision_language.timix.module import TiMix
from papers.vision_language.timix.windows import inside, pasted, window_sums
from tests.processes import on_processes

TEXTS = ["a small dog", "a large red circle", "a small white ring", "a large tent", "a small fox", "a large owl"]


class At(TiMix):
    """At a step of a training of a hundred, without a log."""

    global_step, key = 1, lambda self, purpose: (5, len(purpose))
    trainer = SimpleNamespace(estimated_stepping_batches=100)

    def log_loss(self, loss: Tensor, **terms: Tensor) -> Tensor:
        return loss


def module(step: int = 1, **arguments) -> At:
    torch.manual_seed(0)
    small = {"image_encoder": "small_convnet", "width": 4, "text_encoder": "bag_of_words", "embed_dim": 6}
    made = type("At", (At,), {"global_step": step})(**small | {"cells": 6, "least": 2, "most": 2} | arguments)
    return made.double()


def batch(own: slice = slice(None)) -> ImageText:
    draw = torch.Generator().manual_seed(1)
    corner = torch.rand(6, 2, 2, generator=draw, dtype=torch.double) * 0.6
    boxes = torch.cat([corner, corner + torch.tensor([[0.35, 0.35], [0.0, 0.0]])], dim=2)  # one of two is empty
    pixels, ids = torch.rand(1, 6, 3, 24, 24, generator=draw, dtype=torch.double), torch.tensor([5, 2, 8, 0, 7, 3])
    return ImageText(pixels[:, own], [TEXTS[own]], ids[own], ids[own], boxes=boxes[own])


def test_cells_and_windows_are_those_of_loops() -> None:
    boxes = batch().boxes
    found = inside(boxes, 6)
    for i, row, column in torch.cartesian_prod(*(torch.arange(6) for _ in range(3))).tolist():
        x, y = (column + 0.5) / 6, (row + 0.5) / 6
        there = any(left <= x < right and top <= y < bottom for left, top, right, bottom in boxes[i].tolist())
        assert found[i, row, column] == there
    assert 0 < found.mean() < 0.5
    sums = window_sums(found, 4)
    assert sums.shape == (6, 9)
    torch.testing.assert_close(sums[3, 5], found[3, 1:5, 2:6].sum())


def test_a_window_of_the_source_stands_in_the_picture() -> None:
    pixels, source = torch.rand(2, 2, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    found = pasted(pixels, source, torch.tensor([0, 11]), torch.tensor([6, 13]), side=3, cells=6)
    expected = pixels.clone()
    expected[0, :, 0:6, 0:6] = source[0, :, 2:8, 4:10]
    expected[1, :, 4:10, 6:12] = source[1, :, 6:12, 2:8]
    assert torch.equal(found, expected)


@pytest.mark.parametrize("windows", ["text", "reversed"])
def test_the_least_telling_window_gets_the_partners_most_telling_one(windows: str) -> None:
    given, method = batch(), module(windows=windows)
    mixed = method.mix(given)
    sums = window_sums(inside(given.boxes, 6), 2)
    assert torch.equal(mixed.partner[mixed.partner], torch.arange(6)) and not (mixed.partner == torch.arange(6)).any()
    grid = [(4 * (w // 5), 4 * (w % 5)) for w in range(25)]
    for i, partner in enumerate(mixed.partner.tolist()):
        changed = (mixed.pixels[i] != given.pixels[i]).any(0)
        to = [w for w, (y, x) in enumerate(grid) if changed[y : y + 8, x : x + 8].all()]
        assert changed.sum() == 64 and len(to) == 1
        y, x = grid[to[0]]
        window = mixed.pixels[i, :, y : y + 8, x : x + 8]
        whole = given.pixels[partner]
        of = [w for w, (r, c) in enumerate(grid) if torch.equal(whole[:, r : r + 8, c : c + 8], window)]
        low, high = sums.min(1).values, sums.max(1).values
        wanted = (low[i], high[partner]) if windows == "text" else (high[i], low[partner])
        assert (sums[i, to[0]], sums[partner, of[0]]) == wanted
    torch.testing.assert_close(mixed.share, torch.full((6,), 1 - 4 / 36, dtype=torch.double))
    torch.testing.assert_close(mixed.back, mixed.share)


def test_a_share_by_objects_is_what_stays_among_what_is_seen() -> None:
    given, method = batch(), module(labels="objects", windows="reversed")
    mixed, cells = method.mix(given), inside(batch().boxes, 6)
    sums = window_sums(cells, 2)
    for i, partner in enumerate(mixed.partner.tolist()):
        stays, comes = float(cells[i].sum() - sums[i].max()), float(sums[partner].min())
        assert float(mixed.share[i]) == pytest.approx(stays / (stays + comes) if stays + comes else 32 / 36)
        given_away = 1 - float(mixed.share[partner])
        assert float(mixed.back[i]) == pytest.approx(
            float(mixed.share[i]) / max(float(mixed.share[i]) + given_away, 1e-6)
        )


def test_predicted_labels_are_those_before_mixing() -> None:
    given, method = batch(), module(labels="predicted")
    mixed = method.mix(given)
    text, plain = method.encoder.texts(TEXTS), method.encoder.images(given.pixels)
    predicted = (plain @ text.T / 0.07).softmax(1).detach()
    q = 32 / 36 * predicted + 4 / 36 * predicted[mixed.partner]
    logits = method.encoder.images(mixed.pixels) @ text.T / 0.07
    expected = -((q * logits.log_softmax(1)).sum(1).mean() + (q * logits.T.log_softmax(1)).sum(1).mean()) / 2
    found = method.mixed_loss(given, mixed)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    weights = list(method.encoder.parameters())
    slopes = [torch.cat([g.flatten() for g in torch.autograd.grad(loss, weights)]) for loss in (found, expected)]
    torch.testing.assert_close(*slopes, rtol=1e-5, atol=1e-6)


def test_plain_and_mixed_steps_take_turns() -> None:
    given = batch()
    plain = module(0).training_step(given, 0)
    logits = module().encoder.images(given.pixels) @ module().encoder.texts(TEXTS).T / 0.07
    expected = sum(F.cross_entropy(x, torch.arange(6)) for x in (logits, logits.T)) / 2
    torch.testing.assert_close(plain, expected, rtol=1e-6, atol=1e-6)
    for unmixed in (module(1, windows="none"), module(31, until=0.3)):
        torch.testing.assert_close(unmixed.training_step(given, 0), plain)
    mixed = module(1).mixed_loss(given, module(1).mix(given))
    torch.testing.assert_close(module(1).training_step(given, 0), mixed)
    assert abs(float((mixed - plain).detach())) > 1e-3
    torch.testing.assert_close(module(25, weight=0.5, ramp=0.5).training_step(given, 0), 0.25 * mixed)


@pytest.mark.parametrize("arguments", [{}, {"labels": "predicted"}, {"labels": "objects"}], ids=str)
def test_several_processes_mix_and_label_alike(arguments: dict) -> None:
    def step(own: slice = slice(None)) -> Tensor:
        return module(**arguments).training_step(batch(own), 0).detach()

    whole = step()
    for found in on_processes(2, lambda: step(slice(0, 2) if torch.distributed.get_rank() == 0 else slice(2, 6))):
        torch.testing.assert_close(found, whole)


@pytest.mark.parametrize("name", ["two_captions", "least"])
def test_the_properties_hold(name: str) -> None:
    assert getattr(properties, name)(3) < 1e-9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"windows": "salient"}, "model.windows 'salient'"),
        ({"labels": "hard"}, "labels 'hard'"),
        ({"most": 7}, "most 7; they must rise from 1 to cells, 6"),
        ({"ramp": 2.0}, "model.ramp"),
        ({"weight": -1.0}, "model.weight"),
    ],
)
def test_what_is_out_of_range_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        module(**arguments)


def test_boxes_and_whole_cells_are_needed() -> None:
    with pytest.raises(UserError, match=r"data\.boxes must be true"):
        module().mix(batch()._replace(boxes=None))
    with pytest.raises(UserError, match=r"a multiple of model\.cells, 7"):
        module(cells=7).mix(batch())
