"""Noise by frequency, the same on any number of processes."""

import pytest
import torch

from common.errors import UserError
from common.sampling.noise import UnigramNoise


def test_words_come_by_their_counts_to_the_power_of_three_quarters() -> None:
    noise = UnigramNoise(4)
    noise.count(torch.tensor([1, 16, 0, 81]))
    assert noise.shares().tolist() == pytest.approx([1 / 36, 8 / 36, 0, 27 / 36])
    drawn = noise.draw(torch.arange(6000), 3, 5)
    assert drawn.shape == (6000, 3)
    assert (drawn.flatten().bincount(minlength=4) / 18_000).tolist() == pytest.approx(
        [1 / 36, 8 / 36, 0, 0.75], abs=0.01
    )
    assert noise.draw(torch.arange(3000, 6000), 3, 5).equal(drawn[3000:]), "what a sample meets is its own"
    assert not noise.draw(torch.arange(6000), 3, 6).equal(drawn)


def test_before_anything_is_counted_all_are_alike() -> None:
    assert UnigramNoise(5).shares().tolist() == pytest.approx([0.2] * 5)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UserError, match=r"model\.words is 4; it must be that of the data, 3"):
        UnigramNoise(4).count(torch.ones(3))
    with pytest.raises(UserError, match=r"model\.words is 0"):
        UnigramNoise(0)
