"""Ranks by counting against ranks by looking, and against torchmetrics."""

import math

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torchmetrics.retrieval import RetrievalHitRate, RetrievalMAP, RetrievalMRR, RetrievalNormalizedDCG

from common.errors import UserError
from common.evaluation import retrieval
from common.evaluation.retrieval import (
    best_ranks,
    both_directions,
    class_retrieval_metrics,
    hit_metrics,
    map_at_r,
    pooled_auc,
    ranking_chance,
    ranking_metrics,
    retrieval_metrics,
    same_id,
    similar,
)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Seven rows of the galleries below, so that every test crosses the border of a block."""
    monkeypatch.setattr(retrieval, "BLOCK", 7 * 40)


def embeddings(ties: bool, n: int = 30, m: int = 40) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(1)
    query, key = torch.randn(n, 6, generator=draw), torch.randn(m, 6, generator=draw)
    if ties:
        # Small integers: products are exact and collide often.
        query, key = query.round().clamp(-1, 1), key.round().clamp(-1, 1)
    key_ids = torch.arange(m) % 9
    return query, key, torch.randint(9, (n,), generator=draw), key_ids


def looked_up(query: Tensor, key: Tensor, relevant: list[list[bool]]) -> list[list[int]]:
    """Ranks of each query's positives, best first, walking down the list; among equals the negatives stand first."""
    found = []
    for i in range(len(query)):
        order = sorted(range(len(key)), key=lambda j: (-float(query[i].double() @ key[j].double()), relevant[i][j]))
        found.append([place for place, j in enumerate(order, start=1) if relevant[i][j]])
    return found


@pytest.mark.parametrize("ties", [False, True])
def test_metrics_with_several_positives_equal_a_walk_down_the_list(ties):
    query, key, query_ids, key_ids = embeddings(ties)
    ranks = looked_up(query, key, (query_ids[:, None] == key_ids).tolist())
    n = len(ranks)
    best = sorted(r[0] for r in ranks)
    got = retrieval_metrics(query, key, same_id(query_ids, key_ids), at=(1, 3))
    assert got == pytest.approx(
        {
            "recall@1/gallery40": sum(b <= 1 for b in best) / n,
            "recall@3/gallery40": sum(b <= 3 for b in best) / n,
            "median_rank/gallery40": (best[14] + best[15]) / 2,
            "mrr/gallery40": sum(1 / b for b in best) / n,
            "log2_rank/gallery40": sum(math.log2(b) for b in best) / n,
        }
    )
    precision = sum(sum(j / r for j, r in enumerate(row, 1)) / len(row) for row in ranks) / n
    gain = sum(
        sum(1 / math.log2(1 + r) for r in row if r <= 5)
        / sum(1 / math.log2(1 + j) for j in range(1, min(5, len(row)) + 1))
        for row in ranks
    )
    got = ranking_metrics(query, key, same_id(query_ids, key_ids), at=5)
    assert got == pytest.approx({"map/gallery40": precision, "ndcg@5/gallery40": gain / n})
    got = hit_metrics(query, key, same_id(query_ids, key_ids), at=(1, 5))
    hits = {k: [sum(r <= k for r in row) for row in ranks] for k in (1, 5)}
    assert got == pytest.approx(
        {f"precision@{k}/gallery40": sum(found) / k / n for k, found in hits.items()}
        | {
            f"recall_of_all@{k}/gallery40": sum(h / len(row) for h, row in zip(found, ranks, strict=True)) / n
            for k, found in hits.items()
        }
    )


def test_many_positives_are_counted_by_sorting_with_the_same_result():
    draw = torch.Generator().manual_seed(2)
    query, key = torch.randn(5, 3, generator=draw).round(), torch.randn(300, 3, generator=draw).round()
    query_ids, key_ids = torch.arange(5) % 2, torch.arange(300) % 2
    ranks = looked_up(query, key, (query_ids[:, None] == key_ids).tolist())
    precision = sum(sum(j / r for j, r in enumerate(row, 1)) / len(row) for row in ranks) / 5
    got = ranking_metrics(query, key, same_id(query_ids, key_ids))
    assert got["map/gallery300"] == pytest.approx(precision)


def test_metrics_equal_torchmetrics_where_no_scores_tie():
    query, key, query_ids, key_ids = embeddings(ties=False)
    scores, relevant = query @ key.T, query_ids[:, None] == key_ids
    # torchmetrics takes a document that scores 0 or less for irrelevant; a shift leaves the order as it is.
    scores = scores - scores.min() + 1
    indexes = torch.arange(len(query))[:, None].expand_as(scores)
    got = retrieval_metrics(query, key, same_id(query_ids, key_ids)) | ranking_metrics(
        query, key, same_id(query_ids, key_ids)
    )
    for name, metric in {
        "recall@5": RetrievalHitRate(top_k=5),
        "mrr": RetrievalMRR(),
        "map": RetrievalMAP(),
        "ndcg@10": RetrievalNormalizedDCG(top_k=10),
    }.items():
        expected = metric(scores.flatten(), relevant.flatten(), indexes=indexes.flatten())
        assert got[f"{name}/gallery40"] == pytest.approx(float(expected), abs=1e-6), name


def test_an_encoder_that_collapsed_gets_the_worst_rank():
    same = torch.nn.functional.normalize(torch.rand(1, 48, generator=torch.Generator().manual_seed(0)), dim=1)
    ranks = best_ranks(same.expand(37, -1), same.expand(37, -1))
    assert ranks.tolist() == [37] * 37


def test_nothing_retrieves_itself_if_told_so():
    query, _, ids, _ = embeddings(ties=True)
    relevant = ids[:, None] == ids
    relevant.fill_diagonal_(False)
    expected = []
    for i in range(len(query)):
        others = [j for j in range(len(query)) if j != i]
        expected += looked_up(query[i : i + 1], query[others], [relevant[i][others].tolist()])
    assert best_ranks(query, query, same_id(ids, ids), exclude_self=True).tolist() == [r[0] for r in expected]


def test_positives_by_similar_features():
    query, key, _, _ = embeddings(ties=False)
    draw = torch.Generator().manual_seed(5)
    texts, others = torch.randn(30, 4, generator=draw), torch.randn(40, 4, generator=draw)
    relevant = texts @ others.T >= 1.5
    kept = relevant.any(1)
    expected = looked_up(query[kept], key, relevant[kept].tolist())
    ranks = best_ranks(query[kept], key, similar(texts[kept], others, 1.5))
    assert ranks.tolist() == [r[0] for r in expected]


def test_both_directions_name_their_sides():
    query, key, _, _ = embeddings(ties=False, n=40)
    got = both_directions(query, key, names=("text", "image"), at=(1,))
    assert got["text_to_image/mrr/gallery40"] == retrieval_metrics(query, key)["mrr/gallery40"]
    assert got["image_to_text/mrr/gallery40"] == retrieval_metrics(key, query)["mrr/gallery40"]
    assert len(got) == 8


@pytest.mark.parametrize(("queries", "keys"), [(6, 5), (4, 5), (5, 6), (5, 4)])
def test_ids_are_one_for_each_query_and_key(queries: int, keys: int) -> None:
    x = torch.eye(5)
    with pytest.raises(UserError, match="one for each row"):
        retrieval_metrics(x, x, same_id(torch.arange(queries), torch.arange(keys)))


def test_what_cannot_be_ranked_is_refused():
    query, key, query_ids, key_ids = embeddings(ties=False)
    with pytest.raises(UserError, match="30 queries and 40 keys"):
        best_ranks(query, key)
    query_ids[17] = 99
    with pytest.raises(UserError, match="query 17 has no positive"):
        best_ranks(query, key, same_id(query_ids, key_ids))
    query[3, 0] = math.nan
    with pytest.raises(UserError, match="query embeddings hold NaN"):
        best_ranks(query, key, same_id(query_ids, key_ids))


class LargestTensor(TorchDispatchMode):
    """Notes the most elements of a storage that any operation returned."""

    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else (out,):
            if isinstance(tensor, Tensor):
                self.elements = max(self.elements, tensor.untyped_storage().nbytes() // tensor.element_size())
        return out


@pytest.mark.parametrize("metrics", [retrieval_metrics, ranking_metrics])
def test_memory_grows_with_the_gallery_and_not_with_its_square(metrics, monkeypatch):
    monkeypatch.setattr(retrieval, "BLOCK", 1 << 15)
    largest = []
    for n in (300, 2400):
        x, ids = torch.randn(n, 8), torch.arange(n) // 2
        with LargestTensor() as seen:
            metrics(x, x, same_id(ids, ids))
        largest.append(seen.elements)
    assert largest[1] <= 8 * largest[0]
    assert largest[1] < 2400 * 16


def test_pooled_auc_sees_what_a_ranking_does_not():
    """The first query's scores are all above the second's: each ranks its answer first, one threshold fails."""
    key = torch.eye(4)
    query = torch.tensor([[9.0, 8.0, 8.0, 8.0], [0.0, 2.0, 1.0, 1.0]])
    positives = same_id(torch.tensor([0, 1]), torch.arange(4))
    assert (best_ranks(query, key, positives) == 1).all()
    # Of the pairs of a right and a wrong score, 9 beats all six and 2 beats its own row's 0, 1, 1 alone.
    assert pooled_auc(query, key, positives) == pytest.approx(9 / 12)
    assert pooled_auc(query, key, positives, hardest=1) == pytest.approx(3 / 4)
    assert pooled_auc(torch.eye(4), key) == 1.0
    assert pooled_auc(torch.ones(4, 4), key) == 0.5


def test_a_curve_needs_negatives() -> None:
    one = torch.ones(1, 2)
    with pytest.raises(UserError, match="at least one negative"):
        pooled_auc(one, one)
    with pytest.raises(UserError, match="hardest 0"):
        pooled_auc(torch.eye(2), torch.eye(2), hardest=0)


@pytest.mark.parametrize("ties", [False, True])
def test_average_precision_of_the_first_r_against_a_plain_loop(ties: bool) -> None:
    _, rows, _, labels = embeddings(ties)
    items = []
    for i in range(len(rows)):
        scores = {j: float(rows[i] @ rows[j]) for j in range(len(rows)) if j != i}
        # Of equal scores, the wrong ones come first.
        order = sorted(scores, key=lambda j: (-scores[j], int(labels[j] == labels[i])))
        right = [int(labels[j] == labels[i]) for j in order]
        total = sum(right)
        precisions = [sum(right[: k + 1]) / (k + 1) for k in range(total) if right[k]]
        items.append(sum(precisions) / total)
    found = map_at_r(rows, rows, same_id(labels, labels), exclude_self=True)["map_at_r/gallery40"]
    assert found.items.tolist() == pytest.approx(items)
    both = class_retrieval_metrics(rows, labels)
    assert both["map_at_r/gallery40"] == found
    assert (
        both["map/gallery40"]
        == ranking_metrics(rows, rows, same_id(labels, labels), exclude_self=True)["map/gallery40"]
    )


def test_classes_that_are_apart_are_found_again() -> None:
    labels = torch.arange(12) % 3
    found = class_retrieval_metrics(torch.eye(3)[labels], labels, at=(1,))
    assert {name for name, value in found.items() if value == 1} == {
        f"{name}/gallery12" for name in ("recall@1", "mrr", "map", "map_at_r", "ndcg@10", "median_rank")
    }
    with pytest.raises(UserError, match="query 2 has no positive"):
        class_retrieval_metrics(torch.eye(3), torch.tensor([0, 0, 1]))


def test_chance_is_what_random_orders_reach() -> None:
    draw, right, total = torch.Generator().manual_seed(0), 4, 15
    expected = ranking_chance(right, total, at=(1, 3))
    ids = (torch.arange(total) < right).long()
    hits = ids[torch.rand(20_000, total, generator=draw).argsort(dim=1)].double()
    place = torch.arange(1, total + 1)
    precision = hits.cumsum(1) / place
    first = hits.argmax(dim=1) + 1.0
    found = {f"recall@{k}": (first <= k).double() for k in (1, 3)}
    found |= {"mrr": first.reciprocal(), "log2_rank": first.log2()}
    found |= {"map": (precision * hits).sum(1) / right, "map_at_r": (precision * hits)[:, :right].sum(1) / right}
    assert found.keys() == expected.keys()
    for name, values in found.items():
        assert float(values.mean()) == pytest.approx(expected[name], abs=5 * float(values.std()) / 20_000**0.5), name
