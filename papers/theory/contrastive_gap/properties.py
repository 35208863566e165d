"""What a gap is worth to each of the losses: two sides are opened like a book, and the losses are compared.

Vectors a_i and b_i of two sides become (cos g a_i, sin g) and (cos g b_i, -sin g) in one dimension more, so that every
vector of one side is the angle 2g further from all of the other, and nothing else of the sides is changed in form.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from common.losses import alignment, cross_uniformity, symmetric_info_nce, uniformity

PAIRS, DIM = 24, 32
ANGLES = tuple(torch.linspace(0, 1.5, 13).tolist())
"""Up to almost opposite, in radians."""
TEMPERATURES = (0.01, 0.07, 0.5)
SHARPNESS = 2.0


def sides(seed: int, cone: float = 0.0, noise: float = 0.5) -> tuple[Tensor, Tensor]:
    """Unit vectors of 24 pairs in 32 dimensions, (24, 32) each, float64, near each other if `cone` is large."""
    draw = torch.Generator().manual_seed(seed)
    middle, *own = torch.randn(3, PAIRS, DIM, generator=draw, dtype=torch.float64)
    middle[:, 0] += cone
    one, other = (F.normalize(middle + noise * part, dim=1) for part in own)
    return one, other


def opened(one: Tensor, other: Tensor, angle: float | Tensor) -> tuple[Tensor, Tensor]:
    """Both sides, (n, d) each, parted by twice the angle: (n, d + 1) each."""
    angle = torch.as_tensor(angle, dtype=one.dtype)
    height = torch.sin(angle).expand(len(one), 1)
    return torch.cat([torch.cos(angle) * one, height], dim=1), torch.cat([torch.cos(angle) * other, -height], dim=1)


def temperature(seed: int) -> dict[str, float]:
    """What the contrastive loss of opened sides is off from that of closed ones at a temperature 1 / cos^2 g times as
    high; and, where pairs coincide, by how much opening lowers it, and what it is above the bound of its rise,
    log(1 + (n - 1) exp(-cos^2 g m / t)), m the least difference of a pair's cosine and another's."""
    one, other = sides(seed)
    margin = float(1 - (one @ one.T - 2 * torch.eye(PAIRS, dtype=torch.float64)).max())
    found = {}
    for t in TEMPERATURES:
        own = symmetric_info_nce(one, one, temperature=t)
        for angle in ANGLES:
            square, name = math.cos(angle) ** 2, f"temperature {t}, angle {angle:.3f}"
            closed = symmetric_info_nce(one, other, temperature=t / square)
            found[f"as hot, {name}"] = float(
                (symmetric_info_nce(*opened(one, other, angle), temperature=t) - closed).abs()
            )
            loss = symmetric_info_nce(*opened(one, one, angle), temperature=t)
            found[f"lower, {name}"] = max(0.0, float(own - loss))
            most = math.log1p((PAIRS - 1) * math.exp(-square * margin / t))
            found[f"above the bound, {name}"] = max(0.0, float(loss) - most)
    return found


def terms(seed: int) -> dict[str, float]:
    """What the terms of opened sides are off from those of closed ones: alignment is cos^2 g of it and 4 sin^2 g more,
    uniformity has a sharpness of cos^2 g t, and so has cross-uniformity, which is 4 t sin^2 g less."""
    one, other = sides(seed)
    found, t = {}, SHARPNESS
    for angle in ANGLES:
        square, x, y = math.cos(angle) ** 2, *opened(one, other, angle)
        values = {
            "alignment": (alignment(x, y), square * alignment(one, other) + 4 * (1 - square)),
            "uniformity": (uniformity(x, t=t), uniformity(one, t=square * t)),
            "cross": (cross_uniformity(x, y, t=t), cross_uniformity(one, other, t=square * t) - 4 * t * (1 - square)),
        }
        found |= {f"{name}, angle {angle:.3f}": float((a - b).abs()) for name, (a, b) in values.items()}
    return found


def added(one: Tensor, other: Tensor, angle: float | Tensor) -> tuple[Tensor, Tensor]:
    """Uniformity with alignment, as L_CUA adds them, and cross-uniformity, of opened sides."""
    x, y = opened(one, other, angle)
    pulls = (uniformity(x, t=SHARPNESS) + uniformity(y, t=SHARPNESS)) / 2 + alignment(x, y)
    return pulls, cross_uniformity(x, y, t=SHARPNESS)


def closing(seed: int) -> dict[str, float]:
    """By how much what L_CUA adds falls from one angle to a larger one, and cross-uniformity rises.

    Raises:
        ArithmeticError: all that L_CUAXU adds does not fall with the first opening of a narrow cone, or does not rise
            with that of vectors that are spread.
    """
    found = {}
    for name, cone in (("spread", 0.0), ("in a cone", 16.0)):
        both = sides(seed, cone, noise=0.1)
        pulls, cross = (torch.stack(values) for values in zip(*(added(*both, angle) for angle in ANGLES), strict=True))
        found[f"alignment and uniformity fall, {name}"] = max(0.0, float(-pulls.diff().min()))
        found[f"cross-uniformity rises, {name}"] = max(0.0, float(cross.diff().max()))
        slope = float((pulls + cross).diff()[0])
        if (slope > 0) != (name == "spread"):
            raise ArithmeticError(f"vectors {name}: what L_CUAXU adds changes by {slope:.3g} as they are opened")
    return found
