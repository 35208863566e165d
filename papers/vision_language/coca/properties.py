"""What CoCa promises: one pass gives the gradient of both losses, and costs about as much as captioning alone."""

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from common.encoders.vocabulary import TOKENS
from papers.vision_language.coca.module import CoCa, Unimodal

PUBLISHED = dict(
    image_size=288, patch_size=18, width=768, heads=12, image_layers=12, queries=256, vocab_size=64_000, text_length=76
)
"""CoCa-Base; the models of the paper's ablations have half its decoder, six layers and six."""
LAPTOP = dict(width=64)


def gradients(seed: int) -> float:
    """How far the gradient of one pass is from L_Con's and twice L_Cap's, each from a pass of its own.

    All weights are the same; the pass of a model without the other half, or without [CLS] and contrastive pooler, must
    give the gradient of its loss, in float64. The largest difference in any entry, relative to the largest entry.

    Raises:
        ArithmeticError: a loss has no gradient in the picture's encoder, so there is nothing to add up.
    """
    torch.manual_seed(seed)
    both = CoCa(**LAPTOP).double()
    one, other = Unimodal(**LAPTOP).double(), CoCa(**LAPTOP, contrast=0.0).double()
    weights = both.state_dict()
    for alone in (one, other):
        alone.load_state_dict({name: weights[name] for name in alone.state_dict()})
    pixels, ids = torch.rand(8, 3, 48, 48).double(), captions(8, 12, seed)

    def gradient(model: Unimodal) -> dict[str, Tensor]:
        terms = model.terms(model.rows((pixels, ids)), (ids[:, 1:] != TOKENS.pad).sum())
        sum(weight * term for weight, term in terms.values()).backward()
        return {name: p.grad for name, p in model.named_parameters()}

    found, *parts = map(gradient, (both, one, other))
    if not all(any(g.any() for name, g in part.items() if name.startswith("image.")) for part in parts):
        raise ArithmeticError("a loss without a gradient in the picture's encoder")
    largest = max(float(g.abs().max()) for g in found.values())
    expected = {name: sum(part[name] for part in parts if name in part) for name in found}
    return max(float((found[name] - expected[name]).abs().max()) for name in found) / largest


def captions(count: int, length: int, seed: int) -> Tensor:
    """Random ids of texts of 3 to `length` tokens, the longest among them."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(4, 200, (count, length), generator=generator)
    ends = torch.randint(2, length, (count,), generator=generator)
    ends[0] = length - 1
    place = torch.arange(length)
    return torch.where(place < ends[:, None], ids, TOKENS.pad).scatter(1, ends[:, None], TOKENS.end)


def operations(kind: type[Unimodal], words: int, **arguments) -> float:
    """Floating-point operations of a pair's forward and backward pass, without weights or data.

    Of all products of matrices; the scores between pictures and captions of the batch are left out, which at the 4,096
    pairs of the paper's ablations are one in five thousand.
    """
    with torch.device("meta"):
        model = kind(**arguments)
        side = arguments.get("image_size", 48)
        pixels, ids = torch.empty(1, 3, side, side), torch.empty(1, words, dtype=torch.int64)
        with FlopCounterMode(display=False) as counter:
            model.rows((pixels, ids)).sum().backward()
    return counter.get_total_flops()


def overhead(seed: int) -> dict[str, float]:
    """By what share of captioning's operations both losses take more; nothing here is random."""
    shapes = {
        "published, 64 tokens": (64, PUBLISHED | {"unimodal_layers": 6, "multimodal_layers": 6}),
        "laptop, 12 tokens": (12, LAPTOP),
    }
    return {
        name: operations(CoCa, words, **shape) / operations(CoCa, words, **shape, contrast=0.0) - 1
        for name, (words, shape) in shapes.items()
    }


def saving(seed: int) -> dict[str, float]:
    """The operations of one model with both losses, as a share of those of two models with one each."""
    shares = {}
    for words in (32, 64):
        shape = PUBLISHED | {"unimodal_layers": 6}
        contrast = operations(Unimodal, words, **shape)
        caption, both = (
            operations(CoCa, words, **shape, multimodal_layers=6, contrast=weight) for weight in (0.0, 1.0)
        )
        shares[f"published, {words} tokens"] = both / (contrast + caption)
    return shares
