"""DiffCSE: what the discriminator is asked and given, what its gradient reaches, and what its controls change."""

import math

import pytest
import torch
from torch.nn import functional as F

from common.encoders.pooling import Tokens
from common.encoders.replaced import Edited
from common.errors import UserError
from papers.sentence.diffcse import properties
from papers.sentence.diffcse.module import DiffCSE, order_within
from papers.sentence.simcse.module import SimCSE

BATCH = properties.sentences(3, 0)
MASK = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 0]])


def method(**arguments) -> DiffCSE:
    torch.manual_seed(0)
    module = DiffCSE(encoder="slot-bert", pooling="mean", **{"dropout": 0.0, "weight": 0.5, **arguments}).train()
    module.log_loss = lambda loss, **terms: loss  # without a trainer there is no log
    return module


def edited(module: DiffCSE) -> Edited:
    """Both copies of three sentences, with given labels."""
    ids = torch.randint(5, 800, (6, 6), generator=torch.Generator().manual_seed(1)) * MASK.repeat(2, 1)
    replaced = torch.tensor([[0, 1, 0, 0, 1, 1], [0, 0, 1, 0, 0, 0], [0, 1, 1, 0, 1, 0]]).repeat(2, 1)
    return Edited(Tokens(ids, MASK.repeat(2, 1)), replaced)


@pytest.mark.parametrize("reduction", ["positions", "sentences"])
def test_the_detection_is_a_cross_entropy_over_positions_or_of_sentences(reduction: str) -> None:
    module, vectors = method(reduction=reduction), torch.randn(6, 128)
    texts = edited(module)
    logits = module.discriminator(texts.tokens, vectors).detach().double()
    total = 0.0
    for row, labels, mask in zip(logits, texts.replaced, texts.tokens.mask, strict=True):
        for (kept, other), label, real in zip(row.tolist(), labels.tolist(), mask.tolist(), strict=True):
            if real or reduction == "positions":
                total += math.log(math.exp(kept) + math.exp(other)) - (other if label else kept)
    expected = total / (36 if reduction == "positions" else 6)
    assert module.detect(texts, vectors, BATCH.ids).item() == pytest.approx(expected, rel=1e-5)


def test_the_loss_is_simcses_and_the_weighted_detection() -> None:
    module = method(head="none")
    tokens = module.encoder.tokenize(BATCH.twice())
    vectors = module.encoder.vectors(tokens)
    expected = module.contrast(*vectors.chunk(2)) + 0.5 * module.detect(
        module.edit(tokens, BATCH.ids), vectors, BATCH.ids
    )
    torch.testing.assert_close(module.training_step(BATCH, 0), expected)
    alone = SimCSE(encoder="slot-bert", pooling="mean", dropout=0.0, head=False)
    alone.log_loss = lambda loss, **terms: loss
    torch.testing.assert_close(method(head="none", weight=0.0).training_step(BATCH, 0), alone.training_step(BATCH, 0))


@pytest.mark.parametrize("edits", ["likeliest", "drawn"])
def test_each_copy_is_edited_under_draws_of_its_own(edits: str) -> None:
    module = method(masked=0.5, edits=edits)
    first, second = module.edit(module.encoder.tokenize(BATCH.twice()), BATCH.ids).tokens.ids.chunk(2)
    assert not torch.equal(first, second)


def test_so_many_words_are_hidden_from_the_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    module, batch, seen = method(masked=0.4), properties.sentences(64, 0), []
    monkeypatch.setattr(module.generator, "forward", lambda tokens, visible: seen.append(visible.ids))
    tokens = module.encoder.tokenize(batch.twice())
    module.edit(tokens, batch.ids)
    words = tokens.mask.sum() - 2 * len(tokens.ids)
    # Eight of ten that are asked for read [MASK].
    assert float((seen[0] == module.encoder.mask_id).sum() / words) == pytest.approx(0.32, abs=0.04)


def test_drawn_edits_are_where_words_were_hidden() -> None:
    for masked, least, most in ((0.0, 0.0, 0.0), (1.0, 0.3, 1.0)):
        module = method(masked=masked, edits="drawn")
        tokens = module.encoder.tokenize(BATCH.twice())
        replaced = module.edit(tokens, BATCH.ids).replaced
        special = torch.isin(tokens.ids, module.encoder.special_ids)
        assert not replaced[special].any() and least <= replaced[~special].double().mean() <= most


def test_all_parts_have_the_dropout_that_is_asked_for() -> None:
    module = method(dropout=0.3)
    for part in (module.encoder, module.generator, module.discriminator):
        assert {drop.p for drop in part.modules() if isinstance(drop, torch.nn.Dropout)} == {0.3}


def test_without_a_weight_there_is_no_discriminator_and_with_one_no_layer_is_shared() -> None:
    assert not hasattr(method(weight=0.0), "discriminator")
    module = method()
    places = [{p.data_ptr() for p in part.parameters()} for part in (module.encoder, module.discriminator)]
    assert not places[0] & places[1]
    for ours, theirs in zip(module.encoder.parameters(), module.discriminator.encoder.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_the_head_is_the_released_projector_over_both_copies_at_once() -> None:
    module = method()
    rows = torch.randn(12, 128)
    first, second = (part.weight for part in module.head if isinstance(part, torch.nn.Linear))
    assert first.shape == (256, 128) and second.shape == (128, 256)
    assert [float(weight.detach().std()) for weight in (first, second)] == pytest.approx([0.02, 0.02], rel=0.03)
    inner = F.linear(rows, first)
    inner = F.relu((inner - inner.mean(0)) / (inner.var(0, correction=0) + 1e-5).sqrt())
    outer = F.linear(inner, second)
    expected = (outer - outer.mean(0)) / (outer.var(0, correction=0) + 1e-5).sqrt()
    torch.testing.assert_close(module.head(rows), expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(module.embed_text(BATCH.text), module.encoder.embed(BATCH.text))


def test_labels_are_permuted_between_the_first_and_the_last_token() -> None:
    order = order_within(torch.rand(3, 6, generator=torch.Generator().manual_seed(0)), MASK)
    for row, mask in zip(order.tolist(), MASK, strict=True):
        last = int(mask.sum()) - 1
        assert row[0] == 0 and row[last:] == list(range(last, 6)) and sorted(row) == list(range(6))
    assert order[0].tolist() != list(range(6))


def test_permuted_labels_are_as_many_and_others(monkeypatch: pytest.MonkeyPatch) -> None:
    true, permuted, vectors = method(), method(labels="permuted"), torch.randn(6, 128)
    asked = []
    for module in (true, permuted):
        # The gradient by the logits tells the labels: it is below 0 for the class that is right.
        logits = torch.zeros(6, 6, 2, requires_grad=True)
        monkeypatch.setattr(module.discriminator, "forward", lambda tokens, vectors, logits=logits: logits)
        module.detect(edited(module), vectors, BATCH.ids).backward()
        asked.append((logits.grad[..., 1] < 0).long())
    assert torch.equal(asked[0], edited(true).replaced)
    assert torch.equal(asked[0].sum(1), asked[1].sum(1)) and not torch.equal(*asked)


@pytest.mark.parametrize("check", [properties.detached, properties.affine])
def test_the_properties_hold(check) -> None:
    assert check(0) < 1e-5


def test_bad_arguments() -> None:
    with pytest.raises(UserError, match=r"model.weight -1.0: expected a finite number at least 0"):
        method(weight=-1.0)
