"""Pictures as a few vectors, and a language model that looks at them through gates: the parts of Flamingo."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.checks import check_number


def feed_forward(width: int, inner: int) -> nn.Sequential:
    """A normalized layer of `inner` hidden units without biases."""
    up, down = nn.Linear(width, inner, bias=False), nn.Linear(inner, width, bias=False)
    return nn.Sequential(nn.LayerNorm(width), up, nn.GELU(), down)


def _by_head(x: Tensor, heads: int) -> Tensor:
    """(n, t, h * d) -> (n, h, t, d)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


class LatentAttention(nn.Module):
    """Attention from a few vectors to a sequence and to themselves.

    Args:
        width: d of vectors and sequence.
        heads: attention heads.
        head_width: of each.

    Source: Alayrac et al. 2022 (Flamingo), listing of the resampler.
    """

    def __init__(self, width: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.heads = heads
        self.sequence_norm, self.latent_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query = nn.Linear(width, heads * head_width, bias=False)
        self.key_value = nn.Linear(width, 2 * heads * head_width, bias=False)
        self.output = nn.Linear(heads * head_width, width, bias=False)

    def forward(self, latents: Tensor, sequence: Tensor, padding: Tensor | None = None) -> Tensor:
        """Vectors (n, q, d) and a sequence (n, t, d) to (n, q, d).

        Args:
            padding: what of the sequence is not seen, bool (n, t).
        """
        latents, seen = self.latent_norm(latents), None
        key, value = self.key_value(torch.cat([self.sequence_norm(sequence), latents], dim=1)).chunk(2, dim=-1)
        if padding is not None:
            seen = torch.cat([~padding, padding.new_ones(latents.shape[:2])], dim=1)[:, None, None]
        parts = (_by_head(x, self.heads) for x in (self.query(latents), key, value))
        return self.output(F.scaled_dot_product_attention(*parts, attn_mask=seen).transpose(1, 2).flatten(2))


class Resampler(nn.Module):
    """A sequence of any length as a fixed number of vectors: learnt ones that read it, layer by layer.

    Args:
        width: d of the sequence and of the vectors.
        latents: q, how many vectors come out.
        layers: of attention and a feed-forward part four times as wide.
        heads, head_width: of the attention.
        bias: of the last norm.

    Raises:
        UserError: no vector or no layer.

    Source: Alayrac et al. 2022 (Flamingo), listing of the resampler.
    """

    def __init__(
        self, width: int, latents: int, layers: int, heads: int, head_width: int, *, bias: bool = True
    ) -> None:
        super().__init__()
        for name, value in {"latents": latents, "layers": layers}.items():
            check_number(f"the resampler's {name}", value, least=1)
        self.latents = nn.Parameter(torch.randn(latents, width))
        self.attentions = nn.ModuleList(LatentAttention(width, heads, head_width) for _ in range(layers))
        self.feeds = nn.ModuleList(feed_forward(width, 4 * width) for _ in range(layers))
        self.norm = nn.LayerNorm(width, bias=bias)

    def forward(self, sequence: Tensor, padding: Tensor | None = None) -> Tensor:
        """(n, t, d) -> (n, q, d); `padding`, bool (n, t), says what is not seen."""
        latents = self.latents.expand(len(sequence), -1, -1)
        for attention, feed in zip(self.attentions, self.feeds, strict=True):
            latents = latents + attention(latents, sequence, padding)
            latents = latents + feed(latents)
        return self.norm(latents)


class GatedCrossAttention(nn.Module):
    """What stands before a layer of a frozen language model: words look at the picture that they follow.

    Both parts pass a gate, tanh of a number that starts at 0, so that at first the language model is what it was.

    Args:
        width: d of the words' states.
        picture_width: e of the pictures' vectors.
        heads, head_width: of the attention.
        compress: divides the widths of the heads and of the feed-forward part, which is else four times as wide as the
            states. Scores are divided by the root of `head_width` all the same, as in CosMo's code.

    Source: Alayrac et al. 2022 (Flamingo), listing of the gated layer; Wang et al. 2024 (CosMo).
    """

    def __init__(self, width: int, picture_width: int, heads: int, head_width: int, compress: int = 1) -> None:
        super().__init__()
        inner = heads * head_width // compress
        self.heads, self.scale = heads, head_width**-0.5
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, inner, bias=False)
        self.key_value = nn.Linear(picture_width, 2 * inner, bias=False)
        self.output = nn.Linear(inner, width, bias=False)
        self.feed = feed_forward(width, 4 * width // compress)
        self.look_gate, self.feed_gate = nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(()))

    def forward(self, states: Tensor, pictures: Tensor, begun: Tensor) -> Tensor:
        """The states (n, t, d) after a look at the pictures.

        Args:
            pictures: m vectors of each of the k pictures of a text, (n, k, m, e).
            begun: how many pictures stand before or at each word, int64 (n, t). A word sees the last of them and no
                other; without one, or where it is not there, it sees nothing.
        """
        number = torch.arange(1, pictures.shape[1] + 1, device=begun.device).repeat_interleave(pictures.shape[2])
        seen = begun[:, :, None] == number
        some = seen.any(dim=-1, keepdim=True)
        key, value = self.key_value(pictures.flatten(1, 2)).chunk(2, dim=-1)
        parts = (_by_head(x, self.heads) for x in (self.query(self.norm(states)), key, value))
        # Of a word that sees nothing an attention over nothing would be NaN.
        found = F.scaled_dot_product_attention(*parts, attn_mask=(seen | ~some)[:, None], scale=self.scale)
        states = states + self.look_gate.tanh() * self.output(found.transpose(1, 2).flatten(2) * some)
        return states + self.feed_gate.tanh() * self.feed(states)
