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
    vowels = torch.arange(6).repeat_interleave(properties.FRAMES).expand(5, -1) % 3
    noise = 0.01 * torch.randn(5, 24, 8, generator=generator)
    at_large, damped = properties.shares(F.one_hot(vowels, 8) + noise, vowels, 20, 0)
    # Of the five other recordings of an excerpt one is of the same vowel.
    assert (at_large, damped) == (pytest.approx(0.2), 1.0)
    shuffled = torch.randn(5, 24, 8, generator=generator)
    at_large, damped = properties.shares(shuffled, vowels, 3, 0)
    assert damped == pytest.approx(0.2, abs=0.05)
    with pytest.raises(ArithmeticError, match="of one cluster"):
        properties.shares(shuffled, vowels, 1, 0)


def test_excerpts_are_of_one_voice_and_know_their_vowels(fetched) -> None:
    fetched(*SOURCES)
    benchmark, ours = Spoken(), module(feature_width=16)
    benchmark.setup()
    keys, vowels = properties.excerpts(ours, benchmark, 0)
    assert keys.shape == (*vowels.shape, 8) and vowels.shape[1] == properties.SYLLABLES * properties.FRAMES
    assert (vowels.view(-1, properties.FRAMES) == vowels.view(-1, properties.FRAMES)[:, :1]).all()
    assert len(vowels.unique()) == 5 and ours.training
