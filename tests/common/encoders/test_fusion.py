"""Text layers see the text alone, fused layers both; what is loaded goes where it belongs."""

import json
import zlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from common.encoders.fusion import FusionEncoder, VisionLanguageEncoder
from common.encoders.patches import POSITIONS, ClassTokenViT, fit_positions, patch_encoder
from common.encoders.pretrained import PretrainedFiles
from common.encoders.text import Tokens
from common.errors import UserError

GOLDEN = Path(__file__).parents[2] / "golden" / "encoders" / "albef_fusion.json"
TEXTS = ["a dog", "a small red circle and a large blue star", "a large dog"]


def fusion(**arguments) -> FusionEncoder:
    torch.manual_seed(0)
    encoder = FusionEncoder(**{"dropout": 0.0, "image_width": 8, **arguments})
    with torch.no_grad():
        for layer in encoder.layers:
            layer.crossattention.self.value.weight.mul_(20)  # so that a picture shows
    return encoder.eval()


def test_the_text_is_read_alone_and_then_with_its_picture() -> None:
    encoder, images = fusion(), torch.randn(3, 5, 8)
    tokens = encoder.tokenize(TEXTS)
    states = encoder.states(tokens)
    fused = encoder.fuse(states, tokens.mask, images)
    assert fused.shape == states.shape == (*tokens.ids.shape, 96)
    for i, text in enumerate(TEXTS):
        alone = encoder.tokenize([text])
        single = encoder.fuse(encoder.states(alone), alone.mask, images[i, None])
        length = alone.ids.shape[1]
        # Neither neighbours nor padding count.
        torch.testing.assert_close(fused[i, :length], single[0], atol=1e-5, rtol=1e-4)
    other = encoder.fuse(states, tokens.mask, images.roll(1, 0))
    assert ((fused - other)[tokens.mask.bool()].abs().amax(1) > 1e-3).all(), "every token looks at the picture"


def test_attention_runs_both_ways() -> None:
    encoder, images = fusion(), torch.randn(1, 5, 8)
    mask, states = torch.ones(1, 4, dtype=torch.int64), torch.randn(1, 4, 96, requires_grad=True)
    # One number: the sum over a layer normalization is the same for all inputs.
    (gradient,) = torch.autograd.grad(encoder.fuse(states, mask, images)[0, 0, 0], states)
    # Transformers' decoders, which these layers are, would hide what follows the first token.
    assert (gradient[0].abs().amax(1) > 0).all()


def weight(key: str, shape: tuple[int, ...]) -> Tensor:
    """Anybody can make these: a cosine whose frequency is the checksum of the authors' name of the weight."""
    wave = torch.arange(torch.Size(shape).numel(), dtype=torch.float64) * (1 + zlib.crc32(key.encode()) % 97 / 97)
    return 0.2 * wave.cos().reshape(shape).float() + key.endswith("LayerNorm.weight")


def test_same_output_as_the_authors_modules() -> None:
    golden, encoder = json.loads(GOLDEN.read_text()), FusionEncoder(dropout=0.0, image_width=8)
    parts = [("", encoder.text.body), *((f"encoder.layer.{k}.", layer) for k, layer in enumerate(encoder.layers, 1))]
    with torch.no_grad():
        for start, part in parts:
            for name, parameter in part.named_parameters():
                parameter.copy_(weight(start + name, parameter.shape))
    ids = torch.tensor(golden["ids"])
    tokens = Tokens(ids, (ids != 0).long())
    states = encoder.states(tokens)
    fused = encoder.fuse(states, tokens.mask, 5 * weight("image", (2, 6, 8)))
    torch.testing.assert_close(states[:, 0, :12], torch.tensor(golden["text"]), atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(fused[:, 0, :12], torch.tensor(golden["fused"]), atol=2e-5, rtol=1e-5)


def test_upper_layers_start_from_those_of_the_bert() -> None:
    encoder, file = FusionEncoder("mini-bert", text_layers=1, image_width=8), PretrainedFiles("mini-bert").weights()
    name = "attention.self.query.weight"
    assert len(encoder.layers) == 2
    for number, layer in enumerate(encoder.layers, start=1):
        assert torch.equal(layer.get_parameter(name), file[f"encoder.layer.{number}.{name}"])
        assert torch.equal(layer.get_parameter("output.dense.bias"), file[f"encoder.layer.{number}.output.dense.bias"])
        assert layer.crossattention.self.key.weight.shape == (192, 8)
        assert layer.crossattention.self.key.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert torch.equal(encoder.text.body.encoder.layer[0].get_parameter(name), file[f"encoder.layer.0.{name}"])
    head = VisionLanguageEncoder(patch_encoder("small_convnet", 16, width=8, channels=4), encoder, 6).head
    assert torch.equal(head.dense.weight, file["cls.predictions.transform.dense.weight"])
    assert torch.equal(head.bias, file["cls.predictions.bias"]) and head.bias.any()
    fresh = FusionEncoder("mini-bert", text_layers=1, image_width=8, pretrained=False)
    assert not torch.equal(fresh.layers[0].get_parameter(name), file[f"encoder.layer.1.{name}"])
    with pytest.raises(UserError, match="text_layers is 3; it must be from 1 to 2"):
        FusionEncoder("mini-bert", text_layers=3)
    with pytest.raises(UserError, match="text_encoder is 'bert'; it must be one of mini, tiny, mini-bert"):
        FusionEncoder("bert")


def test_vectors_are_of_the_whole_and_pairs_of_any_rows() -> None:
    torch.manual_seed(0)
    patches = patch_encoder("small_resnet", 16, width=8, channels=4)
    encoder = VisionLanguageEncoder(patches, fusion(), embed_dim=6, masked_lm=False).eval()
    image, text = encoder(torch.rand(2, 3, 16, 16), encoder.fusion.tokenize(TEXTS))
    torch.testing.assert_close(image.vector.norm(dim=1), torch.ones(2))
    first = encoder.text_projection(text.states[:, 0])
    torch.testing.assert_close(text.vector, first / first.norm(dim=1, keepdim=True))
    pairs = torch.tensor([[0, 2], [1, 0], [1, 2], [0, 1], [0, 2]])
    fused = encoder.fused_pairs(image, text, pairs, at_once=2)
    expected = encoder.fused(image.rows(pairs[:, 0]), text.rows(pairs[:, 1]))
    torch.testing.assert_close(fused, expected)
    torch.testing.assert_close(fused[0], fused[4])
    assert not torch.allclose(fused[0], fused[2], atol=1e-3)


@pytest.mark.parametrize("name", ["small_resnet", "small_convnet", "vit_mini"])
def test_patches_come_after_the_whole_and_know_their_places(name: str) -> None:
    torch.manual_seed(0)
    encoder = patch_encoder(name, 24, width=16, channels=4).eval()
    pixels = torch.rand(2, 3, 24, 24)
    assert encoder(pixels).shape == (2, 1 + 9, 16) and encoder.width == 16
    # One grey everywhere: what tells the places apart is where they are.
    with torch.no_grad():
        states = encoder(torch.full((1, 3, 24, 24), 0.5))[0]
    assert not torch.allclose(states[5], states[6], atol=1e-3)
    with pytest.raises(UserError, match="must be a multiple of"):
        patch_encoder(name, 25)
    with pytest.raises(UserError, match=r"model\.image_weights is 'x'"):
        patch_encoder(name, 24, weights="x")


# What timm calls the parts of a vision transformer, with the names here.
TIMM = {
    "cls_token": "class_token",
    "pos_embed": POSITIONS,
    "patch_embed.proj.weight": "conv_proj.weight",
    "patch_embed.proj.bias": "conv_proj.bias",
    "norm.weight": "encoder.ln.weight",
    "norm.bias": "encoder.ln.bias",
}
BLOCK = {
    "norm1": "ln_1",
    "attn.proj": "self_attention.out_proj",
    "norm2": "ln_2",
    "mlp.fc1": "mlp.0",
    "mlp.fc2": "mlp.3",
}


def test_the_vision_transformer_takes_timms_weights_at_another_size(tmp_path) -> None:
    source = ClassTokenViT(16, 8, 16, 2, 2)
    nn.init.normal_(source.body.class_token)
    names = dict(TIMM)
    for k in range(2):
        ours = f"encoder.layers.encoder_layer_{k}."
        for kind in ("weight", "bias"):
            names |= {f"blocks.{k}.{a}.{kind}": f"{ours}{b}.{kind}" for a, b in BLOCK.items()}
            names[f"blocks.{k}.attn.qkv.{kind}"] = f"{ours}self_attention.in_proj_{kind}"
    weights = source.body.state_dict()
    assert set(names.values()) == set(weights)
    head = {"head.weight": torch.zeros(3, 16)}
    save_file({k: weights[v].clone() for k, v in names.items()} | head, tmp_path / "model.safetensors")
    pixels = torch.rand(2, 3, 16, 16)
    same = ClassTokenViT(16, 8, 16, 2, 2, weights=str(tmp_path))
    torch.testing.assert_close(same(pixels), source(pixels))
    larger = ClassTokenViT(32, 8, 16, 2, 2, weights=str(tmp_path))
    assert larger.body.encoder.pos_embedding.shape == (1, 17, 16)
    assert torch.equal(larger.body.encoder.pos_embedding[:, 0], source.body.encoder.pos_embedding[:, 0])
    with pytest.raises(UserError, match=r"model\.image_weights: .*model\.safetensors does not exist"):
        ClassTokenViT(16, 8, 16, 2, 2, weights=str(tmp_path / "none"))


def test_positions_of_a_larger_square_are_those_between() -> None:
    across = torch.arange(4.0).repeat(4)
    old = torch.cat([torch.tensor([9.0]), across])[None, :, None]
    new = fit_positions(old, torch.empty(1, 1 + 64, 1))
    assert new[0, 0, 0] == 9 and fit_positions(old, torch.empty_like(old)) is old
    grid = new[0, 1:, 0].view(8, 8)
    torch.testing.assert_close(grid, grid[:1].expand(8, 8))
    torch.testing.assert_close(grid[0, 2:6], torch.tensor([0.75, 1.25, 1.75, 2.25]), atol=0.1, rtol=0)
