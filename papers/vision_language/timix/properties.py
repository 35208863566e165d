"""What the loss of mixed pictures is, and how low it can fall, checked on random features in float64."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from papers.vision_language.timix.module import TiMix

PAIRS = 12
WHOLE = slice(0, PAIRS)


def drawn(seed: int) -> tuple[TiMix, Tensor, Tensor, Tensor, float]:
    """A module, unit vectors of pictures and captions, partners, and the share of the own label."""
    module = TiMix(image_encoder="small_convnet", width=4, text_encoder="bag_of_words", embed_dim=PAIRS).double()
    draw = torch.Generator().manual_seed(seed)
    image, text = F.normalize(torch.randn(2, PAIRS, PAIRS, generator=draw, dtype=torch.double), dim=-1)
    order = torch.randperm(PAIRS, generator=draw)
    partner = torch.empty_like(order).scatter_(0, order, order.flip(0))
    return module, image, text, partner, float(0.4 + 0.5 * torch.rand(1, generator=draw))


def loss(module: TiMix, image: Tensor, text: Tensor, partner: Tensor, share: float) -> Tensor:
    shares = torch.full((PAIRS,), share, dtype=torch.double)
    return module.mixed_contrast(image, text, torch.eye(PAIRS).double(), partner, (shares, shares), WHOLE)


def two_captions(seed: int) -> float:
    """How far the loss is from the share of the own cross-entropy and the rest of the partner's, in both directions."""
    module, image, text, partner, share = drawn(seed)
    logits, own = image @ text.T / module.temperature(), torch.arange(PAIRS)
    expected = sum(
        share * F.cross_entropy(x, own) + (1 - share) * F.cross_entropy(x, partner) for x in (logits, logits.T)
    )
    return float((loss(module, image, text, partner, share) - expected / 2).abs().detach())


def least(seed: int) -> float:
    """How far the least loss is from the entropy of the share, and how far any of a hundred batches is below that."""
    module, image, text, partner, share = drawn(seed)
    entropy = -share * math.log(share) - (1 - share) * math.log(1 - share)
    target = share * torch.eye(PAIRS) + (1 - share) * F.one_hot(partner, PAIRS)
    # Vectors of any length, so that the softmax can be the label itself.
    best = module.temperature().detach() * (target.double() + 1e-300).log()
    found = float(loss(module, best, torch.eye(PAIRS).double(), partner, share).detach())
    below = [entropy - float(loss(module, t * best, text, partner, share).detach()) for t in torch.linspace(0, 2, 50)]
    below += [entropy - float(loss(module, image, t * text, partner, share).detach()) for t in torch.linspace(0, 2, 50)]
    return max(abs(found - entropy), *below)
