"""Clusters against scikit-learn and cases known by hand."""

import numpy as np
import pytest
import torch
from sklearn.cluster import SpectralClustering
from sklearn.manifold import spectral_embedding as peer_embedding
from sklearn.metrics import adjusted_rand_score
from torch.nn import functional as F

from common.errors import UserError
from common.evaluation.clusters import adjusted_rand, kmeans_ari, spectral_embedding


def blocks(seed: int, size: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    """Three blocks of a random graph, and the block of each node."""
    labels = torch.arange(3).repeat_interleave(size)
    chance = torch.where(labels[:, None] == labels, 0.3, 0.03)
    joined = (torch.rand(3 * size, 3 * size, generator=torch.Generator().manual_seed(seed)) < chance).triu(1)
    return (joined | joined.T).float(), labels


def test_clusters_are_of_directions() -> None:
    labels = torch.tensor([5, 5, 2, 2, 9, 9])
    rows = F.one_hot(torch.tensor([0, 0, 1, 1, 2, 2])) * torch.tensor([1.0, 9.0, 1.0, 30.0, 2.0, 0.1])[:, None]
    assert kmeans_ari(rows, labels) == 1
    assert kmeans_ari(rows, labels.roll(1)) < 0.1
    assert (
        abs(kmeans_ari(torch.randn(3000, 4, generator=torch.Generator().manual_seed(0)), torch.arange(3000) % 3)) < 0.01
    )


@pytest.mark.parametrize(
    ("n", "groups"), [(2, (2, 2)), (12, (3, 4)), (60, (3, 3)), (9, (1, 1)), (9, (1, 3)), (9, (9, 9))]
)
def test_an_item_is_what_the_index_is_without_it(n: int, groups: tuple[int, int]) -> None:
    draw = torch.Generator().manual_seed(n)
    labels = torch.randperm(n, generator=draw) % groups[0]
    clusters = torch.where(torch.rand(n, generator=draw) < 0.6, labels, torch.arange(n)) % groups[1]
    found, whole = adjusted_rand(7 - labels, 3 * clusters), adjusted_rand_score(labels, clusters)
    assert float(found) == pytest.approx(whole, abs=1e-14)
    for i, item in enumerate(found.items.tolist()):
        without = adjusted_rand_score(np.delete(labels, i), np.delete(clusters, i))
        assert item == pytest.approx(n * whole - (n - 1) * without, abs=1e-11)


def test_the_items_tell_the_error_of_the_index() -> None:
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(450) % 3
    clusters = torch.where(torch.rand(450, generator=draw) < 0.85, labels, torch.randint(3, (450,), generator=draw))
    rows = torch.randint(450, (300, 450), generator=draw)
    spread = np.std([float(adjusted_rand(labels[row], clusters[row])) for row in rows])
    assert float(adjusted_rand(labels, clusters).items.std()) / 450**0.5 == pytest.approx(spread, rel=0.1)


def test_directions_are_those_of_scikit_learn() -> None:
    adjacency, labels = blocks(0)
    found = F.normalize(spectral_embedding(adjacency, 3), dim=1)
    peer = peer_embedding(adjacency.numpy(), n_components=3, drop_first=False, eigen_solver="arpack", random_state=0)
    # Its rows are scaled by the degrees, its columns by the size of the graph: directions agree after normalization.
    peer = F.normalize(torch.from_numpy(peer).float(), dim=1)
    assert torch.dist((found @ found.T).abs(), (peer @ peer.T).abs()) / len(labels) < 0.05
    clusters = SpectralClustering(3, affinity="precomputed", random_state=0).fit_predict(adjacency.numpy())
    expected = adjusted_rand_score(labels.numpy(), clusters)
    assert kmeans_ari(spectral_embedding(adjacency, 3), labels) == pytest.approx(expected, abs=0.05) and expected > 0.8


def test_nodes_without_an_edge_have_no_direction() -> None:
    adjacency = torch.zeros(5, 5)
    adjacency[:2, :2] = adjacency[2:4, 2:4] = 1
    found = spectral_embedding(adjacency, 2)
    assert not found[4].any() and np.allclose(np.abs((found @ found.T).numpy())[:2, 2:4], 0, atol=1e-6)


def test_bad_input_is_named() -> None:
    with pytest.raises(UserError, match="expected a symmetric matrix"):
        spectral_embedding(torch.ones(3, 3).triu(), 2)
    with pytest.raises(UserError, match="dim is 4; it must be from 1 to 3"):
        spectral_embedding(torch.ones(3, 3), 4)
    with pytest.raises(UserError, match=r"labels \(2,\): expected \(3,\)"):
        kmeans_ari(torch.ones(3, 3), torch.arange(2))
    with pytest.raises(UserError, match=r"clusters \(2,\): expected \(3,\)"):
        adjusted_rand(torch.arange(3), torch.arange(2))
