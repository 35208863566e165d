"""Positives of two pairs: what stands where, and how often."""

from collections import Counter

import torch

from common.sampling.mixtures import mixed_pairs


def test_the_sentences_of_a_side_stay_on_it_in_any_order() -> None:
    seen = Counter()
    n = 4000
    left, right = mixed_pairs([("a", "A")] * n, [("b", "B")] * n, torch.arange(n), 3)
    for query, key in zip(left, right, strict=True):
        assert {frozenset(query), frozenset(key)} == {frozenset("ab"), frozenset("AB")}
        seen[query, key] += 1
    assert len(seen) == 8 and all(abs(count - n / 8) < 90 for count in seen.values())


def test_an_order_belongs_to_its_sample() -> None:
    pairs, others = [("a", "A"), ("c", "C")], [("b", "B"), ("d", "D")]
    both = mixed_pairs(pairs, others, torch.tensor([5, 9]), 1, 2)
    assert mixed_pairs(pairs[1:], others[1:], torch.tensor([9]), 1, 2) == (both[0][1:], both[1][1:])
