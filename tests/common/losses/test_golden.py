"""Our losses against the authors' own functions, by value and gradient, on inputs recorded once (tests/golden)."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from common.losses import (
    HardNegatives,
    alignment,
    circle,
    decoupled_softmax,
    distilled,
    focal_sigmoid,
    focal_sup_con,
    info_nce,
    listwise_kl,
    multi_label_softmax,
    nt_xent,
    one_vs_all,
    pairwise_hinge,
    same_id,
    sigmoid_pairwise,
    skewed_kl,
    skewed_reverse_kl,
    soft_target_cross_entropy,
    soft_top_k,
    sup_con,
    symmetric_info_nce,
    triplet,
    uniformity,
)
from common.scores import Scores
from tests.golden.recorded import Case, load, summary

Ours = Callable[[Case, dict[str, Tensor], dict[str, Tensor]], Tensor]
OURS: dict[str, Ours] = {}


def like(*names: str) -> Callable[[Ours], Ours]:
    """Marks our side of recorded cases: a function of the case, its drawn inputs and its given ones."""

    def register(function: Ours) -> Ours:
        OURS.update(dict.fromkeys(names, function))
        return function

    return register


def unit(x: Tensor) -> Tensor:
    return F.normalize(x, dim=-1)


# --- one query, one key -----------------------------------------------------------------------------------------------


@like("simcse/unsupervised", "simcse/hard_negatives", "simcse/hard_negatives_weighted")
def simcse(case: Case, x: dict[str, Tensor], _: dict[str, Tensor]) -> Tensor:
    # "Weight" is a logit in their code, added to a query's own hard negative: so is log_weight here.
    hard = (
        HardNegatives(unit(x["negative"])[:, None], "all", case.arguments["hard_negative_weight"])
        if "negative" in x
        else None
    )
    return info_nce(unit(x["query"]), unit(x["key"]), temperature=case.arguments["temperature"], hard_negatives=hard)


@like("sentence_transformers/multiple_negatives")
def multiple_negatives(case: Case, x: dict[str, Tensor], _: dict[str, Tensor]) -> Tensor:
    hard = HardNegatives(unit(x["negative"])[:, None])
    return info_nce(unit(x["query"]), unit(x["key"]), temperature=1 / case.arguments["scale"], hard_negatives=hard)


@like("gradcache/in_batch")
def gradcache(case: Case, x: dict[str, Tensor], _: dict[str, Tensor]) -> Tensor:
    return info_nce(x["query"], x["key"], temperature=1.0)


@like("gradcache/hard_negatives")
def gradcache_hard(case: Case, x: dict[str, Tensor], _: dict[str, Tensor]) -> Tensor:
    passages = x["passage"].unflatten(0, (len(x["query"]), -1))
    return info_nce(x["query"], passages[:, 0], temperature=1.0, hard_negatives=HardNegatives(passages[:, 1:]))


@like("open_clip/clip", "open_clip/clip_temperature_100")
def clip(case: Case, x: dict[str, Tensor], _: dict[str, Tensor]) -> Tensor:
    temperature = (-x["log_scale"]).exp().squeeze() if "log_scale" in x else 1 / case.arguments["scale"]
    return symmetric_info_nce(x["image"], x["text"], temperature=temperature)


@like("open_clip/siglip", "open_clip/siglip_published")
def siglip(case: Case, x: dict[str, Tensor], _: dict[str, Tensor]) -> Tensor:
    scale = x["log_scale"].exp().squeeze() if "log_scale" in x else case.arguments["scale"]
    bias = x["bias"].squeeze() if "bias" in x else case.arguments["bias"]
    return sigmoid_pairwise(x["image"], x["text"], scale=scale, bias=bias)


@like("sample4geo/plain", "sample4geo/label_smoothing")
def sample4geo(case: Case, x: dict[str, Tensor], _: dict[str, Tensor]) -> Tensor:
    return symmetric_info_nce(
        unit(x["ground"]),
        unit(x["satellite"]),
        temperature=(-x["log_scale"]).exp().squeeze(),
        label_smoothing=case.arguments.get("label_smoothing", 0.0),
    )


@like("macl/in_batch", "macl/threshold")
def macl(case: Case, x: dict[str, Tensor], _: dict[str, Tensor]) -> Tensor:
    # InfoNCE whose temperature follows the alignment, each query divided by 1 - p. Both are constants for the gradient,
    # and a weighted mean of one-query losses is what remains.
    query, key, a = x["query"], x["key"], case.arguments
    temperature = a["tau_0"] * (1 + a["alpha"] * ((query * key).sum(1).mean() - a["A0"])).detach()
    scores = Scores(query, key, scale=1 / temperature)
    loss = scores.logsumexp(dim=1) - scores.diagonal()
    return (loss / -torch.expm1(-loss.detach())).mean()


@like("albef/itc", "albef/itc_momentum_distillation")
def albef(case: Case, x: dict[str, Tensor], given: dict[str, Tensor]) -> Tensor:
    scale = (-x["temperature"]).exp().squeeze()
    all_ids = torch.cat([given["idx"], given["idx_queue"]])

    def one_way(query: Tensor, teacher_query: Tensor, teacher_key: Tensor, queue: Tensor) -> Tensor:
        key = torch.cat([teacher_key, queue]).detach()
        scores = Scores(query, key, scale=scale)
        targets = same_id(scores, given["idx"], all_ids)
        if "alpha" in case.arguments:
            teacher = Scores(teacher_query.detach(), key, scale=scale.detach())
            targets = distilled(teacher, targets, case.arguments["alpha"])
        return soft_target_cross_entropy(scores, targets)

    to_text = one_way(unit(x["image"]), x["image_m"], x["text_m"], x["text_queue"])
    return (to_text + one_way(unit(x["text"]), x["text_m"], x["image_m"], x["image_queue"])) / 2


# --- two views, labels ------------------------------------------------------------------------------------------------


@like("lightly/nt_xent", "lightly/nt_xent_cold")
def views(case: Case, x: dict[str, Tensor], _: dict[str, Tensor]) -> Tensor:
    return nt_xent(unit(x["first"]), unit(x["second"]), temperature=case.arguments["temperature"])


@like("hcl/easy")
def unit_views(case: Case, x: dict[str, Tensor], _: dict[str, Tensor]) -> Tensor:
    return nt_xent(x["first"], x["second"], temperature=case.arguments["temperature"])


@like("supcontrast/supervised", "supcontrast/supervised_same_base", "supcontrast/simclr")
def supcontrast(case: Case, x: dict[str, Tensor], given: dict[str, Tensor]) -> Tensor:
    # Their loss is multiplied by temperature / base_temperature, ours is not.
    factor = case.arguments["temperature"] / case.arguments["base_temperature"]
    labels = given.get("labels", torch.arange(len(x["first"]))).repeat(2)
    return factor * sup_con(torch.cat([x["first"], x["second"]]), labels, temperature=case.arguments["temperature"])


@like("supcontrast/one_view")
def supcontrast_one_view(case: Case, x: dict[str, Tensor], given: dict[str, Tensor]) -> Tensor:
    # Their mean counts the anchor without a positive as 0; ours leaves it out: 7 anchors instead of 8.
    return 7 / 8 * sup_con(x["embedding"], given["labels"], temperature=case.arguments["temperature"])


@like("core_tuning/focal_supcon_balanced")
def core_tuning(case: Case, x: dict[str, Tensor], given: dict[str, Tensor]) -> Tensor:
    # Their code divides the sum over the one positive of an anchor by n, we by |P| = 1.
    loss = focal_sup_con(x["embedding"], given["labels"], temperature=case.arguments["temperature"], gamma=1.0)
    return loss / len(given["labels"])


@like("pytorch_metric_learning/circle")
def circle_of_labels(case: Case, x: dict[str, Tensor], given: dict[str, Tensor]) -> Tensor:
    return circle(unit(x["embedding"]), given["labels"], **case.arguments)


@like("sentence_transformers/batch_hard", "sentence_transformers/batch_hard_soft_margin")
def batch_hard(case: Case, x: dict[str, Tensor], given: dict[str, Tensor]) -> Tensor:
    return triplet(x["embedding"], given["labels"], margin=case.arguments.get("margin"))


@like("sentence_transformers/batch_semi_hard")
def batch_semi_hard(case: Case, x: dict[str, Tensor], given: dict[str, Tensor]) -> Tensor:
    return triplet(x["embedding"], given["labels"], margin=case.arguments["margin"], mining="semi_hard")


# --- pairs one by one -------------------------------------------------------------------------------------------------


@like("vsepp/hardest", "vsepp/all")
def vsepp(case: Case, x: dict[str, Tensor], _: dict[str, Tensor]) -> Tensor:
    # They sum over the batch, we take the mean.
    hardest = case.name.endswith("hardest")
    return len(x["image"]) * pairwise_hinge(x["image"], x["caption"], margin=case.arguments["margin"], hardest=hardest)


@like("ro_vit/focal", "ro_vit/focal_weighted")
def ro_vit(case: Case, x: dict[str, Tensor], _: dict[str, Tensor]) -> Tensor:
    # They sum over all pairs, we divide by the number of queries.
    a = case.arguments
    scale = a["scale"] * x["log_scale"].exp().squeeze()
    return len(x["image"]) * focal_sigmoid(x["image"], x["text"], scale=scale, gamma=a["gamma"], alpha=a["alpha"])


@like("align_uniform/align", "align_uniform/align_one")
def align(case: Case, x: dict[str, Tensor], _: dict[str, Tensor]) -> Tensor:
    return alignment(x["x"], x["y"], alpha=case.arguments["alpha"])


@like("align_uniform/uniform", "align_uniform/uniform_sharp")
def uniform(case: Case, x: dict[str, Tensor], _: dict[str, Tensor]) -> Tensor:
    return uniformity(x["x"], t=case.arguments["t"])


# --- lists, labels, tokens --------------------------------------------------------------------------------------------


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


# Recorded for papers whose modules hold the loss; nothing in common.losses claims to be these.
FOR_PAPERS = {
    "core_tuning/focal_supcon": "divides by n where anchors differ in their number of positives: no multiple of ours",
    "dcl/one_way": "negatives of one view's anchors only; ours takes both views' anchors",
    "hcl/hard": "importance-weighted negatives",
}
CASES = load()


@pytest.mark.parametrize("case", [case for case in CASES if case.name in OURS], ids=lambda case: case.name)
def test_value_and_gradient_are_the_recorded_ones(case: Case) -> None:
    inputs = case.inputs()
    value = OURS[case.name](case, inputs, case.constants())
    gradients = torch.autograd.grad(value, [inputs[name] for name in case.gradients])
    tolerance = {"float64": 1e-9, "float32": 2e-5}[case.precision]
    assert value.item() == pytest.approx(case.value, rel=tolerance, abs=tolerance)
    for recorded, gradient in zip(case.gradients.values(), gradients, strict=True):
        size = recorded["norm"]
        for name, ours in summary(gradient).items():
            assert ours == pytest.approx(recorded[name], rel=tolerance, abs=tolerance * size), name


def test_every_recording_is_compared_or_set_aside() -> None:
    recorded = {case.name for case in CASES}
    assert recorded == OURS.keys() | FOR_PAPERS.keys()
    assert not OURS.keys() & FOR_PAPERS.keys()
