"""TMR's loss term by term, its noise, its arms."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from common.batches import CaptionedMotions
from common.errors import UserError
from papers.video.tmr.module import TEMOS, TMR

TEXTS = ["A person lifts the arm.", "Someone rows.", "Someone lifts the arm slowly.", "A trainee lifts the arm."]


def batch() -> CaptionedMotions:
    draw = torch.Generator().manual_seed(0)
    length = torch.tensor([7, 4, 6, 7])
    motion = torch.randn(4, 7, 6, generator=draw) * (torch.arange(7) < length[:, None])[..., None]
    meaning = F.normalize(torch.tensor([[1.0, 0.2], [-1.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), dim=1)
    return CaptionedMotions(motion, length, TEXTS, meaning, torch.tensor([30, 4, 11, 8]))


def small(cls: type[TEMOS] = TMR, **arguments) -> TEMOS:
    torch.manual_seed(0)
    module = cls(width=16, heads=2, feedforward=32, dropout=0.0, **arguments)
    module.logged = {}
    module.log = lambda name, value, **rest: module.logged.update({name: value})
    return module


def distributions(module: TEMOS, given: CaptionedMotions) -> list[tuple[Tensor, Tensor]]:
    """Mean and log-variance of texts and of motions, one by one, without padding."""
    text = [module.text_encoder.forward(_alone(module.tokens([t])[0]))[0] for t in given.text]
    motion = [module.motion_encoder(_alone(m[:n]))[0] for m, n in zip(given.motion, given.length, strict=True)]
    return [tuple(torch.stack(rows).unbind(1)) for rows in (text, motion)]


def _alone(sequence: Tensor):
    from common.encoders.sequence import Sequences

    return Sequences.padded([sequence])


def test_the_loss_is_the_sum_of_the_papers_terms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TEMOS, "key", lambda self, purpose: ("text" not in purpose,))
    noise = torch.randn(2, 4, 16, generator=torch.Generator().manual_seed(1))
    monkeypatch.setattr("papers.video.tmr.module.normal", lambda ids, width, *key: noise[int(key[-1])])
    module, given = small(filter_above=0.8), batch()
    loss = module.training_step(given, 0)
    (mean_t, log_t), (mean_m, log_m) = distributions(module, given)
    z_t, z_m = mean_t + noise[0] * log_t.exp().sqrt(), mean_m + noise[1] * log_m.exp().sqrt()
    real = torch.arange(7) < given.length[:, None]
    # Plain means over everything, as the released code takes them.
    rebuilt = sum(F.smooth_l1_loss(module.decoder(z, real), given.motion) for z in (z_t, z_m))

    def kl(mean_p: Tensor, log_p: Tensor, mean_q: Tensor, log_q: Tensor) -> Tensor:
        p, q = (torch.distributions.Normal(m, (v / 2).exp()) for m, v in ((mean_p, log_p), (mean_q, log_q)))
        return torch.distributions.kl_divergence(p, q).mean()

    zero = torch.zeros_like(mean_t)
    divergence = kl(mean_t, log_t, mean_m, log_m) + kl(mean_m, log_m, mean_t, log_t)
    divergence = divergence + kl(mean_m, log_m, zero, zero) + kl(mean_t, log_t, zero, zero)
    scores = F.normalize(z_t, dim=1) @ F.normalize(z_m, dim=1).T / 0.1
    alike = given.meaning @ given.meaning.T
    assert (alike > 0.6).sum() == 4 + 6, "three captions are alike, one is not"
    scores = scores.masked_fill((alike > 0.6) & ~torch.eye(4, dtype=torch.bool), -torch.inf)
    contrast = (F.cross_entropy(scores, torch.arange(4)) + F.cross_entropy(scores.T, torch.arange(4))) / 2
    expected = {
        "reconstruction": rebuilt,
        "divergence": divergence,
        "agreement": F.smooth_l1_loss(z_t, z_m),
        "contrast": contrast,
    }
    for name, value in expected.items():
        torch.testing.assert_close(module.logged[f"train/{name}"], value, rtol=1e-4, atol=1e-6)
    total = rebuilt + 1e-5 * divergence + 1e-5 * expected["agreement"] + 0.1 * contrast
    torch.testing.assert_close(loss, total, rtol=1e-5, atol=1e-6)


def test_temos_is_tmr_without_its_contrast() -> None:
    temos, tmr = small(TEMOS), small(contrast=0.0)
    torch.testing.assert_close(temos.training_step(batch(), 0), tmr.training_step(batch(), 0))
    assert "train/contrast" not in temos.logged and "train/contrast" in tmr.logged
    assert tmr.contrastive and not temos.contrastive


def test_without_reconstruction_there_is_no_decoder() -> None:
    module = small(reconstruction=0.0)
    module.training_step(batch(), 0)
    assert module.decoder is None and "train/reconstruction" not in module.logged
    with_decoder = small()
    for name, parameter in module.named_parameters():
        assert torch.equal(parameter, with_decoder.get_parameter(name)), "the arms start from the same encoders"


def test_noise_belongs_to_the_sample() -> None:
    module, given = small(contrast=0.0, divergence=0.0, agreement=1.0, reconstruction=0.0), batch()
    torch.manual_seed(5)
    whole = module.training_step(given, 0).item()
    parts = [
        CaptionedMotions(given.motion[rows], given.length[rows], given.text[rows], given.meaning[rows], given.ids[rows])
        for rows in (slice(0, 2), slice(2, 4))
    ]
    assert sum(module.training_step(part, 0).item() for part in parts) / 2 == pytest.approx(whole, rel=1e-5)
    torch.manual_seed(6)
    assert module.training_step(given, 0).item() != pytest.approx(whole, rel=1e-3)


def test_embeddings_are_the_means_and_know_no_neighbours() -> None:
    module, given = small().eval(), batch()
    motions = [frames[:length] for frames, length in zip(given.motion, given.length, strict=True)]
    (mean_t, _), (mean_m, _) = distributions(module, given)
    torch.testing.assert_close(module.embed_text(TEXTS), mean_t, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(module.embed_motion(motions), mean_m, atol=1e-5, rtol=1e-4)


def test_a_similarity_out_of_range_is_told() -> None:
    with pytest.raises(UserError, match=r"model.filter_above 1.5: expected a finite number at least 0 and at most 1"):
        small(filter_above=1.5)
