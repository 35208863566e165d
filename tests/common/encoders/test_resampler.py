"""Resampler and gates: attention against plain loops, who sees which picture, closed gates, what is refused."""

import math

import pytest
import torch
from torch import Tensor

from common.encoders.resampler import GatedCrossAttention, LatentAttention, Resampler
from common.errors import UserError

DRAW = torch.Generator().manual_seed(1)
SEQUENCE = torch.randn(2, 5, 8, generator=DRAW, dtype=torch.float64)
LATENTS = torch.randn(2, 3, 8, generator=DRAW, dtype=torch.float64)
PADDING = torch.tensor([[False] * 5, [False, False, True, False, True]])


def attended(query: list[float], keys: Tensor, values: Tensor, scale: float) -> Tensor:
    chances = [math.exp(scale * sum(a * b for a, b in zip(query, key, strict=True))) for key in keys.tolist()]
    return sum(chance / sum(chances) * value for chance, value in zip(chances, values, strict=True))


@pytest.mark.parametrize("padding", [None, PADDING])
def test_attention_is_that_of_loops(padding: Tensor | None) -> None:
    torch.manual_seed(0)
    attention = LatentAttention(8, 2, 3).double()
    found = attention(LATENTS, SEQUENCE, padding)
    for row in range(2):
        seen = [t for t in range(5) if padding is None or not padding[row, t]]
        read = torch.cat([attention.sequence_norm(SEQUENCE[row, seen]), attention.latent_norm(LATENTS[row])])
        for place in range(3):
            query = attention.query(attention.latent_norm(LATENTS[row, place]))
            key, value = attention.key_value(read).chunk(2, dim=1)
            heads = [slice(3 * head, 3 * head + 3) for head in range(2)]
            parts = [attended(query[h].tolist(), key[:, h], value[:, h], 3**-0.5) for h in heads]
            torch.testing.assert_close(found[row, place], attention.output(torch.cat(parts)))


def test_the_resampler_has_as_many_vectors_as_it_should() -> None:
    torch.manual_seed(0)
    resampler = Resampler(8, 4, 2, 2, 3, bias=False).double()
    assert resampler(SEQUENCE).shape == resampler(SEQUENCE[:, :2]).shape == (2, 4, 8)
    assert resampler.norm.bias is None and Resampler(8, 4, 2, 2, 3).norm.bias is not None
    short = resampler(SEQUENCE[1:, [0, 1, 3]])
    torch.testing.assert_close(resampler(SEQUENCE, PADDING)[1:], short)
    moved = SEQUENCE[:, torch.tensor([3, 0, 4, 1, 2])]
    torch.testing.assert_close(resampler(moved), resampler(SEQUENCE))  # it knows no order
    # The layers stand one on the other, each with its residual.
    latents = resampler.latents.expand(2, -1, -1)
    for attention, feed in zip(resampler.attentions, resampler.feeds, strict=True):
        latents = latents + attention(latents, SEQUENCE)
        latents = latents + feed(latents)
    torch.testing.assert_close(resampler(SEQUENCE), resampler.norm(latents))


def gate(compress: int = 1) -> GatedCrossAttention:
    torch.manual_seed(0)
    made = GatedCrossAttention(8, 6, 2, 4, compress).double()
    torch.nn.init.constant_(made.look_gate, 0.7)
    return made


PICTURES = torch.randn(2, 2, 3, 6, generator=DRAW, dtype=torch.float64)
BEGUN = torch.tensor([[0, 1, 1, 2, 3], [1, 1, 2, 2, 2]])


@pytest.mark.parametrize("compress", [1, 2])
def test_a_word_sees_the_last_picture_before_it_and_no_other(compress: int) -> None:
    layer = gate(compress)
    found, width = layer(SEQUENCE, PICTURES, BEGUN), 4 // compress
    assert layer.query.weight.shape == (8 // compress, 8) and layer.feed[1].weight.shape == (32 // compress, 8)
    for row in range(2):
        for place, number in enumerate(BEGUN[row].tolist()):
            expected = SEQUENCE[row, place]
            if 1 <= number <= 2:
                query = layer.query(layer.norm(expected))
                key, value = layer.key_value(PICTURES[row, number - 1]).chunk(2, dim=1)
                heads = [slice(width * head, width * head + width) for head in range(2)]
                parts = [attended(query[h].tolist(), key[:, h], value[:, h], 4**-0.5) for h in heads]
                expected = expected + math.tanh(0.7) * layer.output(torch.cat(parts))
            torch.testing.assert_close(found[row, place], expected)
    torch.nn.init.constant_(layer.feed_gate, -0.4)
    torch.testing.assert_close(layer(SEQUENCE, PICTURES, BEGUN), found + math.tanh(-0.4) * layer.feed(found))


def test_where_nothing_is_seen_the_gradient_is_finite() -> None:
    layer, pictures = gate(), PICTURES.clone().requires_grad_()
    layer(SEQUENCE, pictures, torch.zeros_like(BEGUN)).sum().backward()
    assert not pictures.grad.any() and layer.query.weight.grad.isfinite().all()
    assert torch.equal(layer(SEQUENCE, PICTURES, torch.zeros_like(BEGUN)), SEQUENCE)


def test_a_new_gate_is_closed() -> None:
    layer = GatedCrossAttention(8, 6, 2, 4).double()
    assert torch.equal(layer(SEQUENCE, PICTURES, BEGUN), SEQUENCE)
    layer(SEQUENCE, PICTURES, BEGUN).square().sum().backward()
    moved = {name for name, p in layer.named_parameters() if p.grad.any()}
    assert moved == {"look_gate", "feed_gate"}


def test_bad_arguments() -> None:
    for arguments, message in (((8, 0, 1, 2, 3), "the resampler's latents 0"), ((8, 1, 0, 2, 3), "layers 0")):
        with pytest.raises(UserError, match=message):
            Resampler(*arguments)
