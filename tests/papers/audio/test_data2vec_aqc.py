"""data2vec-aqc: negatives and clusters, the loss term by term, the teacher, and a resumed run."""

import math
from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from torch.nn import functional as F

from common.batches import SpeechViews
from common.errors import UserError
from common.sampling.masking import span_mask
from data.benchmarks.bases.recordings import SOURCES
from data.benchmarks.mini.spoken import Spoken
from papers.audio.data2vec_aqc.contrast import damped_cross_entropy, draw_negatives
from papers.audio.data2vec_aqc.module import Data2VecAQC
from tests.processes import on_processes

SMALL = dict(feature_width=16, width=16, layers=3, heads=2, feedforward=16, dropout=0.0, output_width=8, codes=6, top=2)


def module(**arguments) -> Data2VecAQC:
    torch.manual_seed(0)
    return Data2VecAQC(**{**SMALL, "position_kernel": 3, "negatives": 5, **arguments})


def batch(n: int = 3, frames: int = 30) -> SpeechViews:
    return SpeechViews(torch.randn(2, n, frames, 40, generator=torch.Generator().manual_seed(1)), torch.arange(n) + 5)


@pytest.mark.parametrize("parts", ["", "aqc"])
def test_two_processes_have_the_gradient_of_one(parts: str) -> None:
    whole = batch(6)

    def work() -> list[Tensor]:
        import torch.distributed as dist

        ours, data = module(parts=parts).double(), SpeechViews(whole.views.double(), whole.ids)
        if dist.is_initialized():
            rows = (slice(0, 2), slice(2, 6))[dist.get_rank()]
            data = SpeechViews(data.views[:, rows], data.ids[rows])
        terms(ours, data)["loss"].backward()
        return [p.grad if p.grad is not None else torch.zeros_like(p) for p in ours.parameters()]

    alone = work()
    first, second = on_processes(2, work)
    assert sum(float(g.abs().sum()) > 0 for g in alone) > len(alone) // 2
    for expected, a, b in zip(alone, first, second, strict=True):
        torch.testing.assert_close((a + b) / 2, expected, rtol=1e-4, atol=1e-6)  # DDP takes the mean


def test_negatives_are_others_of_the_same_row() -> None:
    drawn = draw_negatives(torch.arange(50), 7, 30, 0)
    assert drawn.shape == (50, 7, 30) and drawn.min() == 0 and drawn.max() == 6
    assert not (drawn == torch.arange(7)[:, None]).any()
    counts = drawn[:, 3].flatten().bincount(minlength=7).float()
    assert counts[3] == 0 and counts[counts > 0].min() > 0.8 * counts[counts > 0].mean()


def test_damping_multiplies_the_logits_of_the_same_cluster() -> None:
    generator = torch.Generator().manual_seed(0)
    query, key = torch.randn(2, 2, 5, 4, generator=generator, dtype=torch.float64)
    key[1, 4] = key[1, 2]
    negatives, clusters = draw_negatives(torch.arange(2), 5, 6, 0), torch.tensor([[0, 0, 1, 1, 0], [0, 1, 2, 2, 2]])
    negatives[1, 2, 0] = 4
    codes = torch.arange(5).repeat(2, 1)[..., None]
    codes[1, 4] = 2
    found = damped_cross_entropy(query, key, codes, negatives, clusters, temperature=0.2, scale=0.3)
    for n in range(2):
        for m in range(5):
            positive = math.exp(F.cosine_similarity(query[n, m], key[n, m], dim=0) / 0.2)
            total = positive
            for j in negatives[n, m].tolist():
                logit = float(F.cosine_similarity(query[n, m], key[n, j], dim=0) / 0.2)
                if not torch.equal(key[n, j], key[n, m]):
                    total += math.exp(0.3 * logit if clusters[n, j] == clusters[n, m] else logit)
            assert float(found[n, m]) == pytest.approx(-math.log(positive / total), rel=1e-9)


def terms(aqc: Data2VecAQC, data: SpeechViews) -> dict[str, Tensor]:
    found = {}
    aqc.log = lambda *arguments, **keywords: None
    aqc.log_loss = lambda loss, **logged: (found.update(logged, loss=loss), loss)[1]
    aqc.training_step(data, 0)
    return found


def test_the_loss_of_data2vec_frame_by_frame() -> None:
    aqc, data = module(parts=""), batch()
    found = terms(aqc, data)
    assert set(found) == {"regression", "loss"}
    x = aqc.encoder.project(aqc.encoder.norm(aqc.encoder.features(data.views[0])))
    mask = span_mask(data.ids, 30, 0.65, 10, *aqc.key("masks"))
    states, _ = aqc.encoder.transformer(aqc.encoder.positions(torch.where(mask[:, :, None], aqc.encoder.masked, x)))
    _, added = aqc.encoder.transformer.eval()(aqc.encoder.positions(x))  # before any step the teacher is the student
    top = torch.stack(added[1:])
    deviation = (top.var(2, keepdim=True, unbiased=False) + 1e-5).sqrt()
    target = ((top - top.mean(2, keepdim=True)) / deviation).mean(0)
    errors = [
        float((aqc.predict(states[n, t]) - target[n, t]).square().sum()) / 4  # the root of the width
        for n, t in mask.nonzero().tolist()
    ]
    assert float(found["loss"]) == pytest.approx(sum(errors) / len(errors), rel=1e-4)


def test_the_parts_build_on_one_another() -> None:
    data = batch()
    plain, augmented, contrast, clusters = (terms(module(parts=parts), data) for parts in ("", "a", "aq", "aqc"))
    assert set(plain) == set(augmented) and not torch.isclose(plain["regression"], augmented["regression"])
    assert set(contrast) == set(clusters) == {"regression", "student", "teacher", "diversity", "penalty", "loss"}
    weights = {"regression": 1, "student": 0.5, "teacher": 0.5, "diversity": 0.1, "penalty": 10}
    for found in (contrast, clusters):
        total = sum(weight * float(found[name]) for name, weight in weights.items())
        assert float(found["loss"]) == pytest.approx(total, rel=1e-5)
    assert not torch.isclose(contrast["student"], clusters["student"])
    same = SpeechViews(torch.stack([data.views[0], data.views[0]]), data.ids)
    torch.testing.assert_close(terms(module(parts="a"), same)["loss"], plain["loss"])


def test_the_gradient_of_features_is_scaled_and_at_zero_they_stay() -> None:
    data, weight = batch(), "encoder.features.convolution.weight"
    whole, half, none = (module(feature_gradient=share) for share in (1.0, 0.5, 0.0))
    losses = [terms(one, data)["loss"] for one in (whole, half, none)]
    assert losses[0] == losses[1] == losses[2]
    sum(losses).backward()
    torch.testing.assert_close(half.get_parameter(weight).grad, whole.get_parameter(weight).grad / 2)
    frozen = {
        name for name, p in none.named_parameters() if p.grad is None and whole.get_parameter(name).grad is not None
    }
    assert frozen == {weight, "encoder.features.convolution.bias"}
    assert none.encoder.norm.weight.grad.abs().sum() > 0


def test_gradients_flow_where_they_should() -> None:
    aqc, data = module(), batch()
    found = terms(aqc, data)
    names = dict(aqc.named_parameters())

    def moved(loss: Tensor) -> set[str]:
        gradients = torch.autograd.grad(loss, list(names.values()), allow_unused=True, retain_graph=True)
        return {
            name.removeprefix("encoder.").split(".")[0]
            for name, g in zip(names, gradients, strict=True)
            if g is not None and g.any()
        }

    # The teacher's term trains no transformer: its query is a constant but for the projection.
    assert moved(found["teacher"]) == {"project_states", "quantizer", "project_quantized", "features", "norm"}
    assert "transformer" in moved(found["student"]) and "quantizer" in moved(found["student"])
    assert moved(found["regression"]) >= {"transformer", "predict", "masked", "positions", "features"}
    assert not any("teacher" in name for name in names)


def test_the_decay_rises_and_the_teacher_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    aqc, decays = module(decay=0.9, end_decay=0.99, anneal=100), []
    monkeypatch.setattr(aqc.teacher, "update", lambda student, decay: decays.append(decay))
    for step in (0, 50, 100, 500):
        monkeypatch.setattr(type(aqc), "global_step", step)
        aqc.follow()
    assert decays == pytest.approx([0.9, 0.945, 0.99, 0.99])


def test_recordings_of_any_length_are_embedded_as_if_alone() -> None:
    aqc = module().eval()
    clips = [torch.randn(size, 40) for size in (12, 40, 23)]
    rows = aqc.embed_speech(clips)
    for clip, row in zip(clips, rows, strict=True):
        torch.testing.assert_close(aqc.embed_speech([clip])[0], row, rtol=1e-3, atol=1e-5)


def test_one_view_is_too_few() -> None:
    data = batch()
    with pytest.raises(UserError, match=r"data.views gives 1 view .* model.parts 'aqc' takes"):
        terms(module(), SpeechViews(data.views[:1], data.ids))
    assert terms(module(parts=""), SpeechViews(data.views[:1], data.ids))["loss"].isfinite()


@pytest.mark.parametrize(
    "argument",
    [
        dict(anneal=0),
        dict(cluster_factor=0),
        dict(gumbel=(2.0, 0.0, 0.9)),
        dict(output_width=7),
        dict(position_kernel=4),
    ],
)
def test_arguments_out_of_range_are_told_in_one_line(argument: dict) -> None:
    with pytest.raises(UserError, match="expected a"):
        module(**argument)


def test_too_many_layers_asked_for() -> None:
    with pytest.raises(UserError, match=r"model.top is 4; it must be from 1 to model.layers, 3"):
        module(top=4)


class Losses(L.Callback):
    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_end(self, trainer, module, outputs, *arguments) -> None:
        self.values.append(float(outputs["loss"]))


def fit(
    module: L.LightningModule, benchmark: L.LightningDataModule, folder: Path, resume: Path | None = None
) -> list[float]:
    """The losses of five steps, or of what is left of them; a checkpoint is kept of each step."""
    losses = Losses()
    keep = ModelCheckpoint(folder, "{step}", every_n_train_steps=1, save_top_k=-1)
    quiet = dict(logger=False, enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0)
    trainer = L.Trainer(
        max_steps=5, accelerator="cpu", callbacks=[losses, keep], use_distributed_sampler=False, **quiet
    )
    trainer.fit(module, benchmark, ckpt_path=resume)
    return losses.values


def test_a_resumed_run_goes_on_along_the_curve(tmp_path, fetched) -> None:
    fetched(*SOURCES)
    # A teacher that moves fast, at another decay at each step: the losses would tell if either began again.
    options = dict(schedule="constant", lr=0.01, decay=0.2, end_decay=0.9, anneal=4)
    whole = fit(module(**options), Spoken(batch_size=8), tmp_path / "whole")
    rest = fit(module(**options), Spoken(batch_size=8), tmp_path / "rest", tmp_path / "whole" / "step=2.ckpt")
    assert rest == pytest.approx(whole[2:], rel=1e-5) and not math.isclose(whole[2], whole[3])
    slow = fit(module(**options | {"decay": 0.9}), Spoken(batch_size=8), tmp_path / "slow")
    assert slow != pytest.approx(whole, rel=1e-3)
