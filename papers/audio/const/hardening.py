"""How ConST makes the positives of its contrast harder: it damages the speech, the transcript, or what both enter as.

All draws belong to a sample, so that they are the same in any company.
"""

from typing import Literal

from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from common.encoders.sequence import Sequences
from common.random import uniform


def mask_spans(speech: Sequences, ids: Tensor, share: float, span: int, *key: int) -> Sequences:
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


def repeat_tokens(tokens: Tensor, ids: Tensor, share: float, pad: int, end: int, *key: int) -> Tensor:
    """Says tokens twice, each with probability `share`, except the language at the front, the end and padding.

    Args:
        tokens: token ids, int64 of shape (n, t).
        ids: global sample ids, shape (n,).
        share: probability.
        pad, end: ids of padding and of the end.
        key: what else the choice depends on.

    Returns:
        Token ids (n, up to 2 t).
    """
    twice = (uniform(ids, tokens.shape[1], *key) < share) & (tokens != pad) & (tokens != end)
    twice[:, 0] = False
    rows = [row.repeat_interleave(1 + more) for row, more in zip(tokens, twice.long(), strict=True)]
    return pad_sequence(rows, batch_first=True, padding_value=pad)


def cut(entered: Sequences, ids: Tensor, share: float, what: Literal["sequence", "features"], *key: int) -> Sequences:
    """Sets positions ("sequence") or dimensions ("features") of (n, t, d) to zero, each with probability `share`."""
    dim = 1 if what == "sequence" else 2
    gone = uniform(ids, entered.values.shape[dim], *key) < share
    return Sequences(entered.values.masked_fill(gone.unsqueeze(3 - dim), 0.0), entered.real)
