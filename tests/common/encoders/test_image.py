from functools import partial

import pytest
import torch

from common.encoders.heads import Projected, normalized_mlp
from common.encoders.image import CifarResNet, SmallConvNet, SmallResNet, image_encoder


@pytest.mark.parametrize("batch", [0, 1, 29])
def test_a_batch_in_pieces_is_the_batch(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net, pixels = SmallResNet(3, 8).double(), torch.rand(batch, 3, 16, 16, dtype=torch.float64)

    def run() -> tuple[torch.Tensor, ...]:
        found = net(pixels)
        return found, *torch.autograd.grad(found.square().sum(), list(net.parameters()))

    whole = run()
    monkeypatch.setattr(SmallResNet, "PIECE", 9 * 16 * 16)
    seen = []
    net.stem.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    for a, b in zip(whole, run(), strict=True):
        torch.testing.assert_close(a, b)
    assert seen == {0: [0], 1: [1], 29: [9, 9, 9, 2]}[batch]
    assert whole[0].shape == (batch, net.output_dim)


def test_the_cifar_network_normalizes_colour() -> None:
    network = CifarResNet().eval()
    seen = []
    network.body.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network(torch.tensor(CifarResNet.MEAN)[None, :, None, None].expand(1, 3, 32, 32))
    network(torch.zeros(1, 3, 32, 32))
    torch.testing.assert_close(seen[0], torch.zeros(1, 3, 32, 32))
    assert seen[1][0, :, 0, 0].tolist() == pytest.approx([-0.4914 / 0.2023, -0.4822 / 0.1994, -0.4465 / 0.2010])
    assert float(network.body.conv1.weight.std()) == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.1), "as SupContrast's"


@pytest.mark.parametrize(("parts", "side"), [(1, 12), (2, 24)])
def test_the_small_convolution_gives_its_places_too(parts: int, side: int) -> None:
    net, pixels = SmallConvNet(3, 8, parts=parts), torch.rand(2, 3, side, side)
    read = net.with_states(pixels)
    torch.testing.assert_close(read.vector, net(pixels))
    places = -(-side // 8)
    assert read.states.shape == (2, places**2, net.state_dim) and read.padding is None
    torch.testing.assert_close(read.states[:, places], net.map(pixels)[:, :, 1, 0])


def test_the_small_convolution_looks_at_each_picture_alone() -> None:
    torch.manual_seed(0)
    net, pixels = image_encoder("small_convnet", 3, 8), torch.rand(5, 3, 24, 24)
    assert net.map(pixels).shape == (5, 32, 3, 3)
    rows = net(pixels)
    assert rows.shape == (5, net.output_dim)
    torch.testing.assert_close(net(pixels[2:3])[0], rows[2])
    assert sum(p.numel() for p in image_encoder("small_convnet", 3, 32).parameters()) == 93_472


@pytest.mark.parametrize(
    ("norm", "count"), [("batch", 106_672), ("group", 106_672), ("group_ws", 106_672), ("plain", 106_400)]
)
def test_the_deep_convolution_and_its_norms(norm: str, count: int) -> None:
    torch.manual_seed(0)
    net, pixels = image_encoder(f"deep_convnet_{norm}", 1, 16), torch.rand(6, 1, 28, 28)
    assert sum(p.numel() for p in net.parameters()) == count
    assert net.map(pixels).shape == (6, 128, 4, 4)
    rows = net(pixels)
    assert rows.shape == (6, net.output_dim)
    assert rows.std() > 0.02, "the signal gets through"
    alone = net(pixels[2:4])[0]
    # By the batch's statistics a picture depends on the others, until evaluation takes the running ones.
    assert torch.allclose(alone, rows[2], atol=1e-5) == (norm != "batch")
    net.eval()
    torch.testing.assert_close(net(pixels[2:4])[0], net(pixels)[2])


def test_the_network_for_96_pixels_has_dropout_behind_each_block() -> None:
    torch.manual_seed(0)
    network = image_encoder("stl_resnet18", 3)
    assert network.output_dim == 512 and network.body.layer1(torch.rand(1, 64, 4, 4)).eq(0).float().mean() > 0.14
    kinds = [type(part).__name__ for stage in (2, 3) for part in getattr(network.body, f"layer{stage}")]
    assert kinds == ["BasicBlock", "Dropout", "BasicBlock", "Dropout"] * 2
    sizes = []
    network.body.layer4.register_forward_hook(lambda *given: sizes.append(given[2].shape[2:]))
    network(torch.rand(2, 3, 96, 96))
    assert sizes == [(6, 6)]


def test_a_normalized_head_is_that_of_the_recipe() -> None:
    network = Projected(image_encoder("deep_convnet_batch", 1, 16), 64, partial(normalized_mlp, 128))
    assert [type(part).__name__ for part in network.head] == ["Linear", "BatchNorm1d", "ReLU", "Linear"]
    assert (network.head[0].out_features, network.head[3].out_features) == (128, 64)
    torch.testing.assert_close(network(torch.rand(4, 1, 28, 28)).norm(dim=1), torch.ones(4))


def test_the_small_alexnet_and_its_linear_head_have_the_published_size() -> None:
    torch.manual_seed(0)
    net = image_encoder("small_alexnet", 3)
    # Counted in the released encoder with 128 outputs.
    assert sum(p.numel() for p in Projected(net, 128, torch.nn.Linear).parameters()) == 27_221_088
    rows = net(torch.rand(3, 3, 32, 32))
    assert rows.shape == (3, net.output_dim) and float(rows.detach().min()) == 0
    assert float(net.layers[1].weight.std()) == pytest.approx(0.02, rel=0.05)
    assert image_encoder("small_alexnet", 1)(torch.rand(2, 1, 32, 32)).shape == (2, 4096)
    for size in (15, 27, 64):
        assert image_encoder("small_alexnet", 1, image_size=size)(torch.rand(2, 1, size, size)).shape == (2, 4096)
    with torch.device("meta"):  # counted in the first released encoder, which is for 64 pixels
        of_64 = Projected(image_encoder("small_alexnet", 3, image_size=64), 128, torch.nn.Linear)
    assert sum(p.numel() for p in of_64.parameters()) == 58_678_368


def test_vgg_and_its_linear_head_have_the_size_of_torchvision() -> None:
    torch.manual_seed(0)
    with torch.device("meta"):
        net = image_encoder("vgg11", 3)
        assert sum(p.numel() for p in Projected(net, 10, torch.nn.Linear).parameters()) == 128_812_810
        assert image_encoder("vgg11", 1)(torch.rand(2, 1, 32, 32)).shape == (2, net.output_dim)
        deeper = Projected(image_encoder("vgg16", 3), 1000, torch.nn.Linear)
        assert sum(p.numel() for p in deeper.parameters()) == 138_365_992
    assert [type(part).__name__ for part in net.body.classifier] == ["Linear", "ReLU", "Dropout"] * 2
    net.body = torch.nn.Identity()
    assert net(torch.tensor([0.0, 0.5, 1.0])).tolist() == [-1, 0, 1]
