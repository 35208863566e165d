"""A permutation over all rows, which does not hang on how they are dealt out to processes."""

import pytest
import torch

from common.random import uniform
from common.sampling.partners import permuted
from tests.processes import on_processes

VALUES = torch.arange(100, 111)
DRAWS = uniform(torch.arange(11) * 7, 2, 5)


def test_it_is_a_permutation_and_follows_the_draws() -> None:
    found = permuted(VALUES, DRAWS)
    assert sorted(found.tolist()) == VALUES.tolist() and not torch.equal(found, VALUES)
    order = torch.randperm(11, generator=torch.Generator().manual_seed(0))
    assert torch.equal(permuted(VALUES[order], DRAWS[order]), found[order])


def test_every_partner_is_as_likely() -> None:
    counts = torch.zeros(4, 4)
    for key in range(4000):
        found = permuted(torch.arange(4), uniform(torch.arange(4), 2, key))
        counts[torch.arange(4), found] += 1
    assert (counts / 4000 - 0.25).abs().max() < 4 * (0.25 * 0.75 / 4000) ** 0.5


@pytest.mark.parametrize("cuts", [(0, 4, 11), (0, 3, 3, 10, 11)], ids=["two", "four"])
def test_processes_agree_with_one(cuts: tuple[int, ...]) -> None:
    def work() -> torch.Tensor:
        rank = torch.distributed.get_rank()
        own = slice(cuts[rank], cuts[rank + 1])
        return permuted(VALUES[own], DRAWS[own])

    assert torch.equal(torch.cat(on_processes(len(cuts) - 1, work)), permuted(VALUES, DRAWS))
