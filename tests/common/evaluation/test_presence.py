"""A linear map reads concepts off features; the average precision against scikit-learn and a loop over ties."""

import pytest
import torch
from sklearn.metrics import average_precision_score

from common.errors import UserError
from common.evaluation.presence import average_precision, presence_probe

GROUPS = {"class": slice(0, 4), "size": slice(4, 6)}


def test_average_precision_is_scikit_learns() -> None:
    torch.manual_seed(0)
    scores, there = torch.rand(50, 3), torch.rand(50, 3) < 0.3
    expected = [average_precision_score(there[:, k].numpy(), scores[:, k].numpy()) for k in range(3)]
    torch.testing.assert_close(average_precision(scores, there), torch.tensor(expected, dtype=torch.float64))
    assert average_precision(scores[:, :1], there[:, :1] & False).isnan().all()


def test_ties_count_against_the_method() -> None:
    there = torch.tensor([[True], [False], [True], [False]])
    assert average_precision(torch.zeros(4, 1), there).item() == pytest.approx((1 / 3 + 2 / 4) / 2)


def split(n: int, seed: int, noise: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    there = torch.rand(n, 6, generator=generator) < 0.3
    x = there.float() @ torch.linspace(-1, 1, 48).reshape(6, 8).cos() + noise * torch.randn(n, 8, generator=generator)
    return torch.cat([x, torch.ones(n, 1)], 1), there


def test_what_is_in_the_features_is_found_and_what_is_not_is_chance() -> None:
    torch.manual_seed(1)
    mixing = torch.randn(6, 6)
    train, val, test = ((there.float() @ mixing, there) for _, there in (split(400, seed) for seed in (0, 1, 2)))
    found = presence_probe(train, val, test, GROUPS)
    assert found.keys() == {"probe_class/map", "probe_size/map", "probe_class/picture_map"}
    assert found["probe_class/map"] > 0.999 and found["probe_class/picture_map"] > 0.999
    assert found["probe_class/map"].items.shape == (4,)
    assert found["probe_class/picture_map"].items.shape == (int(test[1][:, :4].any(1).sum()),)
    noise = presence_probe(*((torch.randn(400, 5), there) for _, there in (train, val, test)), GROUPS)
    assert noise["probe_class/map"] == pytest.approx(0.3, abs=0.1)


def test_concepts_that_do_not_fit_are_named() -> None:
    x, there = split(20, 0)
    with pytest.raises(UserError, match="concepts of val"):
        presence_probe((x, there), (x, there[:5]), (x, there), GROUPS)
