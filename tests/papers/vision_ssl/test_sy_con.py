"""Sy-CON: its terms against a loop, what happens where a task begins, and the same on several processes."""

import math
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from common.errors import UserError
from harness.recipes import catalog, recipe
from papers.vision_ssl.sy_con.module import SyCon
from tests.papers.steps import losses

DIM = 6


def unit(seed: int, *shape: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, DIM, generator=draw, dtype=torch.double), dim=-1)


def nce(query: Tensor, positive: Tensor, negatives: list[Tensor], t: float) -> Tensor:
    own = (query @ positive / t).exp()
    return -(own / (own + sum((query @ other / t).exp() for other in negatives))).log()


UNIONS = {"sy_con": (True, True), "plasticity": (True, False), "stability": (False, True), "neither": (False, False)}


@pytest.mark.parametrize("objective", UNIONS)
def test_the_terms_are_those_of_a_loop(objective: str) -> None:
    torch.manual_seed(0)
    module = SyCon(width=8, projection_dim=DIM, queue_size=9, objective=objective, temperature=0.3).double()
    module.predictor.requires_grad_(True)
    query, key, frozen = (unit(seed, 2, 5).requires_grad_() for seed in range(3))
    current, former = unit(3, 2, 9), unit(4, 2, 7)
    for queues, held in ((module.keys, current), (module.frozen_keys, former)):
        for queue, keys in zip(queues, held, strict=True):
            queue.enqueue(keys)
    expected = torch.zeros((), dtype=torch.double)
    for view, other in ((0, 1), (1, 0)):
        predicted = F.normalize(module.predictor(query[view]), dim=-1)
        ours, theirs = list(current[other]), list(former[other])
        wide, narrow = UNIONS[objective]
        for i in range(5):
            learnt = nce(query[view][i], key[other][i].detach(), ours + theirs if wide else ours, 0.3)
            kept = nce(predicted[i], frozen[view][i].detach(), ours + theirs if narrow else theirs, 0.3)
            expected = expected + (learnt + kept) / 10
    found = module.remember([*query], [*key.detach()], [*frozen.detach()])
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)
    weights = [query, *module.predictor.parameters()]
    for a, b in zip(*(torch.autograd.grad(x, weights) for x in (found, expected)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


SMALL: dict[str, Any] = {
    "data": {"init_args": {"class_count": 10, "train_size": 660, "task_epochs": 2, "batch_size": 32}},
    "model": {"init_args": {"queue_size": 96, "warmup": 0.5}},
}  # five tasks of eight batches


class Watch(L.Callback):
    """Remembers, of each step, the loss, the rate, and what the optimizer and the queues hold; saves a checkpoint."""

    def __init__(self, save_at: int | None = None, path: Path | None = None) -> None:
        self.losses: list[float] = []
        self.rates: list[float] = []
        self.steps: list[float] = []
        self.frozen: list[dict[str, Tensor]] = []
        self.networks: list[dict[str, Tensor]] = []
        self.held: list[tuple[int, int]] = []
        self.save_at, self.path = save_at, path

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, *_: Any) -> None:
        assert isinstance(module, SyCon)
        self.losses.append(float(outputs["loss"]))
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])
        first = next(iter(trainer.optimizers[0].state.values()))
        self.steps.append(float(first["step"]))
        if module.objective != "moco":
            assert not any(part.training for part in module.frozen.modules())
            self.frozen.append({name: x.clone() for name, x in module.frozen.body.state_dict().items()})
            self.held.append((len(module.keys[0]), len(module.frozen_keys[0])))
        self.networks.append({name: x.clone() for name, x in module.network.state_dict().items()})
        if trainer.global_step == self.save_at:
            trainer.save_checkpoint(self.path)


def run(steps: int, watch: Watch, objective: str = "sy_con", ckpt: Path | None = None) -> SyCon:
    config = dict(recipe.load_recipe(catalog.find("sy_con"), "mini.yaml").data)
    changes = {"model": {"init_args": {"objective": objective}}, "trainer": {"max_steps": steps}}
    config = recipe.with_seed(recipe.merge(recipe.merge(config, SMALL), changes), 0)
    trainer, module, benchmark = recipe.build(config, callbacks=(watch,))
    trainer.fit(module, benchmark, ckpt_path=ckpt, weights_only=True)
    return module


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(x, other[name]) for name, x in one.items())


def test_a_task_begins_with_the_last_model_frozen_and_a_fresh_optimizer(tmp_path: Path) -> None:
    whole = Watch(save_at=12, path=tmp_path / "second.ckpt")
    module = run(20, whole)
    assert module.starts == [0, 8, 16, 24, 32] and all(map(math.isfinite, whole.losses))
    # Warm-up and fall in each task; the rate is that of the next step.
    assert whole.rates[:7] == whole.rates[8:15] and whole.rates[7] == whole.rates[15] == whole.rates[0] / 2
    assert whole.steps[:17] == [*range(1, 9), *range(1, 9), 1.0]
    # The frozen model is what the last task left, running statistics included, and stays so.
    for first, last in ((8, 7), (16, 15)):
        assert same(whole.frozen[first], whole.networks[last]) and not same(whole.frozen[first], whole.networks[first])
        assert same(whole.frozen[first], whole.frozen[first + 3])
    # Queues are carried over: keys from the first task on, frozen ones from the second.
    assert whole.held[:4] == [(32, 0), (64, 0), (96, 0), (96, 0)]
    assert whole.held[7:12] == [(96, 0), (96, 32), (96, 64), (96, 96), (96, 96)] and whole.held[16] == (96, 96)
    # A run that is resumed within the second task goes on alike, over the beginning of the third.
    rest = Watch()
    resumed = run(20, rest, ckpt=tmp_path / "second.ckpt")
    assert rest.losses == whole.losses[12:] and same(dict(module.state_dict()), dict(resumed.state_dict()))


def test_all_learn_alike_until_there_is_something_to_remember() -> None:
    found = {}
    for objective in ("sy_con", "cassle", "moco"):
        watch = Watch()
        run(9, watch, objective)
        found[objective] = watch.losses
    assert found["sy_con"][:8] == found["cassle"][:8] == found["moco"][:8]
    assert len({round(one[8], 4) for one in found.values()}) == 3


def test_four_processes_follow_the_curve_of_one_into_the_second_task() -> None:
    given = catalog.find("sy_con").processes
    assert given is not None
    overrides = {"model": given.model, "data": given.data, "trainer": given.trainer}
    assert losses(4, "sy_con", overrides) == pytest.approx(losses(1, "sy_con", overrides), rel=given.tolerance)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"momentum": -0.1}, "model.momentum -0.1: expected"),
        ({"momentum": 0.9, "final_momentum": 0.5}, "model.final_momentum 0.5: expected"),
        ({"queue_size": 0}, "queue size is 0"),
        ({"distill_weight": -1.0}, "model.distill_weight -1.0: expected"),
    ],
)
def test_what_is_out_of_range_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        SyCon(**arguments)
