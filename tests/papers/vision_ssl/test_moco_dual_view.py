"""Dual-view MoCo: what each reading sums, which keys an anchor meets, and who gets a gradient."""

import math

import pytest
import torch
from torch import Tensor

from common.batches import Images
from common.errors import UserError
from common.random import uniform
from papers.vision_ssl.moco.module import MoCo
from papers.vision_ssl.moco_dual_view.module import DualViewMoCo
from tests.processes import on_processes

TEMPERATURE = 0.3


def batch(seed: int, own: slice = slice(None)) -> Images:
    pixels = torch.rand(2, 8, 1, 16, 16, generator=torch.Generator().manual_seed(seed), dtype=torch.double)
    return Images(pixels[:, own], torch.arange(8)[own] % 3, (torch.arange(8) + 10 * seed)[own])


def module(kind: type[MoCo] = DualViewMoCo, **arguments) -> MoCo:
    torch.manual_seed(0)
    made = kind(width=8, projection_dim=5, queue_size=16, temperature=TEMPERATURE, norm_parts=1, **arguments)
    made = made.double().train()
    made.log_loss, made.logged = lambda loss: loss, {}  # without a trainer there is no log
    made.log = lambda name, value, **_: made.logged.update({name: float(value)})
    return made


def third_loss(made: MoCo, own: slice = slice(None)) -> Tensor:
    """Of a step with a full queue and a teacher that is another."""
    for step in range(2):
        made.training_step(batch(step, own), step)
    with torch.no_grad():
        for weight in made.network.parameters():
            weight += 0.1 * torch.linspace(-1, 1, weight.numel(), dtype=torch.double).view_as(weight)
    return made.training_step(batch(2, own), 2)


class Seen:
    """Queries, keys and queue of the third step, both views in either role."""

    def __init__(self, **arguments) -> None:
        self.made = module(**arguments)
        self.queue: Tensor = torch.empty(0)
        step = self.made.training_step

        def watched(given: Images, number: int) -> Tensor:
            self.queue = self.made.queue.keys
            with torch.no_grad():
                self.query = [self.made.network(view) for view in given.views]
                self.key = [self.made.teacher(view) for view in given.views]
            return step(given, number)

        self.made.training_step = watched
        self.loss = third_loss(self.made)

    def surprises(
        self, anchors: Tensor, positives: Tensor, count: int = 4, chosen: Tensor | None = None
    ) -> list[float]:
        """l(u, v) as loops."""
        found = []
        for i, (u, v) in enumerate(zip(anchors, positives, strict=True)):
            cosines = [float(u @ n) for n in self.queue]
            met = sorted(cosines, reverse=True)[:4] if chosen is None else [cosines[j] for j in chosen[i]]
            weight = 1 if chosen is None else len(cosines) / len(met)
            own = math.exp(float(u @ v) / TEMPERATURE)
            found.append(-math.log(own / (own + weight * sum(math.exp(c / TEMPERATURE) for c in met))))
        return found


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


@pytest.mark.parametrize("reading", ["one_sided", "literal", "swap", "both", "attraction"])
def test_the_loss_is_that_of_a_loop(reading: str) -> None:
    seen = Seen(reading=reading, hardest=4, weight=1.0 if reading == "swap" else 0.5)
    first = mean(seen.surprises(seen.query[0], seen.key[1]))
    by_key = seen.surprises(seen.key[1], seen.query[0])
    cosine = mean([float(q @ k) for q, k in zip(seen.query[0], seen.key[1], strict=True)])
    expected = {
        "one_sided": first,
        "literal": (first + 0.5 * mean(by_key)) / 1.5,
        "both": (first + 0.5 * mean(by_key)) / 1.5,
        "swap": (first + mean(seen.surprises(seen.query[1], seen.key[0]))) / 2,
        "attraction": (first - 0.5 * mean([1 - math.exp(-x) for x in by_key]) * cosine / TEMPERATURE) / 1.5,
    }
    assert float(seen.loss.detach()) == pytest.approx(expected[reading], rel=1e-9)
    assert len(seen.queue) == 16


def test_one_sided_with_the_whole_queue_is_moco() -> None:
    for hardest in (None, 16, 99):
        torch.testing.assert_close(
            third_loss(module(reading="one_sided", hardest=hardest)), third_loss(module(MoCo)), rtol=1e-12, atol=0
        )
    assert not torch.isclose(third_loss(module(reading="one_sided", hardest=4)), third_loss(module(MoCo)))


def test_random_keys_stand_for_the_whole_queue() -> None:
    seen = Seen(reading="one_sided", hardest=4, negatives="random")
    drawn = uniform(batch(2).ids, 16, *seen.made.key("negatives of view a")).topk(4).indices
    expected = mean(seen.surprises(seen.query[0], seen.key[1], chosen=drawn))
    assert float(seen.loss.detach()) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("reading", ["literal", "both"])
def test_the_key_encoder_is_trained_in_one_reading(reading: str) -> None:
    made = module(reading=reading, hardest=4)
    third_loss(made).backward()
    trained = {name.split(".")[0] for name, p in made.named_parameters() if p.grad is not None and p.grad.any()}
    assert trained == ({"network", "teacher"} if reading == "both" else {"network"})
    before = [p.detach().clone() for p in made.teacher.body.state_dict().values()]
    made.momentum = 0.75
    made.follow()
    after = made.teacher.body.state_dict()
    for old, (name, new) in zip(before, after.items(), strict=True):
        torch.testing.assert_close(new, old + 0.25 * (made.network.state_dict()[name] - old))


def test_what_is_logged_of_the_hardest_keys() -> None:
    seen = Seen(reading="one_sided", hardest=4)
    outside, right = [], []
    labels = torch.cat([batch(0).labels, batch(1).labels])
    for q, label in zip(seen.query[0], batch(2).labels, strict=True):
        weights = (seen.queue @ q / TEMPERATURE).exp()
        order = weights.argsort(descending=True)
        outside.append(float(weights[order[4:]].sum() / weights.sum()))
        right.append(float((labels[order[:4]] == label).double().mean()))
    assert seen.made.logged["train/mass_outside"] == pytest.approx(mean(outside))
    assert seen.made.logged["train/hardest_of_class"] == pytest.approx(mean(right))


@pytest.mark.parametrize("reading", ["literal", "swap", "both", "attraction"])
@pytest.mark.parametrize(("negatives", "processes"), [("hardest", 2), ("random", 2), ("hardest", 4)])
def test_processes_have_the_loss_and_gradient_of_one(reading: str, negatives: str, processes: int) -> None:
    def run(own: slice = slice(None)) -> tuple[Tensor, list[Tensor]]:
        made = module(reading=reading, hardest=4, negatives=negatives)
        loss = third_loss(made, own)
        return loss.detach(), list(torch.autograd.grad(loss, list(made.parameters())))

    def work() -> tuple[Tensor, list[Tensor]]:
        rank, share = torch.distributed.get_rank(), 8 // processes
        return run(slice(rank * share, (rank + 1) * share))

    loss, gradients = run()
    shares = on_processes(processes, work)
    for found, _ in shares:
        torch.testing.assert_close(found, loss)
    for ours, *parts in zip(gradients, *(share for _, share in shares), strict=True):
        torch.testing.assert_close(torch.stack(parts).mean(dim=0), ours)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"reading": "third"}, "model.reading is 'third'"),
        ({"negatives": "easiest"}, "model.negatives is 'easiest'"),
        ({"hardest": 0}, "model.hardest 0: expected"),
        ({"weight": -1.0}, r"model.weight -1\.0: expected"),
        ({"symmetric": True}, "model.reading says which views are queries"),
    ],
)
def test_what_is_out_of_range_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        module(**arguments)
