"""Groups of a class: who meets whom, how often two groups are of one class, and that the order is fixed by the seed."""

import pytest
import torch

from common.errors import UserError
from common.sampling.latent_classes import LatentClassSampler

LABELS = torch.tensor([0] * 60 + [1] * 30 + [2] * 10)[torch.randperm(100, generator=torch.Generator().manual_seed(0))]


def classes(epochs: int) -> torch.Tensor:
    """The class of each group of many batches, (batches, groups)."""
    sampler, found = LatentClassSampler(LABELS, 20, per_group=4), []
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        for batch in sampler:
            of = LABELS[torch.tensor(batch)].view(5, 4)
            assert (of == of[:, :1]).all()
            found.append(of[:, 0])
    return torch.stack(found)


def test_classes_are_drawn_as_often_as_they_occur_and_independently() -> None:
    found = classes(400)  # 2,000 batches of 5 groups
    shares = found.flatten().bincount().double() / found.numel()
    torch.testing.assert_close(shares, torch.tensor([0.6, 0.3, 0.1]).double(), atol=0.02, rtol=0)
    collided = (found[:, 0] == found[:, 1]).double().mean()
    assert float(collided) == pytest.approx(0.46, abs=0.04)  # 0.36 + 0.09 + 0.01, 4 standard errors


def test_samples_of_a_class_are_drawn_with_replacement() -> None:
    sampler, rare = LatentClassSampler(LABELS, 20, per_group=4), (LABELS == 2).nonzero()[:, 0]
    groups = []
    for epoch in range(200):
        sampler.set_epoch(epoch)
        groups += [group for batch in sampler for group in torch.tensor(batch).view(5, 4) if LABELS[group[0]] == 2]
    counts = torch.cat(groups).bincount(minlength=100)[rare]
    assert (counts > 0).all()
    # Four of ten are all different in 10 * 9 * 8 * 7 of 10^4 cases.
    different = sum(len(set(group.tolist())) == 4 for group in groups) / len(groups)
    assert different == pytest.approx(0.504, abs=0.08)


def test_the_seed_and_the_epoch_fix_the_batches() -> None:
    one, other, third = (LatentClassSampler(LABELS, 20, per_group=4, seed=seed) for seed in (1, 1, 2))
    assert list(one) == list(other) != list(third)
    first = list(one)
    one.set_epoch(1)
    assert list(one) != first
    other.load_state_dict({"epoch": 1, "position": 3})
    assert list(other) == list(one)[3:]


@pytest.mark.parametrize("per_group", [0, 3])
def test_groups_must_fill_the_batch(per_group: int) -> None:
    with pytest.raises(UserError, match=f"{per_group} samples in a group; it must divide data.batch_size, 20"):
        LatentClassSampler(LABELS, 20, per_group=per_group)
