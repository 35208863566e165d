"""Retrieval between pictures and captions, against loops over the definition."""

import math

import pytest
import torch
from torch import Tensor, nn

from common.errors import UserError
from common.evaluation.image_text import (
    Variants,
    chance_retrieval,
    distractor_accuracy,
    image_text_retrieval,
    match_pairs,
    over_languages,
    paired_chance,
    paired_retrieval,
    reranked_retrieval,
    variant_accuracy,
    zero_shot_accuracy,
)
from common.evaluation.means import Mean

N = 24
IDS = torch.arange(N) % 20
"""The last four captions say what the first four say."""


def rows(seed: int, n: int = N) -> Tensor:
    return nn.functional.normalize(torch.randn(n, 5, generator=torch.Generator().manual_seed(seed)), dim=1)


class Table(nn.Module):
    """Match scores out of a table; a picture's only pixel and a text are their own numbers."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.table = table
        self.encoded: list[int] = []
        self.scored = 0

    def match_scores(self, pixels: Tensor, texts: list[str], pairs: Tensor) -> Tensor:
        assert not self.training
        self.encoded += pixels.flatten().tolist()
        self.scored += len(pairs)
        return self.table[pixels.flatten().long()[pairs[:, 0]], torch.tensor([int(t) for t in texts])[pairs[:, 1]]]


def setting(table: Tensor) -> tuple[Table, Tensor, list[str]]:
    return Table(table), torch.arange(N, dtype=torch.uint8).view(N, 1, 1, 1), [str(i) for i in range(N)]


def test_every_fitting_picture_counts():
    image, text = rows(0), rows(1)
    scores = image @ text.T
    right = IDS[:, None] == IDS
    got = image_text_retrieval(image, text, IDS, IDS)
    found = [bool(right[i, scores[i].argsort(descending=True)[:5]].any()) for i in range(N)]
    back = [bool(right[scores[:, i].argsort(descending=True)[:5], i].any()) for i in range(N)]
    assert got["image_to_text/recall@5/gallery24"] == sum(found) / N
    assert got["text_to_image/recall@5/gallery24"] == sum(back) / N
    assert got["recall@5/gallery24"] == (sum(found) + sum(back)) / 2 / N
    ranks = [1 + min((scores[i] > scores[i, j]).sum() for j in right[i].nonzero()[:, 0]) for i in range(N)]
    assert got["image_to_text/mrr/gallery24"] == pytest.approx(sum(1 / int(r) for r in ranks) / N)
    assert got["image_to_text/log2_rank/gallery24"] == pytest.approx(sum(math.log2(r) for r in ranks) / N)
    assert len(got) == 15
    there, back = (got[f"{way}/mrr/gallery24"] for way in ("image_to_text", "text_to_image"))
    assert torch.equal(got["mrr/gallery24"].items, (there.items + back.items) / 2)


def test_chance_is_the_mean_over_random_orders():
    draws = [image_text_retrieval(rows(2 * i), rows(2 * i + 1), IDS, IDS) for i in range(300)]
    chance = chance_retrieval(IDS, IDS)
    assert chance.keys() == draws[0].keys()
    for name, value in chance.items():
        tolerance = 0.05 if "log2_rank" in name else 0.02
        assert sum(draw[name] for draw in draws) / 300 == pytest.approx(value, abs=tolerance)
    # Sixteen captions with one right answer and eight with two.
    assert chance["image_to_text/recall@1/gallery24"] == pytest.approx((16 * 1 + 8 * 2) / 24 / 24)


def test_match_pairs_encodes_each_picture_once():
    table = torch.rand(N, N)
    module, pixels, texts = setting(table)
    pairs = torch.tensor([[3, 5], [20, 0], [3, 5], [7, 23], [3, 1]])
    assert torch.equal(match_pairs(module, pixels, texts, pairs, at_once=6), table[pairs[:, 0], pairs[:, 1]])
    assert len(module.encoded) == len(set(module.encoded))
    assert module.scored == 4


def test_reranking_by_the_same_scores_changes_nothing():
    image, text = rows(0), rows(1)
    module, pixels, texts = setting(image @ text.T)
    got = reranked_retrieval(module, pixels, texts, image, text, IDS, IDS, shortlist=10)
    plain = image_text_retrieval(image, text, IDS, IDS)
    recalls = {name: value for name, value in plain.items() if "recall" in name}
    assert got == {name.replace("recall", "reranked10_recall"): value for name, value in recalls.items()}


def test_reranking_finds_what_is_on_the_shortlist_and_no_more():
    image, text = rows(0), rows(1)
    perfect = (IDS[:, None] == IDS).float()
    got = reranked_retrieval(*setting(perfect), image, text, IDS, IDS, shortlist=10)
    plain = image_text_retrieval(image, text, IDS, IDS)
    assert got["recall@1/gallery24".replace("recall", "reranked10_recall")] == plain["recall@10/gallery24"] < 1
    constant = reranked_retrieval(*setting(torch.zeros(N, N)), image, text, IDS, IDS, shortlist=12)
    assert constant["reranked12_recall@1/gallery24"] == 0


@pytest.mark.parametrize("shortlist", [9, 25])
def test_a_shortlist_has_the_size_of_the_largest_cut_off_at_least_and_of_the_gallery_at_most(shortlist: int):
    with pytest.raises(UserError, match=f"shortlist is {shortlist}"):
        reranked_retrieval(*setting(torch.zeros(N, N)), rows(0), rows(1), IDS, IDS, shortlist=shortlist)


def test_ties_with_distractors_are_misses():
    own = torch.tensor([1.0, 1.0, 1.0])
    assert distractor_accuracy(own, torch.tensor([[0.0, 0.9], [0.0, 1.0], [2.0, 0.0]])) == pytest.approx(1 / 3)


def test_the_nearest_prompt_names_the_class():
    prompts, classes = torch.eye(4), torch.tensor([0, 1, 2, 0])
    image, labels = torch.eye(4)[[3, 1, 2, 0]], torch.tensor([0, 1, 2, 2])
    assert zero_shot_accuracy(image, prompts, classes, labels) == 0.75
    # Two prompts of one class may tie, two classes may not.
    assert zero_shot_accuracy(torch.tensor([[0.5, 0, 0, 0.5]]), prompts, classes, labels[:1]) == 1
    assert zero_shot_accuracy(torch.ones(4, 4), prompts, classes, labels) == 0


def test_variants_are_told_from_originals_by_what_differs():
    # Two originals and three variants: aspect 0 of both, aspect 1 of the second.
    variants = Variants(2, torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1]))
    table = torch.eye(5)
    perfect = variant_accuracy(lambda pairs: table[pairs[:, 0], pairs[:, 1]], variants, ("colour", "size", "none"))
    assert perfect == {"text": 1.0, "image": 1.0, "colour": 1.0, "size": 1.0}
    # The second picture likes the caption of its size variant as much as its own.
    table[1, 4] = 1
    got = variant_accuracy(lambda pairs: table[pairs[:, 0], pairs[:, 1]], variants, ("colour", "size", "none"))
    assert got == {"text": 0.5, "image": 1.0, "colour": 1.0, "size": 0.5}


def test_pairs_say_what_fits_where_a_caption_is_that_of_several_pictures() -> None:
    image, text = rows(0, 6), rows(1, 5)
    fits = torch.tensor([[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 1, 1, 1], [0, 0, 1, 0, 0], [0, 0, 0, 1, 0],
                         [0, 0, 0, 0, 1]], dtype=torch.bool)  # fmt: skip
    found = paired_retrieval(image, text, fits.nonzero())
    for name, scores, right in (("image_to_text", image @ text.T, fits), ("text_to_image", text @ image.T, fits.T)):
        ranks = [1 + int((row[~good] >= row[good].max()).sum()) for row, good in zip(scores, right, strict=True)]
        size = scores.shape[1]
        assert found[f"{name}/mrr/gallery{size}"] == pytest.approx(sum(1 / r for r in ranks) / len(ranks))
        assert found[f"{name}/recall@1/gallery{size}"] == pytest.approx(sum(r == 1 for r in ranks) / len(ranks))
    chance = paired_chance(fits.nonzero())
    assert chance.keys() == found.keys()
    assert chance["image_to_text/recall@1/gallery5"] == pytest.approx(float(fits.sum(1).double().mean()) / 5)
    assert chance["text_to_image/recall@1/gallery6"] == pytest.approx(float(fits.sum(0).double().mean()) / 6)


def test_pairs_by_ids_are_the_retrieval_by_ids() -> None:
    image, text = rows(2), rows(3)
    by_ids = image_text_retrieval(image, text, IDS, IDS)
    assert paired_retrieval(image, text, (IDS[:, None] == IDS).nonzero()) == by_ids
    assert paired_chance((IDS[:, None] == IDS).nonzero()) == chance_retrieval(IDS, IDS)


def test_languages_are_compared_query_by_query() -> None:
    image, texts = rows(0), [rows(seed) for seed in (1, 2, 3)]
    found = [image_text_retrieval(image, text, IDS, IDS) for text in texts]
    both_ways = []
    for text in texts:
        ranks = []
        for scores in (image @ text.T, text @ image.T):
            own = [max(row[IDS[i] == IDS].tolist()) for i, row in enumerate(scores)]
            ranks.append([1 + int((row[IDS[i] != IDS] >= own[i]).sum()) for i, row in enumerate(scores)])
        both_ways.append(torch.tensor(ranks, dtype=torch.float64))
    ranks = torch.stack(both_ways)
    said = over_languages(found)
    assert said[f"languages/mrr/gallery{N}"] == pytest.approx(float((1 / ranks).mean()))
    assert said[f"languages/log2_rank/gallery{N}"] == pytest.approx(float(ranks.log2().mean()))
    for name, values in (("rank_variance", ranks), ("log2_rank_variance", ranks.log2())):
        variance = ((values - values.mean(0)) ** 2).mean(0)
        assert said[f"languages/{name}/gallery{N}"] == pytest.approx(float(variance.mean()))
        torch.testing.assert_close(said[f"languages/{name}/gallery{N}"].items, variance.mean(0))


def test_rank_variance_of_queries_as_hard_does_not_hang_on_how_many_are_easy() -> None:
    """Strata of half a doubling count alike, whatever they hold; where all ranks are 1 nothing can vary."""

    def said(*queries: tuple[int, int]) -> Mean:
        ranks = [Mean(torch.tensor(row).log2()) for row in zip(*queries, strict=True)]
        names = ("mrr/gallery9", *(f"{way}log2_rank/gallery9" for way in ("", "image_to_text/", "text_to_image/")))
        return over_languages([dict.fromkeys(names, row) for row in ranks])[
            "languages/log2_rank_variance_matched/gallery9"
        ]

    # Mean log ranks of 0, 1/2, 1/2 and 5/2, with variances of 0, 1/4, 1/4 and 1/4; then of 3 with 1.
    easy, near, far, apart = (1, 1), (2, 1), (4, 8), (4, 16)
    assert said(easy, near, (1, 2), far, easy) == said(near, far) == pytest.approx(0.25)
    assert said(easy, near, (1, 2), apart, easy) == said(near, apart) == pytest.approx((0.25 + 1) / 2)
    assert said(easy, easy) == 0.0
    items = said(easy, near, (1, 2), apart, easy).items
    assert len(items) == 5 and float(items.mean()) == pytest.approx((0.25 + 1) / 2)
