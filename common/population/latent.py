"""Two views that are independent given a latent class: how likely classes are, given one, tells all of the other."""

from torch import Tensor

from common.errors import UserError
from common.population.joint import Generator, bregman, kullback_leibler


def ratio_of_posteriors(one: Tensor, other: Tensor, shares: Tensor) -> Tensor:
    """p(a, b) / (p(a) p(b)) = sum_c p(c | a) p(c | b) / p(c), of every a with every b, float64 (n, m).

    Args:
        one: p(c | a), (n, k).
        other: p(c | b), (m, k).
        shares: p(c), (k,), above 0.

    Raises:
        UserError: shapes do not fit, or a share is not above 0.
    """
    if one.ndim != 2 or other.ndim != 2 or not one.shape[1] == other.shape[1] == len(shares):
        raise UserError(
            f"posteriors {tuple(one.shape)} and {tuple(other.shape)}, shares {tuple(shares.shape)}: expected (n, k), "
            "(m, k) and (k,)"
        )
    if not bool((shares > 0).all()):
        raise UserError(f"shares have a least entry of {float(shares.min())}; every class needs one above 0")
    return one.double() @ (other.double() / shares.double()).T


def sufficiency_of_posteriors(
    known: Tensor, said: Tensor, others: Tensor, shares: Tensor, f: Generator = kullback_leibler
) -> Tensor:
    """What is lost of the other view b where p(c | a) is replaced by `said`: E_b B_f(r(a, b), r_said(a, b)) of each a.

    r is p(a, b) / (p(a) p(b)), B_f `bregman`, and the mean over b is taken over `others`. Where `said` is E[p(c | a) |
    code(a)], the mean over a is the loss of sufficiency, I_f(a; b) - I_f(code(a); b), and else it is larger.

    Args:
        known: p(c | a), (n, k).
        said: what is said of the classes, (n, k).
        others: p(c | b) of b that are drawn by p(b), (m, k).
        shares: p(c), (k,).
        f: the divergence's generator; the Kullback-Leibler divergence is in nats.

    Returns:
        float64 (n,), at least 0.

    Raises:
        UserError: as `ratio_of_posteriors`.
    """
    true, found = (ratio_of_posteriors(x, others, shares) for x in (known, said))
    return bregman(true, found, f).mean(dim=1)
