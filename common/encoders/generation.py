"""Text out of a decoder, one token after the other: the likeliest by beam search, or drawn."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from common.errors import UserError


class Tokens(NamedTuple):
    """The token ids with a meaning of their own."""

    pad: int
    end: int


@torch.no_grad()
def generate(
    next_logits: Callable[[Tensor], Tensor],
    first: Tensor,
    longest: int,
    tokens: Tokens,
    beam: int = 1,
    generator: torch.Generator | None = None,
) -> list[list[int]]:
    """The likeliest texts by beam search, where scores are divided by the length; or texts drawn token by token.

    Args:
        next_logits: from the ids so far, (n * beam, t), to the logits of the next token, (n * beam, v). The `beam`
            copies of a row stand together.
        first: the token that each text begins with, such as a language, int64 of shape (n,).
        longest: tokens after which a text is cut.
        tokens: special ids.
        beam: texts kept at each step; 1 is greedy.
        generator: draws each token from its distribution, on the CPU; without one nothing is drawn.

    Returns:
        Token ids of n texts without `first` and without the end.

    Raises:
        UserError: a generator with a beam.
    """
    if generator is not None and beam != 1:
        raise UserError(f"beam is {beam}; texts that are drawn have a beam of 1")
    rows, device = len(first), first.device
    ids = first.repeat_interleave(beam)[:, None]
    # The copies of a row are alike at first: all but one are out of the running.
    score = torch.full((rows, beam), -math.inf, device=device)
    score[:, 0] = 0.0
    length = torch.zeros(rows, beam, device=device)
    over = torch.zeros(rows, beam, dtype=torch.bool, device=device)
    for _ in range(longest):
        chances = next_logits(ids).float().log_softmax(-1).unflatten(0, (rows, beam))
        if generator is not None:
            # The largest of log p plus Gumbel noise is a draw from p.
            noise = torch.rand(chances.shape, generator=generator, dtype=torch.float64).log().neg().log().neg()
            chances = chances + noise.to(chances)
        # A text that is over goes on with padding, at no cost.
        chances = chances.masked_fill(over[:, :, None], -math.inf)
        chances[:, :, tokens.pad] = torch.where(over, 0.0, -math.inf)
        total = score[:, :, None] + chances
        ranked = (total / (length + ~over).clamp(min=1)[:, :, None]).flatten(1).topk(beam)
        chosen, token = ranked.indices // chances.shape[2], ranked.indices % chances.shape[2]
        score = total.flatten(1).gather(1, ranked.indices)
        length = (length + ~over).gather(1, chosen)
        over = over.gather(1, chosen) | (token == tokens.end)
        at = (chosen + torch.arange(rows, device=device)[:, None] * beam).flatten()
        ids = torch.cat([ids[at], token.view(-1, 1)], dim=1)
        if over.all():
            break
    return [[token for token in text if token not in tokens] for text in ids[::beam, 1:].tolist()]
