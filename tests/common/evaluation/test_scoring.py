"""What holds for every evaluation: float32 whatever a model trains in, finite values, ties that are ties."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from common.benchmark import Metrics
from common.errors import UserError
from common.evaluation.abx import abx_accuracy
from common.evaluation.geometry import effective_rank, geometry_metrics, modality_gap
from common.evaluation.image_text import (
    distractor_accuracy,
    image_text_retrieval,
    reranked_retrieval,
    zero_shot_accuracy,
)
from common.evaluation.knn import knn_accuracy
from common.evaluation.likelihood import log_likelihood
from common.evaluation.links import filtered_ranks, link_metrics, recommendation_metrics
from common.evaluation.localization import localization_metrics
from common.evaluation.means import Mean
from common.evaluation.probe import linear_probe_accuracy
from common.evaluation.retrieval import (
    best_ranks,
    hit_metrics,
    pooled_auc,
    ranking_metrics,
    retrieval_metrics,
    same_id,
    similar,
)
from common.evaluation.scoring import Products, products, scoring
from common.evaluation.similarity import spearman
from common.evaluation.verification import verification_metrics

N = 24
IDS = torch.arange(N) % 20
CLASSES = torch.arange(N) % 3
WANTED = torch.arange(N) % 4 == 0


def rows(seed: int) -> Tensor:
    """Eighths, of which every precision has them all."""
    return torch.randint(-8, 9, (N, 6), generator=torch.Generator().manual_seed(seed)) / 8


class Cosines(nn.Module):
    """Matches what was embedded so."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        super().__init__()
        self.x, self.y = x, y

    def match_scores(self, pixels: Tensor, texts: list[str], pairs: Tensor) -> Tensor:
        image, text = pixels.flatten().long()[pairs[:, 0]], torch.tensor([int(t) for t in texts])[pairs[:, 1]]
        return (self.x[image] * self.y[text]).sum(1)


def reranked(x: Tensor, y: Tensor, module: nn.Module) -> Metrics:
    pixels = torch.arange(N, dtype=torch.uint8).view(N, 1)
    return reranked_retrieval(module, pixels, [str(i) for i in range(N)], x, y, IDS, IDS, 12)


def table(x: Tensor, y: Tensor) -> Tensor:
    with torch.autocast("cpu", enabled=False):
        return x @ y.T


EVALUATIONS: dict[str, Callable[[Tensor, Tensor], object]] = {
    "abx": abx_accuracy,
    "geometry": geometry_metrics,
    "modality_gap": modality_gap,
    "effective_rank": lambda x, y: effective_rank(x),
    "image_text": lambda x, y: image_text_retrieval(x, y, IDS, IDS),
    "reranked": lambda x, y: reranked(x, y, Cosines(rows(0), rows(1))),
    "match_scores": lambda x, y: reranked(rows(0), rows(1), Cosines(x, y)),
    "zero_shot": lambda x, y: zero_shot_accuracy(x, y, CLASSES, CLASSES),
    "knn": lambda x, y: knn_accuracy(x, CLASSES, y, CLASSES, k=5),
    "probe": lambda x, y: linear_probe_accuracy(x, CLASSES, y, CLASSES),
    "retrieval": lambda x, y: retrieval_metrics(x, y, same_id(IDS, IDS)),
    "ranking": lambda x, y: ranking_metrics(x, y, same_id(IDS, IDS)),
    "hits": lambda x, y: hit_metrics(x, y, same_id(IDS, IDS)),
    "similar": lambda x, y: retrieval_metrics(rows(0), rows(1), similar(x, x, 0.0)),
    "auc": lambda x, y: pooled_auc(x, y),
    "localization": lambda x, y: localization_metrics(x, y, torch.arange(N), torch.arange(N), IDS[:, None]),
    "links": lambda x, y: link_metrics(filtered_ranks(table(x, y), IDS, torch.zeros(N, N, dtype=torch.bool))),
    "recommendation": lambda x, y: recommendation_metrics(table(x, y), WANTED.expand(N, N), ~WANTED.expand(N, N), 5),
    "likelihood": lambda x, y: log_likelihood(table(x, y), IDS, 0.5),
    "distractors": lambda x, y: distractor_accuracy(x[:, 0], y),
    "verification": lambda x, y: verification_metrics((x * y).sum(1), WANTED),
    "spearman": lambda x, y: spearman((x * y).sum(1), IDS.float()),
    "human": lambda x, y: spearman(IDS.float(), (x * y).sum(1)),
}
every = pytest.mark.parametrize("name", EVALUATIONS)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16], ids=str)
@every
def test_scores_do_not_depend_on_the_precision_of_the_embeddings(name: str, dtype: torch.dtype) -> None:
    want = EVALUATIONS[name](rows(0), rows(1))
    assert EVALUATIONS[name](rows(0).to(dtype), rows(1).to(dtype)) == pytest.approx(want, rel=1e-6)


@every
def test_autocast_does_not_reach_the_scores(name: str) -> None:
    x, y = (torch.randn(N, 6, generator=torch.Generator().manual_seed(seed)) for seed in range(2))
    want = EVALUATIONS[name](x, y)
    with torch.autocast("cpu", torch.bfloat16):
        assert EVALUATIONS[name](x, y) == want


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@every
def test_what_is_not_finite_is_refused(name: str, value: float) -> None:
    """A single value among many: comparisons with NaN are false, and the right answer would stand in front."""
    x = rows(0)
    x[3, 0] = value
    if name == "distractors" and value == -math.inf:
        x = x.abs() * math.nan  # -inf stands for no distractor, but a partner has a score
    with pytest.raises(UserError, match="NaN or infinite"):
        EVALUATIONS[name](x, rows(1) + 2)


@pytest.mark.parametrize("name", [name for name in EVALUATIONS if name != "match_scores"])
def test_nothing_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(UserError):
        EVALUATIONS[name](rows(0)[:0], rows(1)[:0])


def test_means_carry_an_item_for_each_query_in_order() -> None:
    found = EVALUATIONS["image_text"](rows(0), rows(1))
    ranks = best_ranks(rows(0), rows(1), same_id(IDS, IDS))
    assert found["image_to_text/recall@5/gallery24"].items.tolist() == (ranks <= 5).double().tolist()
    assert found["image_to_text/log2_rank/gallery24"].items.tolist() == ranks.double().log2().tolist()
    for name in ("knn", "probe", "zero_shot", "abx", "distractors", "spearman", "likelihood"):
        value = EVALUATIONS[name](rows(0), rows(1))
        assert isinstance(value, Mean) and len(value.items) == N
        assert float(value) == pytest.approx(value.items.mean().item())
    for name in ("image_text", "reranked", "ranking", "hits", "localization", "links", "recommendation"):
        for metric, value in EVALUATIONS[name](rows(0), rows(1)).items():
            assert (isinstance(value, Mean) and len(value.items) == N) or "median_rank" in metric, metric


@pytest.mark.parametrize("queries", [1, 2, 5, 33])
@pytest.mark.parametrize("width", [1, 5, 8, 300, 1024])
def test_equal_keys_have_equal_scores(width: int, queries: int) -> None:
    """Whatever order a library sums in: at the edges of its tiles or for a single query it takes another."""
    for dtype in (torch.float32, torch.float64):
        draw = torch.Generator().manual_seed(width)
        query, three = (torch.randn(n, width, generator=draw, dtype=dtype) for n in (queries, 3))
        which = torch.randint(3, (37,), generator=draw)
        scores = products(query, three[which])
        assert scores.equal(scores[:, [int((which == w).nonzero()[0]) for w in which]])
        torch.testing.assert_close(scores, query @ three[which].T)
    assert best_ranks(query, query[:1].expand(7, -1), same_id(torch.zeros(queries).long(), torch.arange(7))).eq(7).all()


def test_the_two_zeros_are_one_number() -> None:
    key = torch.tensor([[0.0, 1.0], [-0.0, 1.0], [0.0, -1.0]])
    assert Products(key, key).copies.tolist() == [1] and Products(key, key).originals.tolist() == [0]


def test_scores_that_would_overflow_are_refused() -> None:
    with pytest.raises(UserError, match="infinite products"):
        best_ranks(torch.full((3, 2), 1e20), torch.full((3, 2), 1e20))


def test_scoring_gives_back_what_it_found() -> None:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", torch.bfloat16):
            with scoring():
                assert torch.get_float32_matmul_precision() == "highest" and not torch.is_grad_enabled()
                assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
