import pytest
import torch
from torch.nn import functional as F

from common.errors import UserError
from common.sampling.clusters import cosine_clusters


def test_clusters_are_found_by_direction() -> None:
    directions = F.one_hot(torch.arange(40) % 4, 8).float()
    rows = (directions + 0.05 * torch.randn(40, 8)) * (1 + torch.rand(40, 1) * 9)
    labels = cosine_clusters(rows, 8, 0)
    for kind in range(4):
        mine = set(labels[kind::4].tolist())
        assert not mine & set(labels[torch.arange(40) % 4 != kind].tolist())
    assert torch.equal(cosine_clusters(rows, 8, 0), labels)


def test_clusters_are_the_same_under_autocast_and_refuse_what_cannot_be_clustered() -> None:
    rows = torch.randn(200, 8, generator=torch.Generator().manual_seed(0))
    want = cosine_clusters(rows, 5, 0)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(cosine_clusters(rows, 5, 0), want)
    for count in (0, 201):
        with pytest.raises(UserError, match=f"{count} clusters of 200 rows"):
            cosine_clusters(rows, count, 0)
    with pytest.raises(UserError, match="row embeddings hold NaN"):
        cosine_clusters(rows * torch.nan, 5, 0)
