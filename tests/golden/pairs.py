"""Our side of the losses on pairs, views and labelled embeddings; factors are stated where the reductions differ."""

import math
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.encoders.gaussian import Gaussian
from common.encoders.pooling import Tokens
from common.encoders.replaced import FrozenGenerator
from common.losses import (
    HardNegatives,
    alignment,
    circle,
    contrastive_margin,
    decoupled_nt_xent,
    filtered_info_nce,
    focal_sigmoid,
    focal_sup_con,
    info_nce,
    multi_similarity,
    nt_xent,
    pairwise_hinge,
    queue_info_nce,
    sigmoid_pairwise,
    sup_con,
    symmetric_info_nce,
    triplet,
    uniformity,
)
from common.scores import Scores
from common.training.grad_cache import cached_forward
from papers.classification.supremix.mixtures import Mixtures, mixed_sup_con
from papers.sentence.compcse.module import CompCSE
from papers.sentence.diffcse.module import DiffCSE
from papers.sentence.promcse.module import SupervisedPromCSE
from papers.sentence.simcse.module import SupervisedSimCSE
from papers.theory.contrastive_gap.module import GapLoss
from papers.vision_language.align.module import ALIGN
from papers.vision_language.coca.module import CoCa
from papers.vision_language.cwcl.properties import method as cwcl_method
from papers.vision_language.one_to_k.module import one_to_k
from papers.vision_ssl.macl.module import MACL
from tests.golden.ours import like
from tests.golden.recorded import Case


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


@like("diffcse/released", "diffcse/heavy")
def diffcse(case: Case, x: dict[str, Tensor], given: dict[str, Tensor]) -> Tensor:
    # Theirs are sentence by sentence, ours copy by copy.
    ids, mask, generated = (given[name].transpose(0, 1).flatten(0, 1) for name in ("ids", "mask", "generated"))
    logits = x["logits"].unflatten(0, (-1, 2)).transpose(0, 1).flatten(0, 1)
    encoder = SimpleNamespace(hidden_states=lambda tokens: [F.one_hot(tokens.ids)])
    writer = SimpleNamespace(encoder=encoder, head=lambda states, table: states, table=None)
    edited = FrozenGenerator.forward(writer, Tokens(ids, mask), Tokens(generated, mask))
    method = SimpleNamespace(discriminator=lambda tokens, vectors: logits, labels="true", reduction="positions")
    detection = DiffCSE.detect(method, edited, x["query"], ids)
    contrast = info_nce(unit(x["query"]), unit(x["key"]), temperature=case.arguments["temperature"])
    return contrast + case.arguments["weight"] * detection


@like("promcse/released", "promcse/odd")
def promcse(case: Case, x: dict[str, Tensor], _: dict[str, Tensor]) -> Tensor:
    rows = [x[name] for name in ("query", "key", "negative")]
    method = SimpleNamespace(temperature=case.arguments["temperature"], margin=case.arguments["margin"])
    hinge = SupervisedPromCSE.energy_hinge(method, *rows)
    return SupervisedSimCSE.contrast(method, *rows) + case.arguments["weight"] * hinge


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


class Tanh(nn.Module):
    """tanh(W x + b), with W and b among a case's drawn arrays."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        # As they are: an nn.Parameter would be another leaf.
        self._parameters |= {"weight": weight, "bias": bias}

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(F.linear(x, self.weight, self.bias))


@like("compcse/mean", "compcse/mean_cut", "compcse/mean_cold", "compcse/halves_cut", "compcse/no_head")
def compcse(case: Case, x: dict[str, Tensor], _: dict[str, Tensor]) -> Tensor:
    method = CompCSE(
        encoder="slot-bert",
        compose="halves" if "halves" in case.name else "mean",
        temperature=case.arguments["temperature"],
        head=False,
    )
    if "weight" in x:
        method.head = Tanh(x["weight"], x["bias"])
    cut = slice(int(case.arguments["d0"]))
    return method.contrast(*(side[:, cut] for side in method.sides(x["text"], [x["left"], x["right"]])))


@like("gradcache_step/two_encoders")
def gradcache_step(case: Case, x: dict[str, Tensor], _: dict[str, Tensor]) -> Tensor:
    # The cache takes no gradient back to its inputs, which are data.
    query = cached_forward(Tanh(x["query_weight"]), x["query"].detach(), 5)
    passage = cached_forward(Tanh(x["passage_weight"]), x["passage"].detach(), 7).unflatten(0, (len(query), -1))
    return info_nce(query, passage[:, 0], temperature=1.0, hard_negatives=HardNegatives(passage[:, 1:]))


@like("inf_cl/ring")
def inf_cl(case: Case, x: dict[str, Tensor], _: dict[str, Tensor]) -> Tensor:
    temperature = (-x["log_scale"]).exp().squeeze()
    return symmetric_info_nce(x["query"], x["key"], temperature=temperature)


@like("moco/queue")
def moco(case: Case, x: dict[str, Tensor], _: dict[str, Tensor]) -> Tensor:
    return queue_info_nce(unit(x["query"]), unit(x["key"]), x["queue"], **case.arguments)


@like("moco_v3/one_way")
def moco_v3(case: Case, x: dict[str, Tensor], _: dict[str, Tensor]) -> Tensor:
    # Their loss is multiplied by twice the temperature.
    return 2 * case.arguments["temperature"] * info_nce(unit(x["query"]), unit(x["key"]), **case.arguments)


@like("align/contrast", "align/contrast_sharp", "align/contrast_pair")
def align_contrast(case: Case, x: dict[str, Tensor], _: dict[str, Tensor]) -> Tensor:
    temperature = case.arguments["base"] * x["temperature"][0].exp()
    module = SimpleNamespace(temperature=lambda: temperature, smoothing=0.1)
    return ALIGN.contrast(module, x["image"], x["text"])


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


class Macl(MACL):
    def log_loss(self, loss: Tensor, **terms: Tensor) -> Tensor:
        return loss


@like("macl/two_views", "macl/two_views_odd", "macl/two_views_cold")
def macl_views(case: Case, x: dict[str, Tensor], _: dict[str, Tensor]) -> Tensor:
    a = case.arguments
    return Macl(temperature=a["tau_0"], alpha=a["alpha"], threshold=a["A0"]).contrast(x["first"], x["second"])


@like(
    "one_to_k/four_languages",
    "one_to_k/six_languages_cold",
    "one_to_k/one_language",
    "one_to_k/one_picture",
    "one_to_k/whole",
)
def one_picture_and_its_captions(case: Case, x: dict[str, Tensor], _: dict[str, Tensor]) -> Tensor:
    a = case.arguments
    text = x["text"].view(len(x["image"]), int(a["languages"]), -1)
    # Theirs is divided by `need_divm` instead of K where that is given.
    return one_to_k(x["image"], text, temperature=a["temperature"]) * (
        a["languages"] / (a["divisor"] or a["languages"])
    )


@like("cwcl/one_channel", "cwcl/cold", "cwcl/two")
def pictures_as_alike(case: Case, x: dict[str, Tensor], _: dict[str, Tensor]) -> Tensor:
    return cwcl_method(case.arguments["temperature"]).contrast(x["image"], x["text"], x["seen"])


# --- two views, labels ------------------------------------------------------------------------------------------------


@like("lightly/nt_xent", "lightly/nt_xent_cold")
def views(case: Case, x: dict[str, Tensor], _: dict[str, Tensor]) -> Tensor:
    return nt_xent(unit(x["first"]), unit(x["second"]), temperature=case.arguments["temperature"])


@like("hcl/easy")
def unit_views(case: Case, x: dict[str, Tensor], _: dict[str, Tensor]) -> Tensor:
    return nt_xent(x["first"], x["second"], temperature=case.arguments["temperature"])


@like("dcl/both_ways", "dcl/both_ways_weighted")
def dcl(case: Case, x: dict[str, Tensor], _: dict[str, Tensor]) -> Tensor:
    return decoupled_nt_xent(x["query"], x["key"], **case.arguments)


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


@like("core_tuning/focal_supcon", "core_tuning/focal_supcon_balanced", "core_tuning/focal_supcon_double")
def core_tuning(case: Case, x: dict[str, Tensor], given: dict[str, Tensor]) -> Tensor:
    temperature = case.arguments["temperature"]
    return focal_sup_con(x["embedding"], given["labels"], temperature=temperature, gamma=1.0, mean_over="all")


@like("pytorch_metric_learning/circle")
def circle_of_labels(case: Case, x: dict[str, Tensor], given: dict[str, Tensor]) -> Tensor:
    return circle(unit(x["embedding"]), given["labels"], **case.arguments)


@like("pytorch_metric_learning/contrastive", "pytorch_metric_learning/contrastive_wide")
def contrastive_of_labels(case: Case, x: dict[str, Tensor], given: dict[str, Tensor]) -> Tensor:
    return contrastive_margin(unit(x["embedding"]), given["labels"], **case.arguments)


@like("metrix/clean")
def metrix_clean(case: Case, x: dict[str, Tensor], given: dict[str, Tensor]) -> Tensor:
    return contrastive_margin(unit(x["embedding"]), given["labels"], margin=0.5)


@like("pytorch_metric_learning/multi_similarity")
def multi_similarity_of_labels(case: Case, x: dict[str, Tensor], given: dict[str, Tensor]) -> Tensor:
    return multi_similarity(unit(x["embedding"]), given["labels"], **case.arguments)


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


@like("tmr/filtered", "tmr/filtered_default_temperature", "tmr/unfiltered")
def tmr(case: Case, x: dict[str, Tensor], _: dict[str, Tensor]) -> Tensor:
    return filtered_info_nce(unit(x["query"]), unit(x["key"]), meaning=x["meaning"], **case.arguments)


@like("tmr/kl")
def tmr_kl(case: Case, x: dict[str, Tensor], _: dict[str, Tensor]) -> Tensor:
    one, other = Gaussian(x["mean"], x["log_variance"]), Gaussian(x["other_mean"], x["other_log_variance"])
    return one.divergence(other).mean()


# --- pictures and their captions --------------------------------------------------------------------------------------


class Given(nn.Module):
    """Returns a tensor whatever it is asked."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, *_: Tensor) -> Tensor:
        return self.answer


@like("open_clip/coca", "open_clip/coca_equal_weights")
def coca(case: Case, x: dict[str, Tensor], given: dict[str, Tensor]) -> Tensor:
    # They take the mean of both directions, the paper and we their sum.
    a, n = case.arguments, len(x["image"])
    model = CoCa(width=16, image_layers=1, contrast=a["contrast"] / 2, caption=a["caption"]).double()
    nn.init.constant_(model.temperature.log_temperature, -math.log(a["scale"]))
    model.look, model.read = lambda _: (None, x["image"]), lambda _: (torch.empty(n, 1), x["text"])
    model.writer = Given(x["logits"])
    # Their labels are the ids from the second on.
    ids = F.pad(given["labels"], (1, 0), value=3)
    terms = model.terms(model.rows((torch.empty(n), ids)), int((given["labels"] != 0).sum()))
    return sum(weight * term for weight, term in terms.values())


@like("supremix/linear", "supremix/square")
def supremix_weights(case: Case, x: dict[str, Tensor], given: dict[str, Tensor]) -> Tensor:
    labels, weight = given["labels"].repeat(2), case.name.removeprefix("supremix/")
    return mixed_sup_con(x["embedding"], labels, temperature=case.arguments["temperature"], weight=weight)


@like("supremix/mixed", "supremix/mixed_cold", "supremix/mixed_ties", "supremix/mixed_plain")
def supremix(case: Case, x: dict[str, Tensor], given: dict[str, Tensor]) -> Tensor:
    labels = given["labels"].repeat(2)
    rows = torch.arange(len(labels))
    share = (1 + (3 * rows[:, None] + 5 * rows) % 7).double() / 10
    return mixed_sup_con(
        x["embedding"],
        labels,
        temperature=case.arguments["temperature"],
        negatives=Mixtures.negatives(labels, slice(None), share),
        positives=Mixtures.positives(labels, slice(None), case.arguments["window"]),
        weight="none" if case.name.endswith("plain") else "linear",
        released=True,
    )


@like(*(f"contrastive_gap/{name}" for name in ("clip", "cua", "cuaxu", "cuaxu_warm", "cuaxu_two", "ua", "xu")))
def contrastive_gap(case: Case, x: dict[str, Tensor], _: dict[str, Tensor]) -> Tensor:
    a = case.arguments
    weights = {f"{name}_weight": a[name] for name in ("contrast", "uniform", "align", "cross")}
    return GapLoss(temperature=a["temperature"], **weights)(unit(x["image"]), unit(x["text"]))
