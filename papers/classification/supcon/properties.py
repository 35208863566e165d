"""What the paper proves rather than measures, checked on random batches in float64."""

import torch
from torch import Tensor
from torch.nn import functional as F

from common.losses import sup_con

TEMPERATURE = 0.1


def random_batch(seed: int) -> tuple[Tensor, Tensor]:
    """Forty-eight unit vectors of eight uneven classes, some of them with a single member."""
    generator = torch.Generator().manual_seed(seed)
    embeddings = F.normalize(torch.randn(48, 16, generator=generator, dtype=torch.float64), dim=-1)
    labels = torch.randint(8, (48,), generator=generator)
    labels[:2] = torch.tensor([100, 101])
    return embeddings, labels


def jensen(seed: int) -> float:
    """By how much L_in exceeds L_out, which Jensen's inequality forbids (section 3.2.2); 0 if it does not."""
    embeddings, labels = random_batch(seed)
    inside, outside = (sup_con(embeddings, labels, temperature=TEMPERATURE, positives=p) for p in ("in", "out"))
    return max(0.0, float(inside - outside))


def gradient(seed: int) -> float:
    """The largest difference between the gradient by autograd and the closed form (eq. 4).

    With P the softmax over the other samples and X the weight of each positive (1/|P(i)| for L_out, the softmax over
    the positives alone for L_in), the gradient of the mean loss is (M + M^T) z / (n * temperature) with M = P - X,
    where rows of M without a positive are 0 and n counts the others.
    """
    z, labels = random_batch(seed)
    others = ~torch.eye(len(z), dtype=torch.bool)
    positive = (labels[:, None] == labels) & others
    anchors = positive.any(dim=1, keepdim=True)
    logits = (z @ z.T / TEMPERATURE).masked_fill(~others, -torch.inf)
    probability = logits.softmax(dim=1)
    weight = {
        "out": positive.double() / positive.sum(dim=1, keepdim=True).clamp(min=1),
        "in": logits.masked_fill(~positive, -torch.inf).softmax(dim=1).nan_to_num(),
    }
    deviation = 0.0
    for form, x in weight.items():
        leaf = z.clone().requires_grad_()
        sup_con(leaf, labels, temperature=TEMPERATURE, positives=form).backward()
        m = (probability - x) * anchors
        expected = (m + m.T) @ z / (int(anchors.sum()) * TEMPERATURE)
        deviation = max(deviation, float((leaf.grad - expected).abs().max()))
    return deviation
