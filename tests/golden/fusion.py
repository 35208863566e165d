"""Our side of the losses of models that align and fuse pictures and texts."""

import math
from types import SimpleNamespace

import torch
from torch import Tensor
from torch.nn import functional as F

from common.encoders.fusion import Encoded
from common.losses import distilled_cross_entropy, focal_sigmoid, momentum_contrast
from common.sampling.mining import negative_weights
from papers.vision_language.clip_rocket.module import CLIPRocket
from papers.vision_language.clippo.module import CLIPPO
from papers.vision_language.cosmos.module import COSMOS, Side
from papers.vision_language.ro_vit.positions import cropped
from papers.vision_language.tcl.module import TCL
from papers.vision_language.tcl.parts import parts_of_whole, pooled
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


def temperature_of(case: Case, x: dict[str, Tensor]) -> Tensor:
    return case.arguments["unit"] * 0.1 * x["temperature"].exp().squeeze()


@like("tcl/alignment", "tcl/alignment_distilled_sharp", "tcl/alignment_fine_tuning")
def tcl(case: Case, x: dict[str, Tensor], given: dict[str, Tensor]) -> Tensor:
    """The whole alignment of a module over given states, the teacher's projections in its place."""
    count, queued = len(x["image"]), len(x["image_queue"])
    small = {"image_encoder": "small_convnet", "channels": 4, "image_size": 16, "text_encoder": "words"}
    module = TCL(**small, embed_dim=8, queue_size=queued, regions=int(case.arguments["regions"])).double()
    del module.temperature
    module.temperature = lambda: temperature_of(case, x)
    there = {"image": torch.ones(x["image"].shape[:2], dtype=torch.int64), "text": given["mask"]}
    online, taught = [], []
    for side, mask in there.items():
        theirs = getattr(module.teacher.body, f"{side}_projection")
        theirs.weight.copy_(x[f"{side}_projection_m"].detach())
        theirs.bias.zero_()
        for found, late in ((online, ""), (taught, "_m")):
            states = x[f"{side}{late}"]
            vector = F.normalize(states[:, 0] @ x[f"{side}_projection{late}"].T, dim=-1)
            found.append(Encoded(*(part.detach() if late else part for part in (states, mask, vector))))
        earlier = given.get("idx_queue", torch.full((queued,), -100))
        getattr(module, f"{side}_queue").enqueue(x[f"{side}_queue"], earlier)
    ids = given.get("idx", torch.arange(count))
    return module.itc(online, taught, [side.vector for side in taught], ids, ids, case.arguments["alpha"])


@like("tcl/local_pictures", "tcl/local_pictures_one", "tcl/local_texts", "tcl/local_texts_sharp")
def local(case: Case, x: dict[str, Tensor], given: dict[str, Tensor]) -> Tensor:
    ids = torch.arange(len(x["whole"]))
    there = given.get("mask", torch.ones(x["parts"].shape[:2])) > 0
    known = dict(ids=ids, part_ids=ids, own=slice(0, len(ids)), temperature=temperature_of(case, x))
    return parts_of_whole(x["whole"], x["parts"].detach(), there, **known).mean()


@like("tcl/pooling", "tcl/pooling_fine_tuning")
def pooling(case: Case, x: dict[str, Tensor], _: dict[str, Tensor]) -> Tensor:
    return (pooled(x["patches"], int(case.arguments["regions"])) * x["weigh"]).sum()


def crops(case: Case, positions: Tensor) -> Tensor:
    """Of an embedding (1, side^2, d); recorded boxes are top, left, bottom, right in cells of the finer map."""
    side, upsampled = (int(case.arguments[name]) for name in ("side", "upsampled"))
    boxes = torch.tensor(case.given["boxes"], dtype=torch.double)[:, [1, 0, 3, 2]] / upsampled
    return cropped(positions[0].unflatten(0, (side, side)), boxes, upsampled)


@like("ro_vit/cropped", "ro_vit/cropped_odd", "ro_vit/cropped_small", "ro_vit/cropped_published")
def ro_vit_positions(case: Case, x: dict[str, Tensor], _: dict[str, Tensor]) -> Tensor:
    return (crops(case, x["positions"]) * x["weights"]).sum()


@like("ro_vit/step", "ro_vit/step_cold")
def ro_vit_step(case: Case, x: dict[str, Tensor], _: dict[str, Tensor]) -> Tensor:
    states = (x["tokens"] + crops(case, x["positions"])).tanh().mean(dim=1) @ x["head"]
    image, options = states / states.norm(dim=1, keepdim=True), dict(case.arguments)
    # They sum over all pairs, we divide by the number of queries.
    options = {name: options[name] for name in ("scale", "gamma", "alpha")}
    return len(image) * focal_sigmoid(image, x["text"], **options)


@like("cosmos/whole", "cosmos/two_views", "cosmos/sharp")
def cosmos(_: Case, x: dict[str, Tensor], __: dict[str, Tensor]) -> Tensor:
    """Over given vectors and states, with the weights of each attention out of arrays."""
    width, sides = x["image"].shape[-1], ("image", "text")
    small = {"image_encoder": "small_convnet", "width": 4, "text_encoder": "word_transformer", "embed_dim": width}
    method = COSMOS(**small).double()
    looks = method.look_at_image, method.look_at_text
    for side, look in zip(sides, looks, strict=True):
        look.map = torch.nn.Linear(x[f"{side}_states"].shape[-1], width).double()
        norms = [*look.query_norm.parameters(), *look.state_norm.parameters()]
        for part, parameters in (("map", look.map.parameters()), ("attention", look.attention.parameters())):
            torch.nn.utils.vector_to_parameters(x[f"{side}_{part}"].detach(), parameters)
        torch.nn.utils.vector_to_parameters(x[f"{side}_norms"].detach(), norms)
    # They have scales, we temperatures.
    del method.temperature, method.distill_temperature
    method.temperature = lambda: (-x["log_scale"].squeeze()).exp()
    method.distill_temperature = lambda: (-x["log_distill_scale"].squeeze()).exp()
    image, text = (Side(x[side].transpose(0, 1), x[f"{side}_states"], None) for side in sides)
    taught = (x[f"{side}_taught"].transpose(0, 1) for side in sides)
    return method.global_contrast(image, text, 2) + method.distill(image, text, *taught)


@like("clippo/start", "clippo/cold", "clippo/two_devices")
def clippo(case: Case, x: dict[str, Tensor], _: dict[str, Tensor]) -> Tensor:
    temperature = (-math.log(10) - x["log_scale"][0]).exp()
    module = SimpleNamespace(temperature=lambda: temperature, label_smoothing=0.0)
    # Their division; by the norm alone the last digits differ.
    first, second = (side / (side.norm(dim=1, keepdim=True) + 1e-8) for side in (x["first"], x["second"]))
    return CLIPPO.contrast(module, first, second)
