"""The cross-encoder against transformers' own, and a language model in both of its forms."""

import shutil
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F
from transformers import BertConfig, BertForSequenceClassification

import data.checkpoints
from common.encoders.cross import BiCross, CrossEncoder, flat
from common.encoders.pretrained import ARCHITECTURES
from common.encoders.text import TextEncoder
from common.errors import UserError
from data.slot_language import vocabulary

assert data.checkpoints
SLOT_BERT = Path(data.checkpoints.__file__).parent / "slot_bert"
WORDS = vocabulary()
FIRST = [" ".join(WORDS[:9]), " ".join(WORDS[9:12]), WORDS[0]]
SECOND = [" ".join(WORDS[30:33]), " ".join(WORDS[40:49]), WORDS[1]]


def published(folder: Path) -> BertForSequenceClassification:
    """A cross-encoder of random weights as its authors' library writes it, of the shape of slot-bert."""
    shape = ARCHITECTURES["slot-bert"]
    config = BertConfig(
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.intermediate_size,
        max_position_embeddings=shape.positions,
        num_labels=1,
    )
    torch.manual_seed(1)
    model = BertForSequenceClassification(config).eval()
    model.save_pretrained(folder)
    shutil.copy(SLOT_BERT / "tokenizer.json", folder)
    return model


def test_a_published_cross_encoder_scores_as_in_transformers(tmp_path: Path) -> None:
    theirs = published(tmp_path)
    ours = CrossEncoder.named("slot-bert", max_length=24, weights=str(tmp_path)).eval()
    tokens = ours.tokenize(FIRST, SECOND)
    assert tokens.ids.shape == (3, 15) and tokens.ids[2, :5].tolist() == [2, 5, 3, 6, 3]
    assert tokens.types[2].tolist() == [0, 0, 0, 1, 1] + [0] * 10
    expected = theirs(input_ids=tokens.ids, attention_mask=tokens.mask, token_type_ids=tokens.types).logits[:, 0]
    torch.testing.assert_close(ours(FIRST, SECOND), expected)
    # The mean of the states, where that is asked for, goes through the same head.
    pooled = CrossEncoder.named("slot-bert", "mean", max_length=24, weights=str(tmp_path)).eval()
    assert not torch.allclose(pooled(FIRST, SECOND), expected, atol=1e-3)


def test_scores_are_in_their_places_and_take_no_gradient() -> None:
    torch.manual_seed(0)
    cross = CrossEncoder.named("slot-bert", "mean", dropout=0.5, max_length=32).train()
    found = cross.scores(FIRST, SECOND, batch_size=2)
    assert cross.training and not found.requires_grad and not found.is_inference()
    cross.eval()
    expected = torch.stack([cross([a], [b])[0].sigmoid() for a, b in zip(FIRST, SECOND, strict=True)])
    torch.testing.assert_close(found, expected)
    assert cross.scores([], []).shape == (0,)
    assert not torch.allclose(cross.scores(FIRST, SECOND), cross.scores(SECOND, FIRST), atol=1e-5)


def test_a_language_model_without_a_pooler_begins_with_a_new_one() -> None:
    cross = CrossEncoder.named("slot-bert", max_length=32)
    assert float(cross.pooler.weight.detach().std()) == pytest.approx(0.02, rel=0.05)
    with pytest.raises(UserError, match="max_length is 33; it must be from 5 to 32"):
        CrossEncoder.named("slot-bert", max_length=33)


def test_sides_are_the_means_of_what_stands_in_them() -> None:
    torch.manual_seed(0)
    cross = CrossEncoder.named("slot-bert", max_length=32, reading="sides").eval()
    tokens = cross.tokenize(FIRST[1:], SECOND[1:])
    # [CLS] and three words with [SEP], nine with another; one and one, and padding.
    borders = [(5, 15), (3, 5)]
    places = [[*range(border), *range(1, 16 - border)] for border, _ in borders]
    places[1][5:] = range(5, 15)
    states = cross.encoder.body(
        input_ids=tokens.ids,
        attention_mask=tokens.mask,
        token_type_ids=tokens.types,
        position_ids=torch.tensor(places),
    )[0]
    for row, (border, end) in enumerate(borders):
        u, v = states[row, :border].mean(dim=0), states[row, border:end].mean(dim=0)
        expected = 4 * F.cosine_similarity(u, v, dim=0) - 2
        torch.testing.assert_close(cross(FIRST[1:], SECOND[1:])[row], expected)
    with pytest.raises(UserError, match="reading is 'both'; it must be one of pair, sides"):
        CrossEncoder.named("slot-bert", max_length=32, reading="both")


def both(own_teacher: bool = True) -> BiCross:
    torch.manual_seed(0)
    bi = TextEncoder.named("slot-bert", "mean", dropout=0.0)
    return BiCross(bi, CrossEncoder.named("slot-bert", "mean", dropout=0.0, max_length=32), own_teacher)


def shift(model: torch.nn.Module) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.01


def test_forms_begin_anew_and_the_teacher_is_the_one_before() -> None:
    model = both()
    plain = model.labels("bi", "cross", FIRST, SECOND)
    torch.testing.assert_close(plain, F.cosine_similarity(model.bi.embed(FIRST), model.bi.embed(SECOND)))
    shift(model.bi)
    model.remember()
    start = model.cosines(FIRST, SECOND).detach()
    assert not torch.allclose(start, plain, atol=1e-4)
    shift(model.bi)
    moved = model.cosines(FIRST, SECOND).detach()
    assert set(model.restart("bi")) == set(model.bi.parameters())
    torch.testing.assert_close(model.cosines(FIRST, SECOND).detach(), start)
    torch.testing.assert_close(model.labels("bi", "bi", FIRST, SECOND), moved)
    torch.testing.assert_close(model.labels("bi", "cross", FIRST, SECOND), start)
    scores = model.labels("cross", "bi", FIRST, SECOND)
    shift(model.cross)
    assert not torch.allclose(model.labels("cross", "bi", FIRST, SECOND), scores, atol=1e-5)
    assert set(model.restart("cross")) == set(model.cross.parameters())
    torch.testing.assert_close(model.labels("cross", "bi", FIRST, SECOND), scores)
    model.restart("cross", onward=True)
    assert flat(model.cross.encoder).equal(flat(model.bi)) and not torch.equal(model.cross_start, flat(model.cross))


def test_what_is_kept_is_part_of_a_checkpoint_and_not_trained() -> None:
    model = both()
    shift(model.bi)
    model.remember()
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained == {name for name, _ in model.named_parameters() if not name.startswith("teacher.")}
    other = both()
    other.load_state_dict(model.state_dict())
    other.restart("bi")
    torch.testing.assert_close(other.cosines(FIRST, SECOND), model.cosines(FIRST, SECOND))
    assert not model.train().teacher.training
    assert both(own_teacher=False).teacher is None
