import torch
from torch.nn import functional as F

from common.sampling.clusters import cosine_clusters


def test_clusters_are_found_by_direction() -> None:
    directions = F.one_hot(torch.arange(40) % 4, 8).float()
    rows = (directions + 0.05 * torch.randn(40, 8)) * (1 + torch.rand(40, 1) * 9)
    labels = cosine_clusters(rows, 8, 0)
    for kind in range(4):
        mine = set(labels[kind::4].tolist())
        assert not mine & set(labels[torch.arange(40) % 4 != kind].tolist())
    assert torch.equal(cosine_clusters(rows, 8, 0), labels)
