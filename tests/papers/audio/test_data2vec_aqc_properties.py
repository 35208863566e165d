"""The properties of data2vec-aqc's filter: the gradient's formula, and shares that are known."""

import pytest
import torch
from torch.nn import functional as F

from data.benchmarks.bases.recordings import SOURCES
from data.benchmarks.mini.spoken import Spoken
from papers.audio.data2vec_aqc import contrast, properties
from tests.papers.audio.test_data2vec_aqc import module


def test_the_gradient_has_the_formula_and_another_factor_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert max(properties.gradient(3).values()) < 1e-12
    monkeypatch.setattr(properties, "SCALE", 0.3)
    plain = contrast.damped_cross_entropy
    monkeypatch.setattr(properties, "damped_cross_entropy", lambda *a, scale, **k: plain(*a, scale=0.4, **k))
    assert min(properties.gradient(3).values()) > 1e-3


def test_shares_of_clusters_that_are_vowels_and_of_clusters_that_are_not() -> None:
    generator = torch.Generator().manual_seed(0)
    vowels = torch.arange(120) % 3
    pairs = ~torch.eye(120, dtype=torch.bool)
    noise = 0.01 * torch.randn(120, 8, generator=generator)
    at_large, damped = properties.shares(F.one_hot(vowels, 8) + noise, vowels, pairs, 20, 0)
    assert (at_large, damped) == (pytest.approx(39 / 119), 1.0)
    shuffled = torch.randn(120, 8, generator=generator)
    at_large, damped = properties.shares(shuffled, vowels, pairs, 3, 0)
    assert damped == pytest.approx(at_large, abs=0.05)
    # Of equal keys, which are of one code, no pair counts: here of one of two vowels all but the one of another vowel.
    equal = torch.cat([shuffled[:1].expand(10, 8), shuffled[1:5]])
    at_large, _ = properties.shares(equal, torch.tensor([0] * 10 + [1, 1, 0, 1]), pairs[:14, :14], 2, 0)
    assert at_large == pytest.approx((10 + 3) / (4 * 10 + 6))
    with pytest.raises(ArithmeticError, match="of one cluster"):
        properties.shares(shuffled, vowels, pairs, 1, 0)


def test_frames_are_of_held_out_voices_and_know_their_vowels(fetched) -> None:
    fetched(*SOURCES)
    benchmark, ours = Spoken(), module(feature_width=16)
    benchmark.setup()
    keys, vowels, recordings, voices = properties.voiced_frames(ours, benchmark)
    assert keys.shape == (len(vowels), 8) and len(vowels) == properties.FRAMES * len(recordings.unique())
    assert len(vowels.unique()) == 5 and len(voices.unique()) == 4 and ours.training
    for column in (vowels, recordings, voices):
        assert (column.view(-1, properties.FRAMES) == column.view(-1, properties.FRAMES)[:, :1]).all()
