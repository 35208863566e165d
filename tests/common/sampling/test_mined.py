"""Mined negatives: the 95% rule, what stands in where there are too few, and the checkpoint."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from common.errors import UserError
from common.sampling.mined import MinedNegatives
from common.sampling.mining import FalseNegatives


def rows(n: int = 12, d: int = 6) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(3)
    query = F.normalize(torch.randn(n, d, generator=draw), dim=1)
    return query, F.normalize(query + 0.8 * torch.randn(n, d, generator=draw), dim=1)


def test_the_hardest_below_the_limit_of_each_block() -> None:
    query, document = rows()
    sampler = MinedNegatives(3, 0.95)
    assert not sampler.mined
    sampler.mine([(query, document), (document, query)], 1)
    assert sampler.mined
    for block, scores in enumerate((query @ document.T, document @ query.T)):
        for i in range(12):
            allowed = [j for j in range(12) if j != i and scores[i, j] <= 0.95 * scores[i, i]]
            expected = sorted(allowed, key=lambda j: -float(scores[i, j]))[:3]
            assert sampler.take(torch.tensor([block]), torch.tensor([i])).tolist() == [expected]


def test_others_are_drawn_where_too_few_are_below_it() -> None:
    query, document = rows()
    document[0] = -query[0]  # a positive that nothing is below
    sampler = MinedNegatives(4)
    sampler.mine([(query, document)], 5)
    found = sampler.columns[0, 0].tolist()
    assert len(set(found)) == 4 and 0 not in found
    again, other = MinedNegatives(4), MinedNegatives(4)
    again.mine([(query, document)], 5)
    other.mine([(query, document)], 6)
    assert again.columns.equal(sampler.columns) and not other.columns[0, 0].equal(sampler.columns[0, 0])


def test_a_control_draws_them_all() -> None:
    query, document = (x.repeat(50, 1) for x in rows())
    sampler = MinedNegatives(4, hard=False)
    sampler.mine([(query, document)], 0)
    columns = sampler.columns[0]
    assert (columns != torch.arange(600)[:, None]).all() and all(len(set(row)) == 4 for row in columns.tolist())
    distance = (columns - torch.arange(600)[:, None]) % 600
    assert distance.min() < 20 and distance.max() > 580 and float(distance.float().mean()) == pytest.approx(300, abs=15)
    tight = MinedNegatives(3, hard=False)
    tight.mine([(query[:4], document[:4])], 0)
    assert tight.columns[0].sort(dim=1).values.tolist() == [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]]


def test_a_checkpoint_holds_what_was_mined() -> None:
    sampler, fresh = MinedNegatives(2), MinedNegatives(2)
    fresh.load_state_dict(sampler.state_dict())
    assert not fresh.mined
    sampler.mine([rows()], 1)
    fresh.load_state_dict(sampler.state_dict())
    assert fresh.columns.equal(sampler.columns)


def test_a_pool_that_is_too_small_is_refused() -> None:
    with pytest.raises(UserError, match="negatives is 12; there are 12 documents to mine from"):
        MinedNegatives(12).mine([rows()])
    with pytest.raises(UserError, match="negatives 0: expected"):
        MinedNegatives(0)


def test_a_threshold_of_each_query_leaves_keys_out_but_its_own() -> None:
    query, key = rows(5)
    threshold = torch.tensor([-2.0, 0.1, 2.0, 0.0, 0.2])
    out = FalseNegatives.by_threshold(query, key, threshold).tile(slice(0, 5), slice(0, 5))
    expected = (query @ key.T > threshold[:, None]) & ~torch.eye(5, dtype=torch.bool)
    assert out.equal(expected) and out[0].sum() == 4 and not out[2].any()
