"""Our side of the losses on lists of candidates, several labels and tokens."""

import torch
from torch import Tensor

from common.losses import (
    decoupled_softmax,
    listwise_kl,
    multi_label_softmax,
    one_vs_all,
    skewed_kl,
    skewed_reverse_kl,
    soft_top_k,
)
from tests.golden.ours import like
from tests.golden.recorded import Case


@like("cadet/listwise")
def cadet(case: Case, x: dict[str, Tensor], _: dict[str, Tensor]) -> Tensor:
    length = int(case.arguments["list_length"])
    scores = torch.einsum("qd,qld->ql", x["query"], x["passages"].unflatten(0, (-1, length)))
    return listwise_kl(
        scores,
        x["teacher"].view(-1, length),
        temperature=case.arguments["temperature"],
        teacher_temperature=case.arguments["teacher_temperature"],
    )


def multi_label(x: dict[str, Tensor], given: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Their score matrix as queries against unit vectors, and the positives without the padding."""
    scores = x["scores"]
    positive = torch.where(given["target_vals"] > 0, given["target_inds"], -1)
    return scores, torch.eye(scores.shape[1], dtype=scores.dtype), positive


@like("dexml/softmax")
def dexml_softmax(case: Case, x: dict[str, Tensor], given: dict[str, Tensor]) -> Tensor:
    return multi_label_softmax(*multi_label(x, given))


@like("dexml/decoupled_softmax")
def dexml_decoupled(case: Case, x: dict[str, Tensor], given: dict[str, Tensor]) -> Tensor:
    return decoupled_softmax(*multi_label(x, given))


@like("dexml/bce")
def dexml_bce(case: Case, x: dict[str, Tensor], given: dict[str, Tensor]) -> Tensor:
    return one_vs_all(*multi_label(x, given))


@like("dexml/topk", "dexml/topk_number_of_positives")
def dexml_top_k(case: Case, x: dict[str, Tensor], given: dict[str, Tensor]) -> Tensor:
    query, label, positive = multi_label(x, given)
    k = case.arguments.get("k", (positive >= 0).sum(dim=1))
    return soft_top_k(query, label, positive, k=k, alpha=case.arguments["alpha"])


def tokens(x: dict[str, Tensor], given: dict[str, Tensor]) -> dict[str, Tensor]:
    """Logits and the label they predict, one step apart."""
    return {"student": x["student"][:, :-1], "teacher": x["teacher"][:, :-1], "mask": given["labels"][:, 1:] != -100}


@like("distillm2/skew_kl", "distillm2/forward_kl")
def distillm2(case: Case, x: dict[str, Tensor], given: dict[str, Tensor]) -> Tensor:
    return skewed_kl(**tokens(x, given), alpha=case.arguments.get("alpha", 0.0))


@like("distillm2/skew_reverse_kl")
def distillm2_reverse(case: Case, x: dict[str, Tensor], given: dict[str, Tensor]) -> Tensor:
    # The student's share of the mixture is detached in their code, which the formula does not say.
    return skewed_reverse_kl(**tokens(x, given), alpha=case.arguments["alpha"], stop_gradient=True)


@like("distillm2/reverse_kl")
def distillm2_plain_reverse(case: Case, x: dict[str, Tensor], given: dict[str, Tensor]) -> Tensor:
    # Their branch for the plain reverse KL has the opposite sign: to minimise it is to move away from the teacher.
    return -skewed_reverse_kl(**tokens(x, given), alpha=0.0)
