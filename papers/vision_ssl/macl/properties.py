"""What the paper derives of its gradient, checked on random batches in float64."""

import torch
from torch import Tensor
from torch.nn import functional as F

from common.losses import decoupled_nt_xent, reweighted_nt_xent
from papers.vision_ssl.macl.module import MACL

TEMPERATURE = 0.1
ANCHORS = 24


class SilentMACL(MACL):
    """Without a trainer there is no log."""

    def log_loss(self, loss: Tensor, **terms: Tensor) -> Tensor:
        return loss


def views(seed: int) -> list[Tensor]:
    """Twelve pairs of unit vectors, some nearly alike and some not; leaves."""
    draw = torch.Generator().manual_seed(seed)
    one = torch.randn(ANCHORS // 2, 16, generator=draw, dtype=torch.float64)
    other = one + torch.linspace(0.1, 3, len(one)).double()[:, None] * torch.randn(one.shape, generator=draw).double()
    return [F.normalize(x, dim=1).requires_grad_() for x in (one, other)]


def gradient(value: Tensor, leaves: list[Tensor]) -> Tensor:
    return torch.cat(torch.autograd.grad(value, leaves))


def closed_form(z: Tensor, temperature: float) -> Tensor:
    """The gradient in z, (2n, d): each anchor's -1 / t on its positive, 1 / t its softmax over negatives alone."""
    rows = torch.arange(len(z))
    own = (rows[:, None] - rows) % (len(z) // 2) == 0
    pull = F.one_hot((rows + len(z) // 2) % len(z), len(z)).double()
    by_pair = ((z @ z.T / temperature).masked_fill(own, -torch.inf).softmax(dim=1) - pull) / (len(z) * temperature)
    return (by_pair + by_pair.T) @ z


def positive_pull(seed: int) -> float:
    """The largest difference between the gradient and the one in which no anchor's pull on its positive fades.

    Raises:
        ArithmeticError: 1 - P hardly differs between anchors, so that nothing could fade.
    """
    leaves = views(seed)
    z = torch.cat(leaves).detach()
    own = torch.arange(ANCHORS)[:, None] % 12 == torch.arange(ANCHORS) % 12
    logits = z @ z.T / TEMPERATURE
    negatives = logits.masked_fill(own, -torch.inf).logsumexp(dim=1)
    rest = torch.sigmoid(negatives - logits[torch.arange(ANCHORS), (torch.arange(ANCHORS) + 12) % ANCHORS])
    if float(rest.max()) < 10 * float(rest.min()):
        raise ArithmeticError("the anchors of the batch are equally hard")
    found = gradient(reweighted_nt_xent(*leaves, temperature=TEMPERATURE), leaves)
    return float((found - closed_form(z, TEMPERATURE)).abs().max())


def decoupled(seed: int) -> float:
    """The largest difference between the gradients of MACL and of decoupled contrastive learning at its temperature."""
    leaves = views(seed)
    module = SilentMACL(temperature=TEMPERATURE, alpha=0.5, threshold=0.2)
    temperature = TEMPERATURE * (1 + 0.5 * (float((leaves[0] * leaves[1]).detach().sum(dim=1).mean()) - 0.2))
    ours = gradient(module.contrast(*leaves), leaves)
    return float((ours - gradient(decoupled_nt_xent(*leaves, temperature=temperature), leaves)).abs().max())


def detached(seed: int) -> float:
    """The largest difference to the gradient with temperature and weights written down as numbers.

    Raises:
        ArithmeticError: a gradient through the temperature or through the weights changes nothing here, so the check
            means nothing.
    """
    leaves = views(seed)

    def loss(stop_temperature: bool, stop_weights: bool) -> Tensor:
        z = torch.cat(leaves)
        positive = (leaves[0] * leaves[1]).sum(dim=1)
        temperature = TEMPERATURE * (1 + 0.5 * positive.mean())
        logits = z @ z.T / (temperature.detach() if stop_temperature else temperature)
        rows = torch.arange(ANCHORS)
        log_p = logits.masked_fill(torch.eye(ANCHORS, dtype=torch.bool), -torch.inf).log_softmax(dim=1)
        log_p = log_p[rows, (rows + ANCHORS // 2) % ANCHORS]
        weights = 1 / (1 - log_p.exp())
        return -((weights.detach() if stop_weights else weights) * log_p).mean()

    found = gradient(SilentMACL(temperature=TEMPERATURE, alpha=0.5).contrast(*leaves), leaves)
    for stopped in ((True, False), (False, True)):
        if float((found - gradient(loss(*stopped), leaves)).abs().max()) < 1e-3:
            raise ArithmeticError("a gradient through what is detached would change nothing")
    return float((found - gradient(loss(True, True), leaves)).abs().max())


def least(seed: int) -> dict[str, float]:
    """By how much the loss is below 1, and how far from 1 where each picture's views agree and no others do."""
    value = reweighted_nt_xent(*views(seed), temperature=TEMPERATURE).detach()
    easy = torch.linalg.qr(torch.randn(16, 12, generator=torch.Generator().manual_seed(seed)).double()).Q.T
    return {
        "below 1": max(0.0, 1 - float(value)),
        "easy": abs(float(reweighted_nt_xent(easy, easy, temperature=0.02)) - 1),
    }
