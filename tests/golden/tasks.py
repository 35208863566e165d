"""Our side of CoDiEmb's losses, for queries and for graded pairs."""

import torch
from torch import Tensor

from papers.sentence.codiemb import losses
from tests.golden.ours import like
from tests.golden.recorded import Case

QUERIES = ("", "_one", "_three", "_cold", "_single")
LISTS = {
    "pearson": ("", "_distinct", "_two", "_odd"),
    "rank_kl": ("", "_cold", "_distinct", "_two", "_equal", "_odd", "_odd_cold"),
    "pro": ("", "_cold", "_distinct", "_two", "_odd", "_odd_cold"),
}


def grades_of(case: Case) -> Tensor:
    """As they were recorded: `given` would round them to float32."""
    return torch.tensor(case.given["grades"], dtype=torch.float64)


@like(*(f"codiemb/multi_positive{name}" for name in QUERIES))
def queries(case: Case, x: dict[str, Tensor], given: dict[str, Tensor]) -> Tensor:
    return losses.multi_positive(**x, **case.arguments)


@like("codiemb/top_pairs", "codiemb/top_pairs_cold", "codiemb/top_pairs_all")
def top_pairs(case: Case, x: dict[str, Tensor], given: dict[str, Tensor]) -> Tensor:
    return losses.top_pairs(**x, grades=grades_of(case), **case.arguments)


@like(*(f"codiemb/{loss}{name}" for loss, names in LISTS.items() for name in names))
def pairs(case: Case, x: dict[str, Tensor], given: dict[str, Tensor]) -> Tensor:
    loss = next(loss for loss in LISTS if case.name.startswith(f"codiemb/{loss}"))
    return getattr(losses, loss)(x["scores"], grades_of(case), **case.arguments)
