"""Our side of the losses of models that align and fuse pictures and texts."""

import math

import torch
from torch import Tensor

from common.losses import distilled_cross_entropy, momentum_contrast
from common.sampling.mining import negative_weights
from papers.vision_language.clip_rocket.module import CLIPRocket
from papers.vision_language.timix.module import TiMix
from papers.vision_language.timix.windows import pasted, window_sums
from tests.golden.ours import like
from tests.golden.recorded import Case


@like("albef/itc", "albef/itc_momentum_distillation", "albef/pretraining_itc")
def albef(case: Case, x: dict[str, Tensor], given: dict[str, Tensor]) -> Tensor:
    # In fine-tuning `idx` marks one image with several texts; in pre-training there is none, and the own pair is right.
    ids = given.get("idx", torch.arange(len(x["image"])))
    queued = given.get("idx_queue", torch.full((len(x["image_queue"]),), -100))
    unit = 0.1 if case.name == "albef/pretraining_itc" else 1.0

    def one_way(query: Tensor, teacher_query: Tensor, teacher_key: Tensor, queue: Tensor) -> Tensor:
        return momentum_contrast(
            query,
            torch.cat([teacher_key, queue]).detach(),
            teacher_query.detach(),
            ids=ids,
            key_ids=torch.cat([ids, queued]),
            temperature=unit * x["temperature"].exp().squeeze(),
            alpha=case.arguments.get("alpha", 0.0),
        )

    image, text = (x[side] / x[side].norm(dim=-1, keepdim=True) for side in ("image", "text"))
    to_text = one_way(image, x["image_m"], x["text_m"], x["text_queue"])
    return (to_text + one_way(text, x["text_m"], x["image_m"], x["image_queue"])) / 2


@like("albef/hard_negative_weights")
def hard_negatives(case: Case, x: dict[str, Tensor], _: dict[str, Tensor]) -> Tensor:
    scale, own = 10 * (-x["temperature"]).exp(), torch.eye(len(x["image"]), dtype=torch.bool)
    of_text = negative_weights(scale * x["text"] @ x["image_m"].T, own)
    of_image = negative_weights(scale * x["image"] @ x["text_m"].T, own)
    return (x["weigh_image"] * of_text + x["weigh_text"] * of_image).sum()


@like("albef/masked_words", "albef/masked_words_momentum_distillation")
def masked_words(case: Case, x: dict[str, Tensor], given: dict[str, Tensor]) -> Tensor:
    asked = given["labels"] != -100
    logits, teacher = x["logits"][asked], x["teacher"][asked].detach()
    return distilled_cross_entropy(logits, given["labels"][asked], teacher, case.arguments["alpha"]).mean()


@like("clip_rocket/rocket", "clip_rocket/shared", "clip_rocket/siamlip", "clip_rocket/siamlip_basic")
def clip_rocket(case: Case, x: dict[str, Tensor], _: dict[str, Tensor]) -> Tensor:
    """Over given features, with the weights of each head out of one array."""
    arguments, sides = dict(case.arguments), ("image", "text")
    names = dict(smoothing="local_smoothing", hidden="hidden_dim", dim="embed_dim")
    method = CLIPRocket(
        **{"image_encoder": "small_convnet", "width": 4, "text_encoder": "bag_of_words"},
        heads="shared" if case.name == "clip_rocket/shared" else "separate",
        directions="sum" if arguments.pop("sum") else "mean",
        siamlip=float(arguments["siamlip_dim"] > 0),
        **{names.get(name, name): value for name, value in arguments.items()},
    ).double()
    heads = {"head": method.heads, "projector": method.projectors, "predictor": method.predictors}
    with torch.no_grad():
        # Shared heads have one temperature, so that the first is set last.
        for name in ("local_temperature", "temperature"):
            getattr(method, name).log_temperature.fill_(math.log(case.arguments[name]))
        for side, own in zip(sides, method.linear, strict=True):
            own.weight.copy_(x[f"{side}_linear"])
            own.bias.zero_()  # theirs have none
        for part, both in heads.items():
            for side, own in zip(sides, both or (), strict=False):
                torch.nn.utils.vector_to_parameters(x[f"{side}_{part}"], own.parameters())
    views = list(zip(x["image"], x["text"], strict=True))
    loss = method.times * method.views_contrast(views[0], views[1:])
    return loss + method.siamlip * method.siamese(views[0], views[1:]) if method.siamlip else loss


@like("timix/pasted", "timix/pasted_wide")
def timix_pasted(case: Case, x: dict[str, Tensor], _: dict[str, Tensor]) -> Tensor:
    cells, side = (int(case.arguments[name]) for name in ("cells", "side"))
    sums = window_sums(x["saliency"].detach(), side)
    mixed = pasted(x["pixels"], x["pixels"].flip(0), sums.argmin(1), sums.argmax(1).flip(0), side, cells)
    return (mixed * x["weights"]).sum()


@like("timix/mixed", "timix/mixed_predicted")
def timix(case: Case, x: dict[str, Tensor], _: dict[str, Tensor]) -> Tensor:
    count, temperature = len(x["image"]), case.arguments["temperature"]
    method = TiMix(image_encoder="small_convnet", text_encoder="bag_of_words").double()
    with torch.no_grad():
        method.temperature.log_temperature.fill_(math.log(temperature))
        predicted = (x["plain"] @ x["text"].T / temperature).softmax(dim=1)
    labels = torch.eye(count).double() if case.name == "timix/mixed" else predicted
    shares = torch.full((count,), 1 - (case.arguments["side"] / case.arguments["cells"]) ** 2, dtype=torch.double)
    partner = torch.arange(count).flip(0)
    image, text = (x[side] / x[side].norm(dim=-1, keepdim=True) for side in ("image", "text"))
    return method.mixed_contrast(image, text, labels, partner, (shares, shares), slice(0, count))
