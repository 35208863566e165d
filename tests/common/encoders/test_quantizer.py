"""The quantizer's choices, and what it counts as unused."""

import math

import pytest
import torch

from common.encoders.quantizer import GumbelQuantizer


def test_the_quantizer_takes_the_likeliest_codes_and_counts_what_is_used() -> None:
    quantizer = GumbelQuantizer(4, 6, codes=5, groups=2)
    x = torch.randn(2, 3, 4)
    vectors, _, diversity = quantizer(x, 1.0)
    logits = quantizer.choose(x).view(2, 3, 2, 5)
    for n, m in ((0, 0), (1, 2)):
        parts = [quantizer.book[g, logits[n, m, g].argmax()] for g in range(2)]
        torch.testing.assert_close(vectors[n, m], torch.cat(parts))
    usage = logits.softmax(-1).mean((0, 1))
    perplexity = float(sum(math.exp(-float((p * p.log()).sum())) for p in usage))
    assert float(diversity) == pytest.approx((10 - perplexity) / 10, abs=1e-5)
    noise = torch.rand(2, 3 * 2 * 5)
    drawn = quantizer(x, 2.0, noise)
    gumbel = -(-noise.view(2, 3, 2, 5).log()).log()
    codes = (logits + gumbel).argmax(-1)
    assert torch.equal(drawn.codes, codes)
    # To the bit: the straight-through value is exactly one-hot.
    assert torch.equal(drawn.vectors.view(2, 3, 2, 3), quantizer.book[torch.arange(2), codes])
    drawn.vectors.sum().backward()
    assert quantizer.choose.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_equal_codes_are_equal_vectors_in_float32(temperature: float) -> None:
    torch.manual_seed(0)
    quantizer = GumbelQuantizer(4, 8, codes=3, groups=2)
    drawn = quantizer(torch.randn(4, 200, 4), temperature, torch.rand(4, 200 * 6))
    assert len(drawn.vectors.detach().flatten(0, 1).unique(dim=0)) == len(drawn.codes.flatten(0, 1).unique(dim=0)) == 9
