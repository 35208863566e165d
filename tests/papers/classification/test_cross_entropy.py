"""Cross-entropy against a plain loop, on vectors and on pictures; on two and four processes along the losses of one."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from common.batches import Images, LabelledVectors
from common.errors import UserError, WrongBatch
from papers.classification.cross_entropy.module import CrossEntropy
from tests.papers.steps import losses

IDS, LABELS = torch.tensor([4, 91, 17, 8, 33]), torch.tensor([0, 2, 1, 1, 0])


def vectors(views: int = 1) -> LabelledVectors:
    x = torch.randn(views, 5, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return LabelledVectors(x, LABELS, IDS)


def module(**arguments: Any) -> CrossEntropy:
    torch.manual_seed(0)
    defaults = {"classes": 3, "encoder": "vector_tower", "channels": 7, "width": 6}
    made = CrossEntropy(**{**defaults, **arguments}).double()
    made._trainer = SimpleNamespace(global_step=3)
    made.log_loss = lambda loss: loss  # without a trainer there is no log
    return made


def loop(made: CrossEntropy, batch: LabelledVectors, kept: Tensor, smoothing: float) -> float:
    """Layer by layer and row by row; `kept` says what stays of the features, and by which factor."""
    (w, b), (v, c) = ((layer.weight.tolist(), layer.bias.tolist()) for layer in (made.encoder.hidden, made.classifier))
    total = 0.0
    for view, masks in zip(batch.views.tolist(), kept.tolist(), strict=True):
        for x, label, mask in zip(view, batch.labels.tolist(), masks, strict=True):
            dots = [sum(p * q for p, q in zip(row, x, strict=True)) + bias for row, bias in zip(w, b, strict=True)]
            hidden = [max(0.0, dot) * factor for dot, factor in zip(dots, mask, strict=True)]
            logits = [
                sum(p * q for p, q in zip(row, hidden, strict=True)) + bias for row, bias in zip(v, c, strict=True)
            ]
            log_sum = math.log(sum(map(math.exp, logits)))
            for k, logit in enumerate(logits):
                total -= (smoothing / 3 + (1 - smoothing) * (k == label)) * (logit - log_sum)
    return total / batch.views.shape[:2].numel()


@pytest.mark.parametrize("views", [1, 2])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_that_of_a_loop(views: int, smoothing: float) -> None:
    made, batch = module(label_smoothing=smoothing), vectors(views)
    expected = loop(made, batch, torch.ones(views, 5, 6), smoothing)
    assert float(made.training_step(batch, 0).detach()) == pytest.approx(expected, rel=1e-12)


def test_dropout_takes_features_before_the_classifier(monkeypatch: pytest.MonkeyPatch) -> None:
    made, batch, seen = module(dropout=0.5), vectors(2), []
    plain = made.classifier.forward
    monkeypatch.setattr(made.classifier, "forward", lambda x: seen.append(x.detach()) or plain(x))
    loss = float(made.training_step(batch, 0).detach())
    whole = made.embed_vectors(batch.views.flatten(0, 1)).detach()
    kept = torch.where(seen[0] != 0, 2.0, 0.0)
    torch.testing.assert_close(seen[0], whole * kept)
    assert 0 < kept.count_nonzero() < whole.count_nonzero()
    assert loss == pytest.approx(loop(made, batch, kept.view(2, 5, 6), 0.0), rel=1e-12)
    made.trainer.global_step = 4
    assert float(made.training_step(batch, 0).detach()) != pytest.approx(loss, rel=1e-3), "another step, another mask"
    torch.testing.assert_close(made.classify_vectors(batch.views[0]), plain(made.embed_vectors(batch.views[0])))


def test_another_loss_is_one_method() -> None:
    class Squared(CrossEntropy):
        def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
            return super().losses(logits, labels) + logits.square().mean(dim=1)

    torch.manual_seed(0)
    twisted = Squared(classes=3, encoder="vector_tower", channels=7, width=6).double()
    twisted._trainer, twisted.log_loss = SimpleNamespace(global_step=3), lambda loss: loss
    plain, batch = module(), vectors()
    added = plain.classify_vectors(batch.views[0]).square().mean()
    torch.testing.assert_close(twisted.training_step(batch, 0), plain.training_step(batch, 0) + added)


def test_pictures_go_the_same_way() -> None:
    made = module(encoder="small_convnet", channels=1, width=8)
    pixels = torch.rand(2, 5, 1, 16, 16, dtype=torch.float64)
    logits = made.classifier(made.encoder(pixels.flatten(0, 1)))
    expected = torch.nn.functional.cross_entropy(logits, LABELS.repeat(2))
    torch.testing.assert_close(made.training_step(Images(pixels, LABELS, IDS), 0), expected)
    grey = (pixels[0] * 255).byte()
    plain = made.float()
    torch.testing.assert_close(plain.classify_image(grey), plain.classifier(plain.encoder(grey / 255)))


@pytest.mark.parametrize("processes", [2, 4])
@pytest.mark.parametrize("noisy", [False, True])
def test_several_processes_follow_the_curve_of_one(processes: int, noisy: bool) -> None:
    """Dropout, smoothing and wrong labels included: all that is drawn belongs to a post."""
    data = {"init_args": {"batch_size": 32, "shots": 20, "label_noise": 0.3 if noisy else 0.0}}
    overrides = {"model": {"init_args": {"label_smoothing": 0.1, "warmup": 0.0}}, "data": data}
    one = losses(1, "cross_entropy", overrides)
    assert one[0] != pytest.approx(one[3], rel=1e-3)
    assert losses(processes, "cross_entropy", overrides) == pytest.approx(one, rel=1e-4)


def test_a_class_without_a_logit_is_named() -> None:
    with pytest.raises(UserError, match=r"model.classes is 2; the data have a class 2, from 0 on"):
        module(classes=2).training_step(vectors(), 0)
    assert module(classes=2).training_step(vectors()._replace(labels=LABELS.clamp(max=1)), 0).isfinite()


def test_other_batches_are_refused() -> None:
    made = module()
    made._trainer = SimpleNamespace(datamodule=SimpleNamespace(name="verses"))
    with pytest.raises(WrongBatch, match=r"reads Images \(.*\) or LabelledVectors .*; the benchmark verses"):
        made.on_train_batch_start(("a", "b"), 0)
    made.on_train_batch_start(vectors(), 0)
    with pytest.raises(UserError, match=r"vectors \(5, 1, 8, 8\): expected \(n, 7\)"):
        made.encoder(torch.zeros(5, 1, 8, 8))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dropout": 1.0}, r"model.dropout is 1.0; it must be in \[0, 1\)"),
        ({"label_smoothing": 1.5}, "label_smoothing 1.5"),
    ],
)
def test_what_is_out_of_range_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        module(**arguments)
