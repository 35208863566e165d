"""What follows from iSogCLR's updates: where a temperature comes to rest, and what is left if none moves."""

import torch
from torch import Tensor
from torch.nn import functional as F

from common.losses import decoupled_nt_xent
from papers.vision_ssl.isogclr.module import ISogCLR

IMAGES = 40
IDS = torch.arange(IMAGES)
_STEPS = 2000


def views(seed: int) -> tuple[Tensor, Tensor]:
    """Fixed embeddings of two views of images in four clusters, of which one holds more than half."""
    draw = torch.Generator().manual_seed(seed)
    middles = torch.randn(4, 8, generator=draw, dtype=torch.float64)[[0] * 22 + [1] * 10 + [2] * 5 + [3] * 3]
    images = middles + 0.8 * torch.randn(IMAGES, 8, generator=draw, dtype=torch.float64)
    noise = 0.3 * torch.randn(2, IMAGES, 8, generator=draw, dtype=torch.float64)
    one, other = F.normalize(images + noise, dim=-1)
    return one, other


def module(**arguments) -> ISogCLR:
    """Whose u is exact: every batch holds all images, and nothing is left of the batch before."""
    made = ISogCLR(width=8, gamma=1.0, **arguments).double()
    made.state.cover(IDS)
    return made


def negatives(one: Tensor, other: Tensor) -> Tensor:
    """The similarities of each view to those of all other images, (2 * IMAGES, 2 * IMAGES - 2)."""
    rows, image = torch.cat([one, other]), IDS.repeat(2)
    return (rows @ rows.T)[image[:, None] != image].view(2 * IMAGES, -1)


def resting(seed: int) -> dict[str, float]:
    """How far the divergence of the weights from equal ones is from rho, mean of the views, where all has settled."""
    one, other = views(seed)
    isogclr = module(temperature=0.3, least=0.01, most=10.0, temperature_lr=0.01, rho=0.4)
    for _ in range(_STEPS):
        isogclr.contrast(one, other, IDS)
    tau = isogclr.sample_temperature(IDS)
    logits = negatives(one, other) / tau.repeat(2)[:, None]
    weights = logits.softmax(dim=1)
    divergence = (weights * (weights * logits.shape[1]).log()).sum(dim=1).view(2, -1).mean(dim=0)
    # All at one temperature would not do: it must be each image's own.
    shared = (negatives(one, other) / tau.mean()).softmax(dim=1)
    spread = (shared * (shared * logits.shape[1]).log()).sum(dim=1).view(2, -1).mean(dim=0)
    if float((spread - 0.4).abs().max()) < 0.01 or float(tau.max() / tau.min()) < 1.05:
        return {"one temperature would have done": 1.0}
    return {"divergence - rho": float((divergence - 0.4).abs().max())}


def without_learning(seed: int) -> dict[str, float]:
    """The gradient with all temperatures at t, against 2 t times that of the decoupled NT-Xent at t."""
    found = {}
    for t in (0.07, 0.2, 0.5):
        one, other = (x.requires_grad_() for x in views(seed))
        ours = torch.autograd.grad(module(temperature=t, temperature_lr=0.0).contrast(one, other, IDS), [one, other])
        plain = torch.autograd.grad(decoupled_nt_xent(one, other, temperature=t), [one, other])
        found[f"temperature {t}"] = max(
            float((a - 2 * t * b).abs().max() / (2 * t * b).abs().max()) for a, b in zip(ours, plain, strict=True)
        )
    return found


def shifted(seed: int) -> dict[str, float]:
    """Gradient and slope, against those of the equation: with h = s - s+ inside of the exponential, by autograd."""
    one, other = (x.requires_grad_() for x in views(seed))
    isogclr = module(temperature=0.2, rho=0.4)
    draw = torch.Generator().manual_seed(seed)
    tau = (0.1 + 0.4 * torch.rand(IMAGES, generator=draw, dtype=torch.float64)).requires_grad_()
    ours, _, slope = isogclr.compare(one, other, IDS, tau.detach(), isogclr.state.read(IDS)[:, 0])
    positive = (one * other).sum(dim=1).repeat(2)
    h, taus = negatives(one, other) - positive[:, None], tau.repeat(2)
    # Two views a picture, and the mean over the pictures.
    robust = (taus * (h / taus[:, None]).exp().mean(dim=1).log() + taus * isogclr.rho).sum() / IMAGES
    *plain, slopes = torch.autograd.grad(robust, [one, other, tau])
    pairs = [*zip(torch.autograd.grad(ours, [one, other]), plain, strict=True), (2 * slope / IMAGES, slopes)]
    names = ["gradient of one view", "gradient of the other", "slope"]
    return {name: float((a - b).abs().max() / b.abs().max()) for name, (a, b) in zip(names, pairs, strict=True)}
