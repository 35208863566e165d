"""What holds of the losses by their form, checked on random vectors in float64."""

import torch
from torch import Tensor
from torch.nn import functional as F

from common.losses import alignment, self_labelled

WEIGHT, ABOVE, BELOW = 0.3, 0.4, -0.2


def random_vectors(seed: int) -> tuple[Tensor, Tensor]:
    """Predictions before they are normalized, and targets: 24 vectors near six directions, so that some are alike."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(6, 8, generator=generator, dtype=torch.float64).repeat(4, 1)
    predicted, target = (centres + torch.randn(24, 8, generator=generator, dtype=torch.float64) for _ in range(2))
    return predicted.requires_grad_(), F.normalize(target, dim=1)


def byol_above_one(seed: int) -> float:
    """How far CCSL with a threshold above 1 is from BYOL's loss, by value and by gradient."""
    predicted, target = random_vectors(seed)
    unit = F.normalize(predicted, dim=1)
    ours, theirs = self_labelled(unit, target, weight=WEIGHT, above=1 + 1e-9), alignment(unit, target)
    gradients = [torch.autograd.grad(loss, predicted, retain_graph=True)[0] for loss in (ours, theirs)]
    return max(abs(float((ours - theirs).detach())), float((gradients[0] - gradients[1]).abs().max()))


def gradient(seed: int) -> float:
    """The largest difference between the gradient by autograd and the closed form.

    With q_i = p_i / |p_i| and z the targets it is -(I - q_i q_i^T) v_i / (n |p_i|), where v_i sums the targets by their
    pull: for CCSL 2 z_i + 2 w sum of the similar z_j, less 2 w sum of the dissimilar ones if there are any (eq. 6); for
    CSSL z_i / s_ii + w sum of similar z_j / s_ij - w sum of dissimilar z_j / (1 - s_ij).
    """
    predicted, target = random_vectors(seed)
    length = predicted.detach().norm(dim=1, keepdim=True)
    unit = predicted.detach() / length
    s, own = unit @ target.T, torch.eye(len(target), dtype=torch.bool)
    similar, dissimilar = ((s >= ABOVE) & ~own).double(), ((s <= BELOW) & ~own).double()
    # Below a cosine of 1e-4 the entropy of a positive has no slope.
    steep = torch.where(s > 1e-4, 1 / s, 0.0)
    two = torch.full_like(s, 2.0)
    pulls = {
        ("distance", None): two * (own + WEIGHT * similar),
        ("distance", BELOW): two * (own + WEIGHT * similar) - two * WEIGHT * dissimilar,
        ("entropy", BELOW): steep * (own + WEIGHT * similar) - WEIGHT * dissimilar / (1 - s),
    }
    deviation = 0.0
    for (form, below), pull in pulls.items():
        loss = self_labelled(F.normalize(predicted, dim=1), target, weight=WEIGHT, above=ABOVE, below=below, form=form)
        (found,) = torch.autograd.grad(loss, predicted)
        v = pull @ target
        expected = -(v - unit * (unit * v).sum(dim=1, keepdim=True)) / (len(v) * length)
        deviation = max(deviation, float((found - expected).abs().max()))
    return deviation
