import pytest
import torch

from common.encoders.image import SmallResNet


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
