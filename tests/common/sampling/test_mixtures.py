"""Pairs in random order and positives of two pairs: what stands where, and how often."""

from collections import Counter

import torch

from common.sampling.mixtures import mixed_pairs, swapped_pairs


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


def test_half_of_the_pairs_are_swapped_each_by_its_id() -> None:
    n = 4000
    first, second = [f"a{k}" for k in range(n)], [f"b{k}" for k in range(n)]
    left, right = swapped_pairs(first, second, torch.arange(n), 3)
    turned = [one[0] == "b" for one in left]
    assert all({one, other} == {f"a{k}", f"b{k}"} for k, (one, other) in enumerate(zip(left, right, strict=True)))
    assert abs(sum(turned) - n / 2) < 130
    assert swapped_pairs(first[7:], second[7:], torch.arange(7, n), 3) == (left[7:], right[7:])
    assert swapped_pairs(first, second, torch.arange(n), 4)[0] != left
