"""What of a text or a recording is hidden, to be predicted."""

import math
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from common.checks import check_number
from common.encoders.pooling import Tokens
from common.encoders.sequence import Sequences
from common.errors import UserError
from common.random import uniform

IGNORED = -100
"""The target of a token that is not asked for; cross-entropy's own mark."""


class HasVocabulary(Protocol):
    """What is to be known of an encoder whose tokens are hidden."""

    @property
    def vocab_size(self) -> int: ...

    @property
    def mask_id(self) -> int:
        """The id of [MASK]."""
        ...

    @property
    def special_ids(self) -> Tensor:
        """The ids of the tokens that stand for no text, shape (s,)."""
        ...


def hide_tokens(
    tokens: Tokens, share: float, chance: Tensor, other: Tensor, mask_id: int, special_ids: Tensor
) -> tuple[Tokens, Tensor]:
    """The tokens as a masked language model sees them, and the target of each, `IGNORED` where it is not asked for.

    Of the tokens asked for, 80% read [MASK], 10% a random token, 10% themselves (Devlin et al. 2019, section 3.1).

    Args:
        tokens: ids of shape (n, t).
        share: of the tokens, that are asked for, in (0, 1); of special tokens and padding none is.
        chance: uniform draws in [0, 1), (n, t).
        other: the random tokens, int64 (n, t).
        mask_id: of [MASK].
        special_ids: of the tokens that stand for no text, (s,).
    """
    chance = chance.masked_fill(torch.isin(tokens.ids, special_ids), 1.0)
    # Below `share` the draw is uniform: its lower 80% read [MASK], the next 10% a random token.
    seen = torch.where(chance < 0.9 * share, other, tokens.ids)
    seen = torch.where(chance < 0.8 * share, mask_id, seen)
    return Tokens(seen, tokens.mask), tokens.ids.masked_fill(chance >= share, IGNORED)


def hide_tokens_by_sample(
    tokens: Tokens, share: float, encoder: HasVocabulary, ids: Tensor, *key: int
) -> tuple[Tokens, Tensor]:
    """`hide_tokens` with draws that belong to each sample: the same in any batch and on any number of processes.

    Args:
        tokens, share: as in `hide_tokens`.
        encoder: whose tokens they are.
        ids: global sample ids, (n,).
        key: what else the draws depend on, such as seed and step.
    """
    # Draw by draw along the text, so that a token's do not depend on how far the batch is padded.
    chance, other = uniform(ids, 2 * tokens.ids.shape[1], *key).unflatten(1, (-1, 2)).unbind(2)
    other = (other * encoder.vocab_size).long()
    return hide_tokens(tokens, share, chance, other, encoder.mask_id, encoder.special_ids)


def span_mask(ids: Tensor, frames: int, share: float, span: int, *key: int) -> Tensor:
    """Masks the same number of frames of every row, in spans.

    Spans are placed at random, over one another too, until so many frames are masked as share * frames / span spans
    cover in expectation; the last span is cut. fairseq draws the number of spans, and then unmasks frames at random
    until all rows have as many as the row with the fewest.

    Args:
        ids: global sample ids, shape (n,).
        frames: t of every row, at least `span`.
        share: frames masked if no two spans met.
        span: frames of a span.
        key: what else the places depend on.

    Returns:
        bool of shape (n, t), the same number of True in every row.

    Raises:
        UserError: `share` or `span` is out of range, or a row is shorter than a span.
    """
    check_number("share of masked frames", share, least=0, most=1)
    check_number("span of masked frames", span, least=1)
    if frames < span:
        raise UserError(
            f"rows of {frames} frames cannot be masked in spans of {span}: expected at least as many frames"
        )
    count = round(frames * (1 - (1 - span / frames) ** (share * frames / span)))
    rank = uniform(ids, frames - span + 1, *key).argsort(1).argsort(1).float()
    # A frame is masked by the first of the spans that cover it.
    first = -F.max_pool1d(F.pad(-rank, (span - 1, span - 1), value=-math.inf), span, stride=1)
    order = first * frames + torch.arange(frames, device=ids.device)
    return torch.zeros_like(first, dtype=torch.bool).scatter_(1, order.topk(count, largest=False).indices, True)


def silence_spans(speech: Sequences, ids: Tensor, share: float, span: int, *key: int) -> Sequences:
    """Silences spans of the speech; each frame (or sample) begins one with probability share / span.

    Args:
        speech: values of shape (n, t, c), or (n, t) for waveforms.
        ids: global sample ids, shape (n,).
        share: silenced if no two spans met.
        span: frames or samples of a span; the last one is cut.
        key: what else the places depend on.
    """
    frames = speech.values.shape[1]
    begins = (uniform(ids, frames, *key) < share / span).float()
    silent = F.max_pool1d(F.pad(begins, (span - 1, 0)), span, stride=1) > 0
    if speech.values.ndim == 3:
        silent = silent[:, :, None]
    return Sequences(speech.values.masked_fill(silent, 0.0), speech.real)
