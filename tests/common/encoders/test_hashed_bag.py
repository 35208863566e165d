"""A hashed bag: its features, its mean, and what it remembers."""

from zlib import crc32

import pytest
import torch
from torch.nn import functional as F

from common.encoders.hashed_bag import HashedBag
from common.errors import UserError


def test_features_are_words_and_trigrams_within_words() -> None:
    bag = HashedBag(rows=1000)
    expected = ["ab", "über", " ab", "ab ", " üb", "übe", "ber", "er "]
    assert bag.features("Ab Über").tolist() == [crc32(x.encode()) % 1000 for x in expected]
    assert bag.features("Ab Über") is bag.features("Ab Über"), "remembered"
    assert bag.features(" ").tolist() == [0]


def test_a_vector_is_of_the_mean_row_whatever_stands_beside_it() -> None:
    bag = HashedBag(output_dim=8, width=6, rows=50)
    texts = ["one two", "three", "", "one two"]
    found = bag(texts)
    assert found.norm(dim=1).tolist() == pytest.approx([1.0] * 4)
    torch.testing.assert_close(found[0], found[3])
    mean = bag.table.weight[bag.features("one two")].mean(dim=0)
    torch.testing.assert_close(found[0], F.normalize(bag.network(mean), dim=0))
    torch.testing.assert_close(bag(["three"])[0], found[1])


def test_a_table_has_a_row() -> None:
    with pytest.raises(UserError, match="rows is 0"):
        HashedBag(rows=0)
