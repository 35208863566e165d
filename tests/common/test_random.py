import pytest
import torch
from scipy import stats

from common.errors import UserError
from common.random import normal, uniform


def test_numbers_belong_to_the_sample_not_to_the_batch() -> None:
    ids = torch.arange(64)
    whole = uniform(ids, 5, 7, 3)
    assert torch.equal(whole[40:], uniform(ids[40:], 5, 7, 3))
    assert torch.equal(whole.flip(0), uniform(ids.flip(0), 5, 7, 3))


def test_every_part_of_the_key_matters() -> None:
    ids = torch.arange(8)
    draws = [uniform(ids, 4, *key) for key in [(), (0,), (0, 0), (0, 1), (1, 0), (0, 0, 0)]]
    for i, a in enumerate(draws):
        for b in draws[i + 1 :]:
            assert not (a == b).all(1).any()  # not of one sample either, 0 among them


def test_neighbouring_samples_share_no_numbers() -> None:
    for key in [(), (0,), (3, 5)]:
        numbers = uniform(torch.arange(64), 8, *key)
        assert len(numbers.unique()) == numbers.numel()


def test_ids_are_integers_in_a_row() -> None:
    for ids in (torch.arange(4.0), torch.arange(4)[:, None], torch.tensor(3)):
        with pytest.raises(UserError, match="integers of shape"):
            uniform(ids, 2, 0)


def test_draws_are_uniform_and_uncorrelated() -> None:
    numbers = uniform(torch.arange(20_000), 4, 11, 2)
    assert float(numbers.min()) >= 0.0 and float(numbers.max()) < 1.0
    for column in numbers.T.numpy():
        assert stats.kstest(column, "uniform").pvalue > 1e-3
    correlation = torch.corrcoef(numbers.T) - torch.eye(4)
    assert float(correlation.abs().max()) < 0.03  # 4 standard errors at this size
    neighbours = torch.corrcoef(torch.stack([numbers[:-1, 0], numbers[1:, 0]]))[0, 1]
    assert abs(float(neighbours)) < 0.03


def test_normal_numbers_are_normal_and_finite() -> None:
    numbers = normal(torch.arange(20_000), 4, 11, 2)
    assert numbers.dtype == torch.float32 and float(numbers.abs().max()) < 5.5
    for column in numbers.T.numpy():
        assert stats.kstest(column, "norm").pvalue > 1e-3
    assert torch.equal(numbers[100:], normal(torch.arange(100, 20_000), 4, 11, 2))
