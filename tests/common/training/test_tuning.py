"""Fine-tuning: rates by layers, and norms that stay as they are."""

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from common.encoders.dual import DualEncoder
from common.encoders.image import image_encoder
from common.encoders.norms import ReplacedBatchNorm
from common.errors import UserError
from common.training.tuning import layer_rates, norms, towers
from papers.classification.supcon.module import SupCon
from papers.vision_language.clip.module import CLIP
from tests.common.training.test_method import Line, fit


def rates(module: nn.Module, decay: float = 0.5) -> dict[str, float]:
    known = layer_rates(module, decay)
    return {name: known[p] for name, p in module.named_parameters() if p in known}


def test_each_layer_learns_slower_than_the_one_above() -> None:
    method = SupCon(encoder="vit_mini", channels=3)
    found = rates(method)
    by_layer = [{v for k, v in found.items() if f".layers.{i}." in k} for i in range(4)]
    assert by_layer == [{0.5**4}, {0.5**3}, {0.5**2}, {0.5}]
    assert {v for k, v in found.items() if "embeddings" in k} == {0.5**5}
    assert {v for k, v in found.items() if "post_layernorm" in k or ".head." in k} == {1.0}
    assert not [name for name in found if name.startswith("network.head")]


def test_lists_side_by_side_are_one_and_each_tower_counts_for_itself() -> None:
    found = rates(nn.ModuleDict({"net": image_encoder("small_convnet", 3)}))
    assert found["net.convolutions.0.weight"] == found["net.norms.0.bias"] == 0.5**3
    assert found["net.convolutions.2.weight"] == found["net.norms.2.weight"] == 0.5
    dual = DualEncoder("small_resnet", "mini")
    assert set(towers(dual)) == {"image", "text"}
    found = rates(dual)
    assert found["image.stem.weight"] == 0.5**4 and found["image.stages.2.conv1.weight"] == 0.5
    assert {v for k, v in found.items() if "text" in k and ".layers.0." in k} == {0.25}
    assert "projection.weight" not in found


def test_the_optimizer_gets_the_rates_of_the_layers() -> None:
    method = CLIP(embed_dim=32, layer_decay=0.5, lr=0.1, weight_decay=0.2, scalar_lr=10.0, schedule="constant")
    method.trainer = type("Trainer", (), {"estimated_stepping_batches": 10})()
    groups = method.configure_optimizers()["optimizer"].param_groups
    place = {id(p): g for g in groups for p in g["params"]}
    assert len(place) == sum(len(g["params"]) for g in groups) == len(list(method.parameters()))
    stem = place[id(method.encoder.image.stem.weight)]
    assert stem["lr"] == pytest.approx(0.1 * 0.5**4) and stem["weight_decay"] == 0.2
    assert place[id(method.encoder.projection.weight)]["lr"] == 0.1
    scalar = next(p for p in method.parameters() if p.ndim == 0)
    assert place[id(scalar)]["lr"] == pytest.approx(1.0)
    method = CLIP(lr=0.1)
    method.trainer = type("Trainer", (), {"estimated_stepping_batches": 10})()
    assert len(method.configure_optimizers()["optimizer"].param_groups) == 3  # as without the option


def test_frozen_norms_stay_as_they_are_and_the_heads_learn() -> None:
    method = SupCon(encoder="deep_convnet_batch", width=8, normalized_head=True, freeze_norms=True)
    method.configure_model()
    method.train()
    frozen = norms(method)
    assert len(frozen) == 5 and not any(norm.training for norm in frozen)
    assert not [p for norm in frozen for p in norm.parameters() if p.requires_grad]
    head = [part for part in method.network.head.modules() if isinstance(part, _BatchNorm | ReplacedBatchNorm)]
    assert head and all(part.training and part.weight.requires_grad for part in head)
    before = [norm.running_mean.clone() for norm in frozen]
    method.network(torch.rand(4, 1, 16, 16))
    assert all(map(torch.equal, before, (norm.running_mean for norm in frozen)))
    thawed = SupCon(encoder="deep_convnet_batch", width=8)
    thawed.configure_model()
    assert all(norm.train().training and norm.weight.requires_grad for norm in norms(thawed))


def test_where_there_is_nothing_to_tune_it_is_said() -> None:
    with pytest.raises(UserError, match="no encoder of Line has a norm"):
        fit(Line(freeze_norms=True))
    with pytest.raises(UserError, match=r"layer_decay is 0.5; Line has no encoder"):
        fit(Line(layer_decay=0.5))
    for wrong in (0.0, 1.5):
        with pytest.raises(UserError, match=r"model.layer_decay is .*; it must be above 0 and at most 1"):
            Line(layer_decay=wrong)
