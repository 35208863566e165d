"""Towers over whole words: a text has one vector whatever its batch, and a bag knows no order."""

import pytest
import torch

from common.encoders.dual import DualEncoder
from common.encoders.word_tower import WordTower
from common.errors import UserError

TEXTS = ["a small dog above a large star", "an owl", "a large dog above a small star"]


def tower(layers: int, **arguments) -> WordTower:
    torch.manual_seed(0)
    return WordTower(output_dim=6, layers=layers, **arguments).double()


@pytest.mark.parametrize("layers", [0, 1])
def test_a_text_has_one_vector_whatever_its_batch(layers: int) -> None:
    encoder = tower(layers)
    rows = encoder(TEXTS)
    assert rows.shape == (3, encoder.output_dim)
    for row, text in zip(rows, TEXTS, strict=True):
        torch.testing.assert_close(encoder([text])[0], row)
    assert encoder([""]).isfinite().all()


def test_a_bag_of_words_knows_no_order_and_a_transformer_does() -> None:
    for layers, same in ((0, True), (1, False)):
        one, _, other = tower(layers)(TEXTS)
        assert torch.allclose(one, other) == same
    by_hand = tower(0)
    mean = by_hand.norm(by_hand.table(by_hand.tokenize(["an owl"])[0])).mean(0)
    torch.testing.assert_close(by_hand(["an owl"])[0], by_hand.output(mean))


@pytest.mark.parametrize(("layers", "width"), [(0, 128), (1, 64)])
def test_a_linear_map_reads_the_features(layers: int, width: int) -> None:
    encoder = tower(layers)
    features = encoder.features(TEXTS)
    assert features.shape == (3, width) == (3, encoder.last.in_features)
    torch.testing.assert_close(encoder.last(features), encoder(TEXTS))


@pytest.mark.parametrize("layers", [0, 1])
def test_states_come_with_the_vectors(layers: int) -> None:
    encoder = tower(layers)
    read = encoder.with_states(TEXTS)
    torch.testing.assert_close(read.vector, encoder(TEXTS))
    assert read.states.shape == (3, 7, encoder.state_dim) and read.padding.sum(dim=1).tolist() == [0, 5, 0]
    alone = encoder.with_states(TEXTS[1:2])
    torch.testing.assert_close(read.states[1, :2], alone.states[0])


def test_words_are_cut_at_spaces_and_commas_and_keep_their_rows() -> None:
    encoder = tower(0, length=5)
    ids = encoder.tokenize(["a dog, an owl and more", "owl"])
    assert ids.shape == (2, 5) and ids[1].tolist() == [encoder.row("owl"), 0, 0, 0, 0]
    assert ids[0].tolist() == [encoder.row(word) for word in ("a", "dog", ",", "an", "owl")]
    # Of the word alone: a checkpoint reads the same in every process and on every machine.
    assert encoder.row("owl") == 1 + 2_561_709_901 % 2047
    assert encoder.tokenize([""]).tolist() == [[1]]


@pytest.mark.parametrize(("arguments", "message"), [({"heads": 3}, "heads is 3"), ({"rows": 1}, "rows is 1")])
def test_what_makes_no_tower_is_named(arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        tower(0, **arguments)


@pytest.mark.parametrize("text", ["bag_of_words", "bag_of_many_words", "word_transformer"])
def test_a_dual_encoder_has_them_by_name(text: str) -> None:
    torch.manual_seed(0)
    encoder = DualEncoder("small_convnet", text, embed_dim=8, width=16, text_length=12)
    image, said = encoder.images(torch.rand(3, 3, 24, 24)), encoder.texts(TEXTS)
    assert image.shape == said.shape == (3, 8)
    torch.testing.assert_close(torch.cat([image, said]).norm(dim=1), torch.ones(6))
