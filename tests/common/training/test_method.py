import math

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import GradientAccumulationScheduler, ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader, Dataset

from common.errors import NonFiniteLoss, UserError
from common.sampling.batches import GlobalBatchSampler, ResumableLoader
from common.training.adafactor import Adafactor
from common.training.method import Method, warmup_decay


class Line(Method):
    """Fits y = 0 with one layer; `spoil_at` makes the loss NaN at that step."""

    def __init__(self, spoil_at: int = -1, **optimization) -> None:
        super().__init__(**optimization)
        self.layer = nn.Linear(3, 1)
        self.spoil_at = spoil_at

    def training_step(self, batch, batch_idx):
        loss = self.layer(batch).square().mean()
        if self.global_step == self.spoil_at:
            loss = loss * float("nan")
        return self.log_loss(loss, penalty=self.layer.weight.norm())


def fit(module: Method, steps: int = 4, **options) -> L.Trainer:
    trainer = L.Trainer(
        max_steps=steps,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        **options,
    )
    trainer.fit(module, DataLoader(torch.ones(8, 3), batch_size=2))
    return trainer


def test_what_follows_moves_behind_each_step_and_before_it_counts() -> None:
    seen = []

    class Followed(Line):
        def follow(self) -> None:
            seen.append((self.global_step, self.layer.weight.detach().clone()))

    module = Followed(lr=0.1)
    start = module.layer.weight.detach().clone()
    fit(module, steps=3)
    assert [step for step, _ in seen] == [0, 1, 2]
    assert not seen[0][1].equal(start) and seen[2][1].equal(module.layer.weight)


def test_warmup_rises_to_one_and_decays_to_zero() -> None:
    factor = warmup_decay(100, 0.1, "cosine")
    assert [factor(s) for s in (0, 4, 9, 10, 55, 100)] == pytest.approx([0.1, 0.5, 1.0, 1.0, 0.5, 0.0])
    assert warmup_decay(100, 0.0, "linear")(75) == pytest.approx(0.25)
    assert warmup_decay(100, 0.0, "constant")(99) == 1.0
    root = warmup_decay(1000, 0.1, "inverse_sqrt")
    assert root(99) == root(100) == 1.0 and root(400) == pytest.approx(0.5)
    stages = warmup_decay(1000, 0.03, "tri_stage")
    assert stages(29) == stages(500) == stages(930) == 1.0
    assert stages(965) == pytest.approx(0.1) and stages(1000) == pytest.approx(0.01)
    half = warmup_decay(1000, 0.1, "tri_stage_half")
    assert half(99) == half(500) == 1.0 and half(750) == pytest.approx(0.05**0.5)


def test_all_decay_where_the_recipe_says_so() -> None:
    groups = Line(weight_decay=0.3, decay_all=True).parameter_groups()
    assert [(len(group["params"]), group["weight_decay"]) for group in groups] == [(2, 0.3), (0, 0.0)]


def test_norms_and_biases_do_not_decay() -> None:
    module = Line(lr=0.1, weight_decay=0.3, optimizer="sgd", schedule="constant")
    trainer = fit(module, 1)
    decay = {p: g["weight_decay"] for g in trainer.optimizers[0].param_groups for p in g["params"]}
    assert decay[module.layer.weight] == 0.3 and decay[module.layer.bias] == 0.0


def test_each_optimizer_is_the_named_one() -> None:
    kinds = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "adafactor": Adafactor, "sgd": torch.optim.SGD}
    for name, kind in kinds.items():
        (optimizer,) = fit(Line(optimizer=name, weight_decay=0.3), 1).optimizers
        assert type(getattr(optimizer, "optimizer", optimizer)) is kind and optimizer.param_groups[0]["weight_decay"]


def test_every_step_moves_the_schedule() -> None:
    module = Line(lr=1.0, schedule="linear")
    trainer = fit(module, 4)
    assert trainer.lr_scheduler_configs[0].scheduler.get_last_lr()[0] == pytest.approx(0.0)


class Rows(Dataset):
    def __getitem__(self, index: list[int]) -> torch.Tensor:
        return torch.tensor(index).float()[:, None].expand(-1, 3)


class Seeing(Line):
    def training_step(self, batch, batch_idx):
        self.seen = [*getattr(self, "seen", []), batch[:, 0].tolist()]
        return super().training_step(batch, batch_idx)


def test_a_run_resumed_in_the_middle_of_an_epoch_meets_the_rest_of_its_batches(tmp_path) -> None:
    def run(checkpoint=None) -> list[list[float]]:
        save = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)
        trainer = L.Trainer(
            max_epochs=2, accelerator="cpu", logger=False, enable_progress_bar=False, callbacks=[save],
            use_distributed_sampler=False,
        )  # fmt: skip
        loader = ResumableLoader(Rows(), sampler=GlobalBatchSampler(12, 3), batch_size=None)
        module = Seeing()
        trainer.fit(module, loader, ckpt_path=checkpoint, weights_only=True)
        return module.seen

    whole = run()
    for step in (2, 4, 6):
        assert run(tmp_path / f"step={step}.ckpt") == whole[step:]


def test_a_loss_that_is_not_finite_stops_and_names_step_and_term() -> None:
    with pytest.raises(NonFiniteLoss, match=r"step 2: the term 'loss' is nan"):
        fit(Line(spoil_at=2))


def test_all_arguments_are_kept_as_plain_hyper_parameters() -> None:
    module = Line(spoil_at=7, lr=0.5)
    assert dict(module.hparams) == {
        "spoil_at": 7,
        "lr": 0.5,
        "weight_decay": 0.0,
        "optimizer": "adamw",
        "schedule": "cosine",
        "warmup": 0.0,
        "decay_all": False,
        "beta2": 0.999,
        "eps": 1e-8,
        "eta": 1e-3,
        "layer_decay": 1.0,
        "freeze_norms": False,
        "sgd_momentum": 0.9,
    }


class Tempered(Line):
    def __init__(self, temperature: float = 0.1, **others) -> None:
        super().__init__(**others)


@pytest.mark.parametrize(
    ("given", "allowed"),
    [
        ({"lr": -0.1}, "at least 0"),
        ({"weight_decay": -1.0}, "at least 0"),
        ({"warmup": 1.5}, "from 0 to 1"),
        ({"temperature": 0.0}, "above 0"),
        ({"temperature": math.nan}, "above 0"),
    ],
)
def test_what_is_out_of_range_is_refused_before_anything_runs(given: dict, allowed: str) -> None:
    ((name, value),) = given.items()
    with pytest.raises(UserError, match=rf"^model\.{name} is {value}; it must be {allowed}$"):
        Tempered(**given)


class Contrast(Line):
    contrastive = True


@pytest.mark.parametrize(
    "options",
    [{"accumulate_grad_batches": 2}, {"callbacks": [GradientAccumulationScheduler({0: 1, 3: 2})]}],
    ids=["at once", "later"],
)
def test_a_contrastive_loss_refuses_gradient_accumulation(options: dict) -> None:
    with pytest.raises(UserError, match=r"accumulate_grad_batches is 2; Contrast must have 1.*cached_forward"):
        fit(Contrast(), **options)
    fit(Line(), **options)
    fit(Contrast())
