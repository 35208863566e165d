"""Tiny encoders from elsewhere, and what every method must be able to do with them."""

from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast, ViTConfig, ViTModel

from common.batches import Images, ImageText, Sentences
from common.training.method import Method
from tests.common.encoders.tiny import tiny_tokenizer

TEXTS = ["the cat sat", "a dog", "the dog sat on the mat", "a cat and a dog"]
IDS = torch.arange(4)


class Net(nn.Module):
    """Own pictures' network, without a word on its width."""

    def __init__(self, channels: int, width: int = 5) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, width, 3, 2)
        self.layers = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in range(2))
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(2))

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.stem(pixels)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = torch.relu(norm(layer(x)))
        return x.mean(dim=(2, 3))


class Letters(nn.Module):
    """Own texts' network: their lengths and first letters."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(2, 3)

    def forward(self, texts: list[str]) -> Tensor:
        return self.map(torch.tensor([[len(t) / 10, ord(t[0]) / 100] for t in texts]).to(self.map.weight))


def vit(folder: Path) -> Path:
    """A vision transformer's files, which ask for another normalization than the usual."""
    torch.manual_seed(0)
    shape = dict(hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16)
    config = ViTConfig(**shape, image_size=8, patch_size=4, hidden_dropout_prob=0.0)
    ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text('{"image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.5, 0.25]}')
    return folder


def bert(folder: Path) -> Path:
    """A text model's files, in the layout of sentence-transformers, which say that its tokens are averaged."""
    torch.manual_seed(0)
    shape = dict(hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16)
    config = BertConfig(**shape, vocab_size=13, max_position_embeddings=16)
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=tiny_tokenizer(), pad_token="[PAD]").save_pretrained(folder)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling/config.json").write_text('{"pooling_mode_mean_tokens": true}')
    return folder


def images(channels: int = 3) -> Images:
    pixels = torch.rand(2, 4, channels, 12, 12, generator=torch.Generator().manual_seed(1))
    return Images(pixels.double(), torch.tensor([0, 1, 0, 1]), IDS)


def pairs() -> ImageText:
    return ImageText(images().views, [TEXTS], IDS, IDS)


def sentences() -> Sentences:
    return Sentences(TEXTS, IDS)


def assert_trains(method: Method, batch: tuple, encoders: list[nn.Module]) -> None:
    """Every weight of the encoders gets a gradient, that of the loss by finite differences, and the loss falls."""
    method = method.double().train()
    method.log_loss, method.key = lambda loss, **terms: loss, lambda _: (0,)
    loss = method.training_step(batch, 0)
    loss.backward()
    for encoder in encoders:
        named = {name: p for name, p in encoder.named_parameters() if p.requires_grad}
        assert named and not [name for name, p in named.items() if p.grad is None]
        weight = max(named.values(), key=lambda p: float(p.grad.abs().max()))
        place, step, sides = int(weight.grad.abs().argmax()), 1e-5, []
        for sign in (1, -1):
            with torch.no_grad():
                weight.view(-1)[place] += sign * step
                sides.append(float(method.training_step(batch, 0)))
                weight.view(-1)[place] -= sign * step
        expected = (sides[0] - sides[1]) / (2 * step)
        assert abs(expected) > 1e-7
        torch.testing.assert_close(float(weight.grad.view(-1)[place]), expected, rtol=1e-4, atol=1e-8)
    optimizer = torch.optim.Adam(p for p in method.parameters() if p.requires_grad)
    for _ in range(5):
        optimizer.zero_grad()
        value = method.training_step(batch, 0)
        value.backward()
        optimizer.step()
    assert float(method.training_step(batch, 0)) < float(loss.detach())
