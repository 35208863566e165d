"""What embeddings of one view have lost of the other, where a latent class is known to be all that views share."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.benchmark import Metrics
from common.errors import UserError
from common.evaluation.classes import standardized
from common.evaluation.means import Mean
from common.evaluation.scoring import embeddings, scoring
from common.population import chi_square, kullback_leibler, sufficiency_of_posteriors

HIDDEN, STEPS, RATE, HELD_OUT = 64, 300, 0.02, 0.25

Told = tuple[Tensor, Tensor]
"""Embeddings (n, d) of views, and how likely each class is given the view itself, (n, k)."""


def sufficiency_metrics(train: Told, test: Told, others: Tensor, shares: Tensor) -> Metrics:
    """The loss of sufficiency, by a plug-in estimate: what a view tells of the other and its embedding does not.

    How likely each class is given the embedding is fitted, see `fitted_posterior`; what that makes likely of the other
    view is compared with what the view makes likely, over `others`. A fit that is not perfect has a larger loss, so
    that in expectation over the views it is an upper bound, which the best fit meets.

    Args:
        train: what is fitted on.
        test: what is asked.
        others: how likely each class is given other views, drawn independently of those in `test`, (m, k).
        shares: of the classes, (k,).

    Returns:
        `kl`, in nats, and `chi2`, see `sufficiency_of_posteriors`; 0 at best, the information of the views where the
        embedding tells nothing. Means over the test rows.

    Raises:
        UserError: embeddings are not finite, or shapes do not fit.
    """
    said = fitted_posterior(train, test[0])
    return {
        name: Mean(sufficiency_of_posteriors(test[1], said, others, shares, f))
        for name, f in (("kl", kullback_leibler), ("chi2", chi_square))
    }


@scoring()
def fitted_posterior(train: Told, rows: Tensor) -> Tensor:
    """How likely each class is given an embedding: a network of one hidden layer, the same for every method.

    It is fitted by the cross-entropy to what the views themselves make likely, of which the conditional mean is the
    best, on three quarters of the rows, and stopped where the last quarter likes it best.

    Args:
        train: in an order that means nothing.
        rows: embeddings to be asked, (m, d).

    Returns:
        float64 (m, k), above 0.

    Raises:
        UserError: embeddings are not finite, or posteriors do not fit them.
    """
    fitted, asked = embeddings("train", train[0]).cpu(), embeddings("test", rows).cpu()
    known = train[1].float().cpu()
    if known.ndim != 2 or len(known) != len(fitted) or len(fitted) < 8:
        raise UserError(f"posteriors {tuple(known.shape)}: expected (n, k) for {len(fitted)} rows, 8 at least")
    fitted, asked = standardized(fitted, asked)
    held = int(len(fitted) * HELD_OUT)
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad():
        torch.manual_seed(0)
        fitted, asked, known = (x.clone() for x in (fitted, asked, known))  # of inference mode no gradient is taken
        network = nn.Sequential(nn.Linear(fitted.shape[1], HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, known.shape[1]))
        optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
        least, best = float("inf"), torch.empty(0)
        for step in range(STEPS):
            for group in optimizer.param_groups:
                group["lr"] = RATE * (1 - step / STEPS)
            optimizer.zero_grad()
            F.cross_entropy(network(fitted[held:]), known[held:]).backward()
            optimizer.step()
            with torch.no_grad():
                loss = float(F.cross_entropy(network(fitted[:held]), known[:held]))
                if loss < least:
                    least, best = loss, network(asked)
    return best.double().softmax(dim=1)
