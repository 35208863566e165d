"""How ConST makes the positives of its contrast harder, beside silence in the speech: in the transcript or the means.

All draws belong to a sample, so that they are the same in any company.
"""

from typing import Literal

from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from common.encoders.sequence import Sequences
from common.random import uniform


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
