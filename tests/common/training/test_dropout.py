"""Masks that belong to a sample."""

import torch

from common.training.dropout import sample_dropout

IDS = torch.arange(50, 90)


def test_entries_are_dropped_and_the_rest_is_scaled() -> None:
    x = torch.rand(80, 200) + 1
    found = sample_dropout(x, 0.3, IDS, 5)
    kept = found != 0
    assert abs(float(kept.float().mean()) - 0.7) < 0.02
    torch.testing.assert_close(found[kept], x[kept] / 0.7)
    assert sample_dropout(x, 0.0, IDS, 5) is x


def test_the_mask_is_of_the_sample_and_its_view() -> None:
    x = torch.ones(80, 200)
    found = sample_dropout(x, 0.3, IDS, 5)
    views = found.view(2, 40, 200)
    assert not torch.equal(views[0], views[1]) and not torch.equal(views[0, 0], views[0, 1])
    part = sample_dropout(torch.ones(4, 200), 0.3, IDS[[9, 3]], 5).view(2, 2, 200)
    assert torch.equal(part, views[:, [9, 3]])
    assert not torch.equal(sample_dropout(x, 0.3, IDS, 6), found)
