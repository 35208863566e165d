"""Models of timm as encoders, and low-rank updates by peft; built from their configurations, without a network."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

from common.encoders.image import image_encoder
from common.encoders.norms import GlobalBatchNorm, with_global_statistics
from common.encoders.text import text_encoder
from common.errors import UserError
from harness.fitting.start import start
from papers.classification.supcon.module import SupCon
from papers.scaling.siglip.module import SigLIP
from papers.sentence.simcse.module import SimCSE
from tests.common.encoders import own_encoders as own

timm = pytest.importorskip("timm")
TINY = {
    "name": "timm:vit_tiny_patch16_224",
    "image_size": 8,
    "init_args": {"embed_dim": 12, "depth": 2, "num_heads": 2, "patch_size": 4},
}


@pytest.mark.parametrize("checkpointed", [False, True])
def test_a_model_of_timm_trains_in_supcon(checkpointed: bool) -> None:
    method = SupCon(encoder=TINY | {"gradient_checkpointing": checkpointed}, channels=3, projection_dim=4)
    body = method.network.encoder.body
    assert body.grad_checkpointing == checkpointed and method.network.encoder.output_dim == 12
    own.assert_trains(method, own.images(), [body])


def test_a_model_of_timm_trains_in_siglip_beside_one_of_transformers(tmp_path: Path) -> None:
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    text = {"name": f"transformers:{own.bert(tmp_path / 'bert')}", "init_args": still}
    method = SigLIP(image_encoder=TINY, text_encoder=text, embed_dim=6, temperature=1.0, bias=0.0)
    own.assert_trains(method, own.pairs(), [method.encoder.image.body, method.encoder.text[0].body])


def test_pictures_are_normalized_as_its_configuration_says() -> None:
    encoder = image_encoder(TINY, 3).eval()
    config = timm.data.resolve_model_data_config(encoder.body)
    mean, deviation = (torch.tensor(config[key])[:, None, None] for key in ("mean", "std"))
    pixels = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(encoder(pixels), encoder.body((pixels - mean) / deviation))
    assert encoder.bicubic == (config["interpolation"] == "bicubic")
    larger = torch.rand(1, 3, 20, 20)
    shrunk = F.interpolate(larger, (8, 8), mode="bicubic", antialias=True).clamp(0, 1)
    torch.testing.assert_close(encoder(larger), encoder(shrunk))
    assert image_encoder(TINY, 2)(torch.rand(1, 2, 8, 8)).shape == (1, 12)
    assert image_encoder({"name": "timm:test_resnet", "image_size": 32}, 1).size == (32, 32)  # which needs no table


def test_its_layers_of_normalization_keep_their_activations() -> None:
    torch.manual_seed(0)
    plain = timm.create_model("test_efficientnet", num_classes=0)
    assert any(isinstance(part, timm.layers.BatchNormAct2d) for part in plain.modules())
    pixels = torch.randn(3, 3, 32, 32)
    expected = [plain.train(mode)(pixels) for mode in (True, False)]
    torch.manual_seed(0)
    ours = with_global_statistics(timm.create_model("test_efficientnet", num_classes=0))
    assert any(isinstance(part, GlobalBatchNorm) for part in ours.modules())
    for mode, vectors in zip((True, False), expected, strict=True):
        torch.testing.assert_close(ours.train(mode)(pixels), vectors)
    assert ours.state_dict().keys() == plain.state_dict().keys()


def test_weights_come_from_a_folder(tmp_path: Path) -> None:
    model = timm.create_model("test_vit", num_classes=0, img_size=32)
    timm.models.save_for_hf(model, tmp_path, safe_serialization="both")
    encoder = image_encoder({"name": f"timm:{tmp_path}", "init_args": {"img_size": 32}}, 3)
    assert torch.equal(encoder.body.blocks[0].attn.qkv.weight, model.blocks[0].attn.qkv.weight)


def test_an_unknown_model_is_told_with_the_nearest_name() -> None:
    with pytest.raises(UserError, match=r"timm has no such model \(did you mean 'resnet18'\?\)"):
        image_encoder("timm:resnet_18", 3)
    with pytest.raises(UserError, match=r"cannot be built: .*no_such_argument"):
        image_encoder({"name": "timm:resnet18", "init_args": {"no_such_argument": 1}}, 3)


def test_low_rank_updates_alone_are_trained(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    method = SupCon(encoder=TINY | {"lora_rank": 2, "lora_alpha": 4.0}, channels=3, projection_dim=4)
    body = method.network.encoder.body
    trained = [name for name, p in body.named_parameters() if p.requires_grad]
    assert trained and all("lora_" in name for name in trained)
    assert body.blocks[0].attn.qkv.scaling["default"] == 2.0
    for name, p in body.named_parameters():
        if "lora_B" in name:  # which begins at 0, where A has no gradient
            nn.init.normal_(p, std=0.1)
    own.assert_trains(method, own.images(), [body])
    save_file(image_encoder(TINY, 3).body.state_dict(), tmp_path / "plain.safetensors")
    start(method, str(tmp_path / "plain.safetensors"))
    weights = load_file(tmp_path / "plain.safetensors")
    assert torch.equal(body.blocks[1].mlp.fc1.base_layer.weight, weights["blocks.1.mlp.fc1.weight"])
    text = {"name": f"transformers:{own.bert(tmp_path / 'bert')}", "lora_rank": 2}
    bert = SimCSE(encoder=text, dropout=0.0).encoder
    assert bert.embed(own.TEXTS).allclose(text_encoder(text["name"]).embed(own.TEXTS))  # as it was, at the start
    with pytest.raises(UserError, match=r"encoder.lora_rank is 2; .*Net has no linear layer to update"):
        image_encoder({"name": f"{own.__name__}.Net", "lora_rank": 2}, 3)
