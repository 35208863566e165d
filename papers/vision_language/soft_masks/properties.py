"""What the focal contrast is where nothing is focused on, and how it pulls, in float64."""

import torch
from torch import Tensor
from torch.nn import functional as F

from common.losses import symmetric_info_nce
from papers.vision_language.soft_masks.module import FocalCLIP

PAIRS = 12


def focal(gamma: float, weights: str, temperature: float = 0.1) -> FocalCLIP:
    towers = dict(image_encoder="small_convnet", width=8, text_encoder="bag_of_words", embed_dim=PAIRS)
    return FocalCLIP(**towers, gamma=gamma, weights=weights, temperature=temperature).double()


def pairs(seed: int) -> list[Tensor]:
    """Unit vectors of pictures and of captions, which resemble them more or less; leaves."""
    draw = torch.Generator().manual_seed(seed)
    image, noise = torch.randn(2, PAIRS, PAIRS, generator=draw, dtype=torch.float64)
    text = image + torch.linspace(0.1, 3, PAIRS, dtype=torch.float64)[:, None] * noise
    return [F.normalize(x, dim=1).requires_grad_() for x in (image, text)]


def gradient(loss: Tensor, leaves: list[Tensor]) -> Tensor:
    return torch.cat(torch.autograd.grad(loss, leaves))


def plain(seed: int) -> dict[str, float]:
    """The largest difference from CLIP at gamma 0, of the loss and of the entries of its gradient."""
    leaves = pairs(seed)
    modules = {weights: focal(0.0, weights) for weights in ("live", "detached", "exchanged")}
    expected = symmetric_info_nce(*leaves, temperature=modules["live"].temperature())
    losses = {weights: module.contrast(*leaves) for weights, module in modules.items()}
    slopes = gradient(expected, leaves)
    return {
        weights: max(float((loss - expected).detach().abs()), float((gradient(loss, leaves) - slopes).abs().max()))
        for weights, loss in losses.items()
    }


def slope(seed: int) -> dict[str, float]:
    """The largest difference from the closed form, of the slopes in the cosines of the pairs.

    Captions are the axes, so that the cosines of a picture are its coordinates, and texts find it by the same numbers.

    Raises:
        ArithmeticError: the gradient through the weight changes nothing here, so the check means nothing.
    """
    image, gamma = pairs(seed)[1].detach().requires_grad_(), 2.0
    axes = torch.eye(PAIRS, dtype=torch.float64)
    modules = {weights: focal(gamma, weights) for weights in ("live", "detached")}
    scale = 1 / modules["live"].temperature().detach()
    found = {w: torch.autograd.grad(m.contrast(image, axes), image)[0].diagonal() for w, m in modules.items()}
    logits = scale * image.detach()
    p = torch.stack([logits.softmax(dim=1).diagonal(), logits.softmax(dim=0).diagonal()])
    forms = {"live": (1 - p) ** gamma * ((1 - p) - gamma * p * p.log()), "detached": (1 - p) ** (gamma + 1)}
    # The own logit is in no other pair's softmax, in neither direction.
    expected = {weights: -scale * form.sum(dim=0) / (2 * PAIRS) for weights, form in forms.items()}
    if float((found["live"] - found["detached"]).abs().max()) < 1e-3:
        raise ArithmeticError("a gradient through the weight would change nothing")
    return {weights: float((found[weights] - expected[weights]).abs().max()) for weights in forms}
