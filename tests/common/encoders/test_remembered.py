"""A frozen encoder sees each sample once."""

import torch
from torch import Tensor, nn

from common.encoders.remembered import Remembered


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.map, self.drop, self.seen = nn.Linear(3, 2), nn.Dropout(0.5), 0

    def forward(self, x: Tensor) -> Tensor:
        self.seen += len(x)
        return self.drop(self.map(x))


def test_each_sample_is_encoded_once_and_nothing_is_trained() -> None:
    encoder = Counting()
    kept = nn.Sequential(Remembered(encoder)).train()[0]
    x, ids = torch.randn(5, 3), torch.tensor([7, 3, 9, 1, 2])
    expected = encoder.map(x).detach()
    torch.testing.assert_close(kept(x[:3], ids[:3]), expected[:3])
    torch.testing.assert_close(kept(x, ids), expected)
    torch.testing.assert_close(kept(x.flip(0), ids.flip(0)), expected.flip(0))
    assert encoder.seen == 5 and not kept(x, ids).requires_grad
    torch.testing.assert_close(kept(x), expected)
    assert encoder.seen == 10 and not encoder.training and not any(p.requires_grad for p in kept.parameters())
    assert kept.state_dict().keys() == {"encoder.map.weight", "encoder.map.bias"}
