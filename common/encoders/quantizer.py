"""Vectors out of a learned book, chosen by a softmax that a gradient goes through."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.distributed import sum_over_processes
from common.errors import UserError


class Quantized(NamedTuple):
    vectors: Tensor
    """Shape (n, m, d); rows of equal codes are equal to the bit."""
    codes: Tensor
    """The number of the chosen code in each group, int64 of shape (n, m, groups)."""
    diversity: Tensor
    """Share of the codes that are not used on average, in [0, 1): (codes - perplexity) / codes."""


class GumbelQuantizer(nn.Module):
    """Chooses one of `codes` vectors in each of `groups` groups, by a Gumbel softmax with hard forward values.

    Source: wav2vec 2.0 (Baevski et al. 2020, section 2), as in fairseq.

    Args:
        inputs: width of what is quantized.
        output: width d of what comes out; the groups divide it.
        codes: in a group.
        groups: whose choices are put side by side.

    Raises:
        UserError: the groups do not divide `output`.
    """

    def __init__(self, inputs: int, output: int, codes: int = 320, groups: int = 2) -> None:
        super().__init__()
        if output % groups:
            raise UserError(f"quantized vectors of width {output}: expected a multiple of their {groups} groups")
        self.codes, self.groups = codes, groups
        self.choose = nn.Linear(inputs, groups * codes)
        nn.init.normal_(self.choose.weight)
        nn.init.zeros_(self.choose.bias)
        self.book = nn.Parameter(torch.rand(groups, codes, output // groups))

    def forward(self, x: Tensor, temperature: float, noise: Tensor | None = None) -> Quantized:
        """Quantizes (n, m, inputs).

        Args:
            x: features.
            temperature: of the softmax that gradients flow through.
            noise: uniform numbers (n, m * groups * codes); None chooses without chance.
        """
        logits = self.choose(x).unflatten(2, (self.groups, self.codes))
        usage = logits.float().softmax(-1).flatten(0, 1)
        usage = sum_over_processes(usage.sum(0)) / sum_over_processes(usage.new_tensor(float(len(usage))))
        perplexity = (-(usage * (usage + 1e-7).log()).sum(-1)).exp().sum()
        if noise is not None:
            gumbel = -(-noise.clamp(min=1e-7).log()).log()
            logits = (logits + gumbel.view_as(logits)) / temperature
        soft = logits.softmax(-1)
        chosen = soft.argmax(-1)
        hard = F.one_hot(chosen, self.codes).to(soft)
        # In torch's order the value is exactly one-hot: what 1 - p loses, adding p restores. From the left, hard + soft
        # would lose it for good, and equal codes would not be equal vectors.
        weights = hard if noise is None else hard - soft.detach() + soft
        vectors = torch.einsum("nmgc,gcd->nmgd", weights, self.book).flatten(2)
        total = self.groups * self.codes
        return Quantized(vectors, chosen, (total - perplexity) / total)
