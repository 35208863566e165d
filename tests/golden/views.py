"""Our side of self-supervision on views: some of it over several steps, as the parts of a paper's module take them."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.batches import Images
from common.encoders.heads import Projected
from common.encoders.image import StandardizedConv2d
from common.encoders.momentum import MomentumTeacher
from common.losses import (
    alignment,
    attraction_repulsion,
    barlow_twins,
    info_nce,
    multi_view_info_nce,
    self_labelled,
)
from common.sampling.queue import KeyQueue
from papers.theory.align_uniform.module import AlignUniform
from papers.theory.align_uniform.queue import AlignUniformMoCo
from papers.theory.cssl_generalization.module import VectorContrast
from papers.vision_ssl.cmc.module import CMC
from papers.vision_ssl.hydra_pairs.module import HydraPairs
from papers.vision_ssl.insdis.module import InsDis
from papers.vision_ssl.isogclr.module import ISogCLR
from papers.vision_ssl.moco.module import MoCo
from papers.vision_ssl.sy_con.module import SyCon
from tests.golden.ours import like
from tests.golden.recorded import Case


def unit(x: Tensor) -> Tensor:
    return F.normalize(x, dim=-1)


class Body(nn.Sequential):
    """tanh of a linear map."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__(nn.Linear(weight.shape[1], weight.shape[0], bias=False), nn.Tanh())
        self.output_dim = len(weight)


class Weighted(nn.Module):
    """A linear map by given numbers, which are differentiated."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight)


@like("moco/three_steps")
def moco(case: Case, x: dict[str, Tensor], _: dict[str, Tensor]) -> Tensor:
    a = case.arguments
    module = MoCo(projection_dim=5, momentum=a["momentum"], temperature=a["temperature"])
    module.network = Projected(Body(x["body"]), 5).double()
    with torch.no_grad():
        for layer, weight in ((module.network.encoder[0], "body"), (module.network.head[0], "hidden")):
            layer.weight.copy_(x[weight])
        module.network.head[2].weight.copy_(x["last"])
        for layer in (module.network.head[0], module.network.head[2]):
            layer.bias.zero_()
    module.teacher = MomentumTeacher(module.network, statistics="own")
    module.queue = KeyQueue(16, 5).double()
    module.queue.enqueue(x["queue"])
    module.log_loss = lambda loss: loss
    optimizer = torch.optim.SGD(module.network.parameters(), a["lr"], momentum=0.9, weight_decay=1e-4)
    for step, views in enumerate(torch.stack([x["queries"], x["keys"]], dim=1)):
        loss = module.training_step(Images(views, torch.arange(8), torch.arange(8)), step)
        if step < 2:
            optimizer.zero_grad()
            loss.backward(inputs=list(module.network.parameters()), retain_graph=True)
            optimizer.step()
            module.follow()
    return loss


@like("insdis/three_steps", "insdis/cold")
def insdis(case: Case, x: dict[str, Tensor], given: dict[str, Tensor]) -> Tensor:
    a, memory = case.arguments, x["memory"].detach()
    module = InsDis(projection_dim=8, temperature=a["temperature"], bank_momentum=a["momentum"]).double()
    module.bank.start = lambda ids: memory
    module.bank.cover(torch.arange(len(memory)))
    for features, ids, columns in zip(x["features"], given["ids"], given["columns"], strict=True):
        loss = module.discriminate(unit(features), ids, columns)
    return loss


@like(*(f"isogclr/{name}" for name in ("released", "first_visit", "cold", "two_images", "fixed")))
def isogclr(case: Case, x: dict[str, Tensor], given: dict[str, Tensor]) -> Tensor:
    arguments = case.arguments | {"from_zero": bool(case.arguments["from_zero"])}
    module = ISogCLR(width=8, projection_dim=8, **arguments).double()
    module.state.cover(torch.arange(12))
    for name, ids in zip(x, given["ids"], strict=True):
        loss = module.contrast(x[name][:, 0], x[name][:, 1], ids)
    return loss


@like("barlow_twins/published_weight", "barlow_twins/odd")
def barlow(case: Case, x: dict[str, Tensor], _: dict[str, Tensor]) -> Tensor:
    return barlow_twins(x["view_a"], x["view_b"], weight=case.arguments["lambd"])


@like(*(f"cssl_generalization/nt_xent{name}" for name in ("", "_odd", "_cold", "_two")))
def cssl_nt_xent(case: Case, x: dict[str, Tensor], _: dict[str, Tensor]) -> Tensor:
    return VectorContrast(**case.arguments).contrast(x["one"], x["other"])


@like(*(f"cssl_generalization/twins{name}" for name in ("", "_odd", "_few")))
def cssl_twins(case: Case, x: dict[str, Tensor], _: dict[str, Tensor]) -> Tensor:
    # Released, deviations are unbiased and products divided by N, so that all correlations are (N - 1) / N of ours: as
    # if 1 / (N - 1) were added to variances of 1.
    one, other = ((view - view.mean(dim=0)) / view.std(dim=0, correction=0) for view in x.values())
    return barlow_twins(one, other, weight=case.arguments["redundancy"], eps=1 / (len(one) - 1))


@like("byol/symmetric")
def byol(case: Case, x: dict[str, Tensor], _: dict[str, Tensor]) -> Tensor:
    prediction = [unit(x[f"prediction_{view}"]) for view in "ab"]
    target = [unit(x[f"target_{view}"]).detach() for view in "ab"]
    return alignment(prediction[0], target[1]) + alignment(prediction[1], target[0])


@like("byol_ccsl/byol_odd", "byol_ccsl/byol_one")
def byol_ccsl(case: Case, x: dict[str, Tensor], _: dict[str, Tensor]) -> Tensor:
    # Above 1 no other pair counts, which leaves the loss that the pairs are added to.
    ways = (unit(x["prediction_a"]), unit(x["target_b"])), (unit(x["prediction_b"]), unit(x["target_a"]))
    return sum(self_labelled(one, other.detach(), weight=0.5, above=1.1) for one, other in ways)


@like("byol_ccsl/standardized_conv")
def standardized_conv(case: Case, x: dict[str, Tensor], _: dict[str, Tensor]) -> Tensor:
    layer = StandardizedConv2d(3, 4, 3, 2, 1).double()
    weights = {"weight": x["weight"], "bias": x["bias"]}
    return torch.func.functional_call(layer, weights, (x["x"],)).tanh().square().sum()


@like("cmc/two_views", "cmc/two_views_cold")
def cmc(case: Case, x: dict[str, Tensor], _: dict[str, Tensor]) -> Tensor:
    # Their banks have no gradient, our keys do: the value is that of both, the gradient that of one side at a time.
    one, other = unit(x["l"]), unit(x["ab"])
    sides = info_nce(one, other.detach(), **case.arguments) + info_nce(other, one.detach(), **case.arguments)
    return sides + (multi_view_info_nce(torch.stack([one, other], dim=1), **case.arguments) - sides).detach()


@like("cacr/five_views", "cacr/cifar10", "cacr/two_views_sharp")
def cacr(case: Case, x: dict[str, Tensor], _: dict[str, Tensor]) -> Tensor:
    a = case.arguments
    return attraction_repulsion(unit(x["views"]), attraction=a["tau_pos"], repulsion=a["tau_neg"])


@like("cacr/uniform_positives", "cacr/uniform_negatives", "cacr/uniform")
def cacr_uniform(case: Case, x: dict[str, Tensor], _: dict[str, Tensor]) -> Tensor:
    # Theirs leaves the weights out by another option, ours by a sharpness of 0.
    positives, negatives = case.name != "cacr/uniform_negatives", case.name != "cacr/uniform_positives"
    given = dict(attraction=case.arguments["tau_pos"], repulsion=case.arguments["tau_neg"])
    given |= dict(attraction=0.0) if positives else {}
    return attraction_repulsion(unit(x["views"]), **given | (dict(repulsion=0.0) if negatives else {}))


def swap(layer: nn.Module, **drawn: Tensor) -> None:
    """Drawn arrays in place of parameters, so that the gradient reaches them."""
    for name, x in drawn.items():
        delattr(layer, name)
        setattr(layer, name, x)


KINDS = {
    "hydra_pairs/subspace": {},
    "hydra_pairs/subspace_identical_cold": {"pairs": "identical"},
    "hydra_pairs/scaled": {"renormalize": False},
    "hydra_pairs/ungated": {"gate": "none"},
    "hydra_pairs/supcon": {"gate": "none", "pairs": "identical"},
}


@like(*KINDS)
def hydra_pairs(case: Case, x: dict[str, Tensor], given: dict[str, Tensor]) -> Tensor:
    widths = {"width": 8, "hidden_dim": 8, "projection_dim": 5, "classes": 4, "gate_dim": 6, "gate_hidden_dim": 7}
    module = HydraPairs(**widths, **KINDS[case.name], **case.arguments)
    body = Body(x["body"])
    swap(body[0], weight=x["body"])
    module.network.encoder = body
    swap(module.network.head[0][0], weight=x["hidden"])
    swap(module.network.head[0][3], weight=x["last"])
    if module.gate != "none":
        swap(module.opening.embedding, weight=x["classes"])
        swap(module.opening.body[2], weight=x["gate"], bias=x["gate_bias"])
        swap(module.opening.body[5], weight=x["opening"], bias=x["opening_bias"])
    if module.pairs == "arbitrary":
        module.partners = lambda labels, ids: labels[given["permutation"]]
    module.log_loss = lambda loss, **_: loss
    return module.double().training_step(Images(x["pictures"][None], given["labels"], torch.arange(9)), 0)


@like("cmc/nce_three_steps", "cmc/nce_cold", "cmc/softmax_three_steps", "cmc/softmax_cold")
def cmc_banks(case: Case, x: dict[str, Tensor], given: dict[str, Tensor]) -> Tensor:
    loss, a = case.name.removeprefix("cmc/").split("_")[0], case.arguments
    shared = dict(temperature=a["temperature"], bank_momentum=a["momentum"])
    module = CMC(projection_dim=x["memory_l"].shape[1], loss=loss, **shared).double()
    for bank, name in zip(module.banks, ("memory_l", "memory_ab"), strict=True):
        bank.start = lambda ids, name=name: x[name].detach()
        bank.cover(torch.arange(len(x[name])))
    for one, other, ids, columns in zip(x["l"], x["ab"], given["ids"], given["columns"], strict=True):
        value = module.discriminate([unit(one), unit(other)], ids, columns)
    return value


@like(*(f"sy_con/{name}" for name in ("sy_con", "sy_con_cold", "sy_con_one", "cassle", "cassle_cold")))
def sy_con(case: Case, x: dict[str, Tensor], _: dict[str, Tensor]) -> Tensor:
    _, size, dim = x["keys"].shape
    objective = case.name.split("/")[1].removesuffix("_cold").removesuffix("_one")
    module = SyCon(width=8, projection_dim=dim, queue_size=size, objective=objective, **case.arguments).double()
    module.predictor = Weighted(x["predictor"])
    for queues, name in ((module.keys, "keys"), (module.frozen_keys, "frozen_keys")):
        for queue, keys in zip(queues, x[name], strict=True):
            queue.enqueue(keys)
    return module.remember([*x["query"]], [*x["key"].detach()], [unit(view).detach() for view in x["frozen"]])


@like("align_uniform/whole", "align_uniform/whole_sharp")
def align_uniform(case: Case, x: dict[str, Tensor], _: dict[str, Tensor]) -> Tensor:
    a = case.arguments
    module = AlignUniform(align_weight=a["align_w"], uniform_weight=a["unif_w"], alpha=a["alpha"], t=a["t"])
    views = unit(F.linear(torch.cat([x["one"], x["other"]]), x["weight"])).chunk(2)
    return sum(module.weights[name] * term for name, term in module.terms(*views).items())


@like("moco_align_uniform/intra_batch", "moco_align_uniform/queue_only", "moco_align_uniform/small_queue")
def moco_align_uniform(case: Case, x: dict[str, Tensor], _: dict[str, Tensor]) -> Tensor:
    a, (size, width) = case.arguments, x["queue"].shape
    weights = dict(align_weight=a["align_w"], uniform_weight=a["unif_w"], alpha=a["align_alpha"], t=a["unif_t"])
    module = AlignUniformMoCo(projection_dim=width, queue_size=size, in_batch=bool(a["intra_batch"]), **weights)
    module.queue.double().enqueue(x["queue"].detach())
    module.network, module.encoded_keys = nn.Identity(), lambda view, name: view
    return module.contrast(unit(x["query"]), unit(x["key"]), "b")[0]
