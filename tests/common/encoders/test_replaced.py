"""Replaced tokens: what the generator writes, what counts as replaced, and how the discriminator is given a vector."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from common.encoders.pooling import Tokens
from common.encoders.replaced import ConditionalDiscriminator, Drawn, FrozenGenerator
from common.errors import UserError
from data.slot_language import Language
from tests.common.encoders.test_text import TEXTS, tiny_encoder


def test_all_tokens_but_the_first_are_written_anew_and_compared_with_the_original() -> None:
    original = Tokens(torch.tensor([[2, 6, 8, 3, 0], [2, 7, 9, 10, 3]]), torch.tensor([[1, 1, 1, 1, 0], [1] * 5]))
    written = torch.tensor([[9, 6, 7, 3, 11], [2, 7, 9, 12, 5]])
    hidden = original._replace(ids=torch.tensor([[2, 4, 8, 3, 0], [2, 7, 4, 10, 3]]))
    seen = []
    encoder = SimpleNamespace(hidden_states=lambda tokens: seen.append(tokens) or [F.one_hot(written)])
    edited = FrozenGenerator.forward(
        SimpleNamespace(encoder=encoder, head=lambda x, _: x, table=None), original, hidden
    )
    assert seen == [hidden]
    # A hidden token that is restored is none, one that was not hidden may be; padding stays what it is.
    assert edited.tokens.ids.tolist() == [[2, 6, 7, 3, 0], [2, 7, 9, 12, 5]]
    assert edited.replaced.tolist() == [[0, 0, 1, 0, 0], [0, 0, 0, 1, 1]]
    assert edited.tokens.mask is original.mask


def test_the_hidden_tokens_alone_are_drawn_where_that_is_asked_for() -> None:
    odds = torch.tensor([[0.2, 0.5, 0.3], [0.6, 0.4, 0.0], [0.0, 0.0, 1.0]])
    encoder = SimpleNamespace(hidden_states=lambda tokens: [odds.log()[None]])
    generator = SimpleNamespace(encoder=encoder, head=lambda states, table: states, table=None)
    original = Tokens(torch.tensor([[2, 1, 0]]), torch.ones(1, 3, dtype=torch.int64))
    found = []
    for draw in (0.1, 0.59, 0.61, 0.99):
        hidden = torch.tensor([[False, True, False]])
        edited = FrozenGenerator.forward(generator, original, original, Drawn(hidden, torch.full((1, 3), draw)))
        found.append((edited.tokens.ids.tolist(), edited.replaced.tolist()))
    assert found == [([[2, 0, 0]], [[0, 1, 0]])] * 2 + [([[2, 1, 0]], [[0, 0, 0]])] * 2


def test_the_generator_is_frozen_but_not_still() -> None:
    generator = FrozenGenerator("slot-bert", dropout=0.5).train()
    language, ids = Language("home"), torch.zeros(2, dtype=torch.int64)
    said = language.worded(language.concepts(language.topics(ids, 7), ids, 7), ids, 7)
    tokens = generator.encoder.tokenize(language.texts(said))
    assert not [name for name, p in generator.named_parameters() if p.requires_grad]
    first, second = generator(tokens, tokens).tokens.ids
    assert not torch.equal(first, second)
    generator.eval()
    first, second = generator(tokens, tokens).tokens.ids
    # Its head is that of its file: it knows the function words, which are every other one, by their places.
    assert torch.equal(first, second) and (first == tokens.ids[0]).double().mean() >= 0.5


def discriminator() -> ConditionalDiscriminator:
    torch.manual_seed(1)
    return ConditionalDiscriminator(tiny_encoder()).eval()


def test_the_vector_takes_the_first_tokens_place_behind_the_embeddings() -> None:
    found = discriminator()
    body = found.encoder.body
    tokens = found.encoder.tokenize(TEXTS[2:] * 2)
    condition = torch.randn(2, 16)
    embedded = torch.cat([condition[:, None], body.embeddings(input_ids=tokens.ids)[:, 1:]], dim=1)
    expected = found.head(body.encoder(embedded).last_hidden_state)
    torch.testing.assert_close(found(tokens, condition), expected)
    other = tokens._replace(ids=tokens.ids.index_fill(1, torch.tensor(0), 9))
    torch.testing.assert_close(found(other, condition), expected)
    # Nothing of it is left afterwards.
    torch.testing.assert_close(body(input_ids=tokens.ids).last_hidden_state, found.encoder.hidden_states(tokens)[-1])
    assert not body.embeddings._forward_hooks


def test_every_token_hangs_on_the_vector_and_gives_it_a_gradient() -> None:
    found = discriminator()
    tokens = found.encoder.tokenize(TEXTS)
    condition = torch.randn(3, 16, requires_grad=True)
    logits = found(tokens, condition)
    assert logits.shape == (*tokens.ids.shape, 2)
    moved = (logits - found(tokens, condition.roll(1, 0))).abs().amax(dim=2)
    assert (moved[tokens.mask.bool()] > 1e-5).all()
    (row,) = torch.autograd.grad(logits[1, 1, 0], condition)
    assert row[1].abs().max() > 0 and not row[[0, 2]].any()


def test_a_vector_of_another_width_is_refused() -> None:
    found = discriminator()
    with pytest.raises(UserError, match=r"condition \(3, 8\): expected \(3, 16\)"):
        found(found.encoder.tokenize(TEXTS), torch.randn(3, 8))
