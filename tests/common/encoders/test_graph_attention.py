"""Graph attention against a plain loop, and what a node does not see."""

import math

import pytest
import torch
from torch import Tensor

from common.encoders.graph_attention import GraphAttention


def given() -> tuple[GraphAttention, Tensor, Tensor]:
    torch.manual_seed(0)
    nodes, linked = torch.randn(5, 3, dtype=torch.float64), torch.rand(5, 5) < 0.4
    linked[4] = False
    return GraphAttention(3, 4).double(), nodes, linked.fill_diagonal_(False)


def test_a_node_is_the_weighted_mean_of_a_loop() -> None:
    layer, nodes, linked = given()
    hidden, (query, key) = (nodes @ layer.weight.T).tolist(), layer.attention.tolist()

    def dot(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True))

    for i, found in enumerate(layer(nodes, linked).tolist()):
        weights = {}
        for j in [j for j in range(5) if linked[i, j] or j == i]:
            score = dot(query, hidden[i]) + dot(key, hidden[j])
            weights[j] = math.exp(score if score > 0 else 0.2 * score)
        total = sum(weights.values())
        expected = [sum(w / total * hidden[j][d] for j, w in weights.items()) for d in range(4)]
        assert found == pytest.approx(expected, rel=1e-12)


def test_some_nodes_alone_are_as_among_all_and_see_neighbours_alone() -> None:
    layer, nodes, linked = given()
    whole = layer(nodes, linked)
    torch.testing.assert_close(layer(nodes, linked[1:3], slice(1, 3)), whole[1:3])
    torch.testing.assert_close(whole[4], nodes[4] @ layer.weight.T)
    changed = nodes.clone()
    changed[0] += 1
    same = (layer(changed, linked) == whole).all(dim=1)
    assert same.tolist() == [not (i == 0 or bool(linked[i, 0])) for i in range(5)]
