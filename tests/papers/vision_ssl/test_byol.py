"""BYOL: who predicts what, how the teacher follows, and by what either normalizes."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from common.batches import Images
from common.encoders.momentum import cosine_decay
from common.encoders.norms import GlobalBatchNorm
from papers.vision_ssl.byol.module import BYOL


def batch(n: int = 6) -> Images:
    pixels = torch.rand(2, n, 1, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.double)
    return Images(pixels, torch.arange(n), torch.arange(n))


def module(**arguments) -> BYOL:
    torch.manual_seed(0)
    made = BYOL(width=8, hidden_dim=30, projection_dim=5, **arguments).double().train()
    made.log_loss, made.log = lambda loss: loss, lambda *_, **__: None  # without a trainer there is no log
    with torch.no_grad():
        for weight in made.student.parameters():
            weight += 0.1 * torch.randn_like(weight)  # so that the teacher is another
    return made


def plain(head: nn.Sequential, x: torch.Tensor) -> torch.Tensor:
    """Linear, batch normalization by mean and variance, ReLU, linear."""
    x = x @ head[0].weight.T
    x = (x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-5).sqrt() * head[1].weight + head[1].bias
    return x.clamp(min=0) @ head[3].weight.T


def test_the_loss_is_that_of_a_loop() -> None:
    byol, total = module(), 0.0
    for ours, theirs in ((0, 1), (1, 0)):
        online = plain(byol.predictor, plain(byol.student[1], byol.student[0](batch().views[ours])))
        target = plain(byol.teacher.body[1], byol.teacher.body[0](batch().views[theirs]))
        for p, z in zip(online.detach(), target, strict=True):
            total += float(sum((a - b) ** 2 for a, b in zip(p / p.norm(), z / z.norm(), strict=True))) / 6
    assert float(byol.training_step(batch(), 0).detach()) == pytest.approx(total, rel=1e-9)


def test_the_gradient_reaches_the_student_alone() -> None:
    byol = module()
    byol.training_step(batch(), 0).backward()
    assert all(p.grad is not None and p.grad.any() for p in byol.parameters())
    assert not any(name.startswith("teacher") for name, _ in byol.named_parameters())


# From byol/utils/schedules.py of google-deepmind/deepmind-research, commit f5de0ed: target_ema(step, 0.996, 1000).
RELEASED = {0: 0.996, 1: 0.9960000098695962, 250: 0.9965857864376269, 500: 0.998, 999: 0.9999999901304037}


def test_the_decay_is_the_released_one() -> None:
    for step, decay in RELEASED.items():
        assert cosine_decay(0.996, 1.0, step, 1000) == pytest.approx(decay, rel=1e-14)


@pytest.mark.parametrize("step", [0, 250, 999])
def test_the_teacher_follows_at_the_decay_of_its_step(step: int) -> None:
    byol = module(momentum=0.996)
    byol._trainer = SimpleNamespace(global_step=step, estimated_stepping_batches=1000)
    before = {name: weight.clone() for name, weight in byol.teacher.body.named_buffers()}
    byol.follow()
    after = dict(byol.teacher.body.named_buffers())
    for name, weight in byol.student.named_parameters():
        torch.testing.assert_close(after[name], before[name] + (1 - RELEASED[step]) * (weight - before[name]))


def test_each_view_has_statistics_of_its_own_and_the_teacher_keeps_its_own_means() -> None:
    byol = module()
    byol.training_step(batch(), 0)
    for body, head in (byol.student, byol.teacher.body):
        assert isinstance(head[1], GlobalBatchNorm) and int(head[1].num_batches_tracked) == 2
        first, second = (F.linear(body(view), head[0].weight).detach().mean(0) for view in batch().views)
        torch.testing.assert_close(head[1].running_mean, 0.09 * first + 0.1 * second)


def test_what_is_embedded_stands_below_the_heads() -> None:
    byol = module().float().eval()
    pixels = torch.randint(256, (3, 1, 16, 16), dtype=torch.uint8)
    torch.testing.assert_close(byol.embed_image(pixels), byol.student[0](pixels.float() / 255))
