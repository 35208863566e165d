"""Drawn texts; beam search is tested where speech is translated."""

import math

import pytest
import torch

from common.encoders.generation import Tokens, generate
from common.errors import UserError

TOKENS = Tokens(pad=0, end=1)
CHANCES = torch.tensor([0.3, 0.2, 0.4, 0.1])  # of padding, the end, and two words


def fixed(ids: torch.Tensor) -> torch.Tensor:
    """The same distribution whatever was said; padding is no word and never drawn."""
    return CHANCES.log().expand(len(ids), -1)


def test_drawn_words_follow_the_distribution() -> None:
    drawn = generate(fixed, torch.full((20_000,), 3), 1, TOKENS, generator=torch.Generator().manual_seed(0))
    counts = torch.tensor([drawn.count(text) for text in ([], [2], [3])]) / 20_000
    torch.testing.assert_close(counts, CHANCES[1:] / CHANCES[1:].sum(), atol=0.012, rtol=0)


def test_the_same_generator_draws_the_same_and_another_another() -> None:
    def drawn(seed: int) -> list[list[int]]:
        return generate(fixed, torch.full((50,), 3), 9, TOKENS, generator=torch.Generator().manual_seed(seed))

    assert drawn(0) == drawn(0) != drawn(1)
    lengths = [len(text) for text in drawn(0)]
    assert max(lengths) <= 9 and len(set(lengths)) > 2


def test_each_text_goes_on_from_its_own_words() -> None:
    def counting(ids: torch.Tensor) -> torch.Tensor:
        """The next number after the last; the end after 5."""
        following = torch.where(ids[:, -1] == 5, TOKENS.end, ids[:, -1] + 1).clamp(max=6)
        return torch.full((len(ids), 7), -math.inf).scatter(1, following[:, None], 0.0).clamp(min=-50)

    for beam in (1, 2):
        assert generate(counting, torch.tensor([2, 4]), 9, TOKENS, beam) == [[3, 4, 5], [5]]
    assert generate(counting, torch.tensor([2, 4]), 2, TOKENS) == [[3, 4], [5]]


def test_no_beam_of_drawn_texts() -> None:
    with pytest.raises(UserError, match=r"beam is 2; texts that are drawn have a beam of 1"):
        generate(fixed, torch.tensor([3]), 2, TOKENS, 2, torch.Generator())
