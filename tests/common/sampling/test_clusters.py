import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from common.errors import UserError
from common.sampling.clusters import clusters_of_all, cosine_clusters
from tests.processes import on_processes


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


def test_two_processes_find_the_clusters_of_one() -> None:
    generator = torch.Generator().manual_seed(0)
    one, other = torch.randn(2, 6, 5, 4, generator=generator)

    def work() -> tuple[Tensor, Tensor]:
        import torch.distributed as dist

        rank = dist.get_rank() if dist.is_initialized() else None
        rows = slice(None) if rank is None else (slice(0, 2), slice(2, 6))[rank]
        return clusters_of_all(one[rows], other[rows], 3, 1)

    alone = work()
    first, second = on_processes(2, work)
    for whole, a, b in zip(alone, first, second, strict=True):
        assert torch.equal(torch.cat([a, b]), whole)
