"""Hidden tokens and frames: what is asked for, what is read, and whose the draws are."""

import pytest
import torch

from common.encoders.sequence import Sequences
from common.encoders.text import TextEncoder, Tokens
from common.errors import UserError
from common.sampling.masking import IGNORED, hide_tokens, hide_tokens_by_sample, silence_spans, span_mask

TEXTS = ["a dog", "the small red circle and the large blue star stand below a green heart"]


def test_each_draw_decides_as_bert_does() -> None:
    ids = torch.tensor([[2, 10, 11, 12, 13, 3]])
    chance = torch.tensor([[0.0, 0.159, 0.161, 0.181, 0.2, 0.0]])
    tokens = Tokens(ids, torch.ones_like(ids))
    seen, targets = hide_tokens(tokens, 0.2, chance, torch.full_like(ids, 99), 4, torch.tensor([0, 1, 2, 3, 4]))
    assert seen.ids.tolist() == [[2, 4, 99, 12, 13, 3]]
    assert targets.tolist() == [[IGNORED, 10, 11, 12, IGNORED, IGNORED]]
    assert seen.mask is tokens.mask


def test_draws_belong_to_the_sample_whatever_the_padding() -> None:
    encoder = TextEncoder.named("mini-bert")
    ids = torch.tensor([5, 17])
    together = hide_tokens_by_sample(encoder.tokenize(TEXTS), 0.5, encoder, ids, 3)
    alone = hide_tokens_by_sample(encoder.tokenize(TEXTS[:1]), 0.5, encoder, ids[:1], 3)
    length = alone[1].shape[1]
    assert torch.equal(together[1][0, :length], alone[1][0])
    assert torch.equal(together[0].ids[0, :length], alone[0].ids[0])
    assert (together[1][0, length:] == IGNORED).all()
    other = hide_tokens_by_sample(encoder.tokenize(TEXTS), 0.5, encoder, ids, 4)
    assert not torch.equal(together[1], other[1])


def test_the_shares_are_berts() -> None:
    encoder = TextEncoder.named("mini-bert")
    tokens = encoder.tokenize(TEXTS[1:] * 800)
    seen, targets = hide_tokens_by_sample(tokens, 0.15, encoder, torch.arange(800), 0)
    asked = targets != IGNORED
    words = ~torch.isin(tokens.ids, encoder.special_ids)
    assert not (asked & ~words).any()
    assert abs(float(asked[words].double().mean()) - 0.15) < 0.01
    assert abs(float((seen.ids[asked] == encoder.mask_id).double().mean()) - 0.8) < 0.03
    assert abs(float((seen.ids[asked] == targets[asked]).double().mean()) - 0.1) < 0.03


def test_masks_are_spans_and_as_many_in_every_row() -> None:
    ids = torch.arange(200)
    mask = span_mask(ids, 100, 0.65, 10, 3)
    expected = 1 - (1 - 10 / 100) ** 6.5
    assert (mask.sum(1) == round(100 * expected)).all()
    assert torch.equal(span_mask(ids[[7, 3]], 100, 0.65, 10, 3), mask[[7, 3]]) and not torch.equal(
        span_mask(ids, 100, 0.65, 10, 4), mask
    )
    runs = [len(run) for row in mask.int().tolist() for run in "".join(map(str, row)).split("0") if run]
    # Each row may have one span that is cut; the others are whole or run into one another.
    assert sum(run < 10 for run in runs) <= 200 and max(runs) > 10
    everywhere = mask.float().mean(0)
    assert everywhere[10:90].std() < 0.06
    assert span_mask(ids, 10, 0.65, 10, 3).all(), "one span is all of the row"
    with pytest.raises(UserError, match="rows of 9 frames cannot be masked in spans of 10"):
        span_mask(ids, 9, 0.65, 10, 3)
    for share, span in ((-0.1, 10), (1.5, 10), (0.65, 0)):
        with pytest.raises(UserError, match=r"of masked frames .* expected a finite number"):
            span_mask(ids, 100, share, span, 3)


def test_silent_spans_are_whole_and_as_many_as_asked_for() -> None:
    ids = torch.arange(200)
    for values in (torch.ones(200, 100, 3), torch.ones(200, 100)):
        speech = Sequences(values, torch.ones(200, 100, dtype=torch.bool))
        masked = silence_spans(speech, ids, 0.3, 10, 5)
        silent = masked.values.view(200, 100, -1)[..., 0] == 0
        assert torch.equal(masked.real, speech.real) and not masked.values[silent].any()
        # A frame is spared if none of the ten places from which a span reaches it begins one.
        assert float(silent[:, 9:].float().mean()) == pytest.approx(1 - (1 - 0.03) ** 10, abs=0.02)
        for row in silent.int().tolist():
            runs = "".join(map(str, row)).split("0")
            assert all(len(run) >= 10 for run in runs[:-1] if run), "only the last span may be cut"
        some = torch.tensor([7, 3])
        alone = silence_spans(Sequences(values[some], speech.real[some]), ids[some], 0.3, 10, 5)
        assert torch.equal(alone.values, masked.values[some])
        assert not torch.equal(silence_spans(speech, ids, 0.3, 10, 6).values, masked.values)
