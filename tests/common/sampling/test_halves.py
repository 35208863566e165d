"""Batches of two data sets, half of each."""

import numpy as np
import pytest

from common.errors import UserError
from common.sampling.halves import HalvesSampler


def test_every_batch_is_half_of_each_in_turns() -> None:
    sampler = HalvesSampler(10, 25, batch_size=8)
    batches = [np.array(batch) for batch in sampler]
    assert len(batches) == len(sampler) == 25 // 4
    for batch in batches:
        assert (batch[::2] < 10).all() and (batch[1::2] >= 10).all() and len(np.unique(batch)) == 8
    larger = np.concatenate([batch[1::2] for batch in batches])
    assert len(np.unique(larger)) == len(larger) == 24
    # The smaller set comes round again, in another order.
    smaller = np.concatenate([batch[::2] for batch in batches])
    assert np.bincount(smaller, minlength=10).max() == 3 and smaller[:8].tolist() != smaller[8:16].tolist()


def test_order_depends_on_seed_and_epoch() -> None:
    sampler = HalvesSampler(10, 25, batch_size=8, seed=1)
    first = list(sampler)
    assert first == list(sampler) != list(HalvesSampler(10, 25, batch_size=8, seed=2))
    sampler.set_epoch(1)
    assert first != list(sampler)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((10, 25, 7), "batch_size is 7; it must be even"), ((3, 25, 8), "smaller of its two data sets has 3 samples")],
)
def test_bad_sizes(arguments: tuple[int, int, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        HalvesSampler(*arguments)
