"""MoCo: what a query meets, what enters the queue, and how the momentum encoder normalizes."""

import math

import pytest
import torch
from torch import Tensor, nn

from common.batches import Images
from common.encoders.heads import Projected
from common.encoders.momentum import MomentumTeacher
from common.encoders.norms import with_split_statistics
from common.errors import UserError
from papers.vision_ssl.moco.module import MoCo
from tests.processes import on_processes


def batch(seed: int, n: int = 6, views: int = 2) -> Images:
    pixels = torch.rand(views, n, 1, 16, 16, generator=torch.Generator().manual_seed(seed), dtype=torch.double)
    return Images(pixels, torch.arange(n), torch.arange(n) + 10 * seed)


def module(**arguments) -> MoCo:
    torch.manual_seed(0)
    made = MoCo(width=8, projection_dim=5, queue_size=14, **arguments).double().train()
    made.log_loss = lambda loss: loss  # without a trainer there is no log
    return made


class Normalized(nn.Sequential):
    output_dim = 4

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(256, 4), nn.BatchNorm1d(4))


def normalized() -> MoCo:
    """With batch normalization below the head, of two parts of a batch."""
    moco = module()
    moco.network = with_split_statistics(Projected(Normalized(), 5).double(), 2)
    moco.teacher = MomentumTeacher(moco.network, statistics="own")
    return moco


def loop(queries: Tensor, keys: Tensor, queue: Tensor, temperature: float) -> float:
    """Equation 1 as it is written."""
    losses = []
    for query, key in zip(queries, keys, strict=True):
        others = sum(math.exp(float(query @ other) / temperature) for other in queue)
        own = math.exp(float(query @ key) / temperature)
        losses.append(-math.log(own / (own + others)))
    return sum(losses) / len(losses)


@torch.no_grad()
def embedded(network: nn.Module, pixels: Tensor) -> Tensor:
    return network(pixels)


@pytest.mark.parametrize("symmetric", [False, True])
def test_a_query_meets_the_keys_of_earlier_batches(symmetric: bool) -> None:
    moco, past = module(symmetric=symmetric, temperature=0.3), []
    for step in range(4):
        with torch.no_grad():
            moco.network.head[2].weight += 0.1
        one, other = batch(step).views
        ways = [(one, other), (other, one)] if symmetric else [(one, other)]
        queue = torch.cat(past)[-14:] if past else torch.zeros(0, 5)
        expected = sum(loop(embedded(moco.network, q), embedded(moco.teacher, k), queue, 0.3) for q, k in ways)
        past += [embedded(moco.teacher, key) for _, key in reversed(ways)]
        assert float(moco.training_step(batch(step), step).detach()) == pytest.approx(expected, rel=1e-12, abs=1e-12)
        moco.follow()
    torch.testing.assert_close(moco.queue.keys.sum(0), torch.cat(past)[-14:].sum(0))
    assert len(moco.queue) == 14 and set(moco.queue.ids.tolist()) <= {*range(10, 16), *range(20, 26), *range(30, 36)}


def test_no_gradient_reaches_keys_and_queue() -> None:
    moco = module()
    moco.training_step(batch(0), 0)
    moco.training_step(batch(1), 1).backward()
    assert all(p.grad is not None for p in moco.parameters())
    assert not moco.queue.keys.requires_grad and not list(moco.teacher.parameters())


def test_the_head_is_linear_in_version_1() -> None:
    assert isinstance(module(mlp=False).network.head, nn.Linear) and len(module().network.head) == 3


def test_the_momentum_encoder_keeps_statistics_of_its_own() -> None:
    moco = normalized()
    moco.training_step(batch(0), 0)
    query, key = moco.network.encoder[2], moco.teacher.body.encoder[2]
    means = [moco.network.encoder[1](view.flatten(1)).detach().mean(0) for view in batch(0).views]
    for norm, mean in zip((query, key), means, strict=True):
        torch.testing.assert_close(norm.running_mean, 0.1 * mean)
    before = key.running_mean.clone()
    moco.follow()
    assert torch.equal(key.running_mean, before)


def shuffled(views: Tensor, own: slice) -> tuple[Tensor, Tensor]:
    """The queue after a step, and what the key encoder was given."""
    moco, met = normalized(), []
    moco.teacher.body.encoder.register_forward_pre_hook(lambda _, given: met.append(given[0].flatten(1).sum(1)))
    ids = torch.arange(6)[own]
    moco.training_step(Images(views[:, own], ids, ids), 0)
    return moco.queue.keys, met[0]


def test_keys_are_normalized_with_others_than_their_queries() -> None:
    views = batch(0).views
    queue, met = shuffled(views, slice(None))
    sums = views[1].flatten(1).sum(1)
    dealt = [int((sums - s).abs().argmin()) for s in met]
    assert sorted(dealt) == list(range(6)) and set(dealt[:3]) not in ({0, 1, 2}, {3, 4, 5})
    layer = Projected(Normalized(), 5).double()
    layer.load_state_dict(normalized().teacher.body.state_dict())
    for part in (dealt[:3], dealt[3:]):
        # The queue has the keys in the order of their images, whatever they were normalized with.
        torch.testing.assert_close(queue[part], embedded(layer.train(), views[1][part]))

    def work() -> tuple[Tensor, Tensor]:
        return shuffled(views, slice(0, 3) if torch.distributed.get_rank() == 0 else slice(3, 6))

    (first, one), (second, other) = on_processes(2, work)
    torch.testing.assert_close(first, queue)
    assert torch.equal(first, second) and torch.equal(torch.cat([one, other]), met)


@pytest.mark.parametrize(
    ("arguments", "message"), [({"momentum": 1.5}, "model.momentum 1.5: expected"), ({"temperature": 0.0}, "above 0")]
)
def test_what_is_out_of_range_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        module(**arguments)


def test_one_view_is_refused() -> None:
    with pytest.raises(UserError, match=r"data.views is 1; this method compares views, and it must be at least 2"):
        module().training_step(batch(0, views=1), 0)
