"""Recalls and hit rate of localization against plain loops."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from common.evaluation.localization import chance_localization, localization_metrics


def case(n: int = 40, m: int = 300) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(3)
    places = torch.randperm(m, generator=draw)
    query_places = torch.randint(m, (n,), generator=draw)
    reference = F.normalize(torch.randn(m, 5, generator=draw), dim=1)
    own = (places == query_places[:, None]).long().argmax(1)
    query = F.normalize(reference[own] + 0.3 * torch.randn(n, 5, generator=draw), dim=1)
    alike = (reference[own] @ reference.T).topk(3, dim=1).indices  # itself first
    covering = torch.cat([alike, torch.full((n, 1), -1)], dim=1)
    return query, reference, query_places, places, covering


def test_against_plain_loops() -> None:
    query, reference, query_places, places, covering = case()
    recall, hits, reciprocal = dict.fromkeys((1, 5, 10, 3), 0), 0, 0.0
    for q, place, covers in zip(query, query_places.tolist(), covering.tolist(), strict=True):
        order = (reference @ q).argsort(descending=True).tolist()
        rank = [int(places[column]) for column in order].index(place) + 1
        recall = {k: count + (rank <= k) for k, count in recall.items()}
        hits += order[0] in covers
        reciprocal += 1 / rank
    metrics = localization_metrics(query, reference, query_places, places, covering)
    expected = {"recall@1": recall[1], "recall@5": recall[5], "recall@10": recall[10], "recall@1%": recall[3]}
    expected |= {"hit_rate": hits, "mrr": reciprocal}
    assert metrics == pytest.approx({f"{name}/gallery300": count / 40 for name, count in expected.items()})
    assert 0.1 < metrics["recall@1/gallery300"] < metrics["hit_rate/gallery300"] < 1


def test_a_covering_reference_counts_as_a_hit_even_if_the_own_one_is_far() -> None:
    query, reference = torch.tensor([[1.0, 0.0]]), torch.tensor([[-1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    metrics = localization_metrics(query, reference, torch.tensor([0]), torch.arange(3), torch.tensor([[0, 1]]))
    assert metrics["recall@1/gallery3"] == 0.0 and metrics["hit_rate/gallery3"] == 1.0


def test_chance_is_what_random_orders_give() -> None:
    _, _, query_places, places, covering = case()
    places = places % 100  # three references a place
    query_places = query_places % 100
    covering = covering[:, :2]
    draw, total, rounds = torch.Generator().manual_seed(0), {}, 200
    for _ in range(rounds):
        rows = F.normalize(torch.randn(340, 16, generator=draw), dim=1)
        for name, value in localization_metrics(rows[:40], rows[40:], query_places, places, covering).items():
            total[name] = total.get(name, 0.0) + value / rounds
    assert total == pytest.approx(chance_localization(query_places, places, covering), abs=0.01)
