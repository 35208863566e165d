"""The base of every paper's module: an optimizer, a guarded log of the loss, scoring by the benchmark. Nothing else."""

import math
import types
import typing
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, GradientAccumulationScheduler
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from common.batches.inputs import inputs_of
from common.errors import NonFiniteLoss, UserError, WrongBatch
from common.training.adafactor import Adafactor
from common.training.lamb import LAMB
from common.training.lars import LARS
from common.training.rng import RandomState, capture, restore
from common.training.tuning import layer_rates, norms, with_layer_rates

if TYPE_CHECKING:
    from common.benchmark import Benchmark

    class _Trainer(L.Trainer):
        """What Lightning sets on a trainer without a declaration."""

        callbacks: list[Callback]
        datamodule: Benchmark | None
        log_every_n_steps: int


Schedule = Literal["constant", "linear", "cosine", "inverse_sqrt", "tri_stage", "tri_stage_half"]
"""What follows the warm-up; "inverse_sqrt" falls with the root of the step, "tri_stage" holds for all but the last 7%
of the steps and then falls exponentially to 1%, "tri_stage_half" for all but the last half, to 5%; all as in fairseq,
where self-supervised speech is trained by the one and fine-tuned by the other."""

_STAGES = {"tri_stage": (0.07, 0.01), "tri_stage_half": (0.5, 0.05)}


def warmup_decay(total: int, warmup: float, decay: Schedule) -> Callable[[int], float]:
    """The factor on the learning rate at each of `total` steps: linear over the first `warmup` share, then decay."""
    rise = math.ceil(warmup * total)

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        done = min(1.0, (step - rise) / max(1, total - rise))
        if decay == "inverse_sqrt":
            return math.sqrt(max(1, rise) / max(1, step))
        if decay in _STAGES:
            share, last = _STAGES[decay]
            return last ** max(0.0, 1.0 - (total - step) / (share * total))
        return {"constant": 1.0, "linear": 1.0 - done, "cosine": 0.5 * (1.0 + math.cos(math.pi * done))}[decay]

    return factor


def batches_read(module: L.LightningModule) -> tuple[type, ...]:
    """The kinds of batches that `training_step` is annotated with; none where the annotation does not say."""
    wanted = typing.get_type_hints(type(module).training_step).get("batch")
    kinds = wanted.__args__ if isinstance(wanted, types.UnionType) else (wanted,)
    return kinds if all(isinstance(kind, type) for kind in kinds) else ()


def _described(batch: type) -> str:
    """ "Sentences (text, ids)"."""
    fields = getattr(batch, "_fields", ())
    return f"{batch.__name__} ({', '.join(fields)})" if fields else batch.__name__


class Method(L.LightningModule):
    """A method trains an encoder and offers `embed_*`; its subclass is the paper's idea.

    Args:
        lr: peak learning rate.
        weight_decay: decay on weights with two or more dimensions; biases and norms have none. With "adamw" it is
            multiplied by the learning rate, and with "sgd" it joins the gradient, which comes to the same.
        optimizer: "adamw", "adam" (whose decay joins the gradient, before the moments), "adafactor" (AdamW with less
            memory, see `Adafactor`), "sgd" (see `sgd_momentum`), or "lars", "larc" (its clipped form, see `LARS`)
            and "lamb" (Adam with steps as long as the tensors, see `LAMB`), which adapt the tensors that decay.
        schedule: what follows the warm-up, stepped once a batch.
        warmup: share of all steps over which the learning rate rises linearly, in [0, 1].
        decay_all: biases, norms and temperatures decay too, as PyTorch's and fairseq's optimizers have it by default.
        beta2: of Adam, AdamW and LAMB, how slowly their second moment forgets.
        eps: of Adam, AdamW and LAMB, added to the root of the second moment.
        eta: of "lars" and "larc", the trust coefficient.
        sgd_momentum: of "sgd"; 0 for plain steps, as word vectors are trained by.
        layer_decay: factor on the learning rate from each layer of an encoder to the one below, in (0, 1], see
            `layer_rates`; for fine-tuning.
        freeze_norms: the normalization layers of the encoders are not trained, and go by their running statistics.

    Raises:
        UserError: one of these, or a `temperature` among the subclass's arguments, is out of range.
    """

    contrastive: ClassVar[bool] = False
    """Whether the loss compares the samples of a batch, so that a smaller batch is another objective."""
    # A class that gains an argument after runs were recorded names it here: see `harness.records.identity`.
    added_later: ClassVar[dict[str, Any]] = {
        **{"decay_all": False, "beta2": 0.999, "eps": 1e-8, "eta": 1e-3},
        **{"layer_decay": 1.0, "freeze_norms": False, "sgd_momentum": 0.9},
    }

    if TYPE_CHECKING:

        @property
        def trainer(self) -> _Trainer: ...
        @trainer.setter
        def trainer(self, trainer: L.Trainer | None) -> None: ...

    def __init__(
        self,
        *,
        lr: float = 1e-3,
        weight_decay: float = 0.0,
        optimizer: Literal["adamw", "adam", "sgd", "adafactor", "lars", "larc", "lamb"] = "adamw",
        schedule: Schedule = "cosine",
        warmup: float = 0.0,
        decay_all: bool = False,
        beta2: float = 0.999,
        eps: float = 1e-8,
        eta: float = 1e-3,
        layer_decay: float = 1.0,
        freeze_norms: bool = False,
        sgd_momentum: float = 0.9,
    ) -> None:
        super().__init__()
        # Collects the arguments of the subclasses too; plain values, so a checkpoint loads with weights_only=True.
        self.save_hyperparameters()
        temperature = self.hparams.get("temperature", 1.0)
        for name, value, allowed, right in (
            ("lr", lr, "at least 0", lr >= 0),
            ("weight_decay", weight_decay, "at least 0", weight_decay >= 0),
            ("warmup", warmup, "from 0 to 1", 0 <= warmup <= 1),
            ("temperature", temperature, "above 0", temperature > 0),
            ("sgd_momentum", sgd_momentum, "at least 0 and below 1", 0 <= sgd_momentum < 1),
            ("layer_decay", layer_decay, "above 0 and at most 1", 0 < layer_decay <= 1),
        ):
            if not right:
                raise UserError(f"model.{name} is {value}; it must be {allowed}")
        self.lr = lr
        self.weight_decay = weight_decay
        self.optimizer = optimizer
        self.schedule = schedule
        self.warmup = warmup
        self.decay_all = decay_all
        self.beta2, self.eps, self.eta = beta2, eps, eta
        self.inputs: dict[str, list[int]] = {}
        """Shapes of what it was trained on, see `inputs_of`; checkpoints have them, to make raw data alike."""
        self.layer_decay, self.freeze_norms = layer_decay, freeze_norms
        self.sgd_momentum = sgd_momentum
        self._frozen_norms: list[nn.Module] = []
        self._loader_states: list[dict[str, Any]] = []
        self._random_state: RandomState | None = None
        self._unread: list[tuple[int, tuple[str, ...], Tensor]] = []

    def key(self, purpose: str, *, per_process: bool = False) -> tuple[int, ...]:
        """What random numbers of this training step depend on, for `common.random` and all that takes a key.

        Args:
            purpose: what they are for, such as "masks"; each purpose has numbers of its own.
            per_process: draw other numbers on each process. Numbers that belong to a sample need it not: `uniform`
                takes the sample's id, and they are to be the same on any number of processes.

        Returns:
            The run's seed, the step, the purpose as a number and, if asked for, the rank of the process.
        """
        rank = (self.global_rank,) if per_process else ()
        return torch.initial_seed() % (1 << 63), self.global_step, zlib.crc32(purpose.encode()), *rank

    def training_ids(self) -> Tensor:
        """The id of each sample that is trained on, int64 (n,), for `PerSample.cover`; from `setup` on.

        Raises:
            UserError: the data are no benchmark, or one that does not know them.
        """
        if self.trainer.datamodule is None:
            raise UserError(f"{type(self).__name__} keeps a state for each sample; train it on a benchmark")
        return self.trainer.datamodule.training_ids()

    def task_starts(self) -> list[int]:
        """The step, from 0, at which each task of the data begins; from `setup` on."""
        return [0] if self.trainer.datamodule is None else self.trainer.datamodule.task_starts()

    def configure_model(self) -> None:
        """Freezes the encoders' norms, before a strategy looks at what is trained.

        Raises:
            UserError: they are to be frozen, and there are none.
        """
        if self.freeze_norms and not self._frozen_norms:
            self._frozen_norms = norms(self)
            if not self._frozen_norms:
                raise UserError(f"model.freeze_norms is true; no encoder of {type(self).__name__} has a norm")
            for norm in self._frozen_norms:
                norm.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "Method":
        """Frozen norms stay in eval mode."""
        super().train(mode)
        for norm in self._frozen_norms:
            norm.eval()
        return self

    def on_fit_start(self) -> None:
        """Refuses gradient accumulation with a contrastive loss, which would meet fewer negatives than it seems to.

        Raises:
            UserError: `contrastive` and an `accumulate_grad_batches` above 1.
        """
        schedules = [c.scheduling for c in self.trainer.callbacks if isinstance(c, GradientAccumulationScheduler)]
        batches = max(self.trainer.accumulate_grad_batches, *(n for s in schedules for n in s.values()), 1)
        if self.contrastive and batches > 1:
            raise UserError(
                f"trainer.accumulate_grad_batches is {batches}; {type(self).__name__} must have 1, as a sample meets "
                "only the negatives of its own batch. For a large batch in little memory raise data.batch_size and "
                "embed in chunks with common.training.grad_cache.cached_forward"
            )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._check_finite()  # no checkpoint is taken of weights that have gone wrong
        checkpoint["random_state"] = capture(self.device)._asdict()
        checkpoint["inputs"] = self.inputs

    # `estimated_stepping_batches` makes Lightning build the training loader before it restores the loops, and a loader
    # that is there already never gets its state: without the two hooks a run resumed in the middle of an epoch would
    # begin that epoch's data again.
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        loop = checkpoint.get("loops", {}).get("fit_loop", {}).get("state_dict", {})
        self._loader_states = loop.get("combined_loader", [])
        self.inputs = checkpoint.get("inputs", {})
        if "random_state" in checkpoint:
            self._random_state = RandomState(**checkpoint["random_state"])

    def on_train_start(self) -> None:
        loader: Any = self.trainer.train_dataloader
        for state in self._loader_states:
            if hasattr(loader, "load_state_dict"):
                loader.load_state_dict(state)
        self._loader_states = []
        # All processes go on from the state of the one that saved: they were seeded alike and draw as much. A run that
        # is resumed on another kind of device draws other numbers in any case.
        if self._random_state is not None and self._random_state.device_type == self.device.type:
            restore(self._random_state)
        self._random_state = None

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Refuses a benchmark whose batches are of another kind than `training_step` is annotated with.

        Raises:
            WrongBatch: says what the method reads and what the benchmark gives.
        """
        kinds = batches_read(self) if batch_idx == 0 else ()
        if kinds and not isinstance(batch, kinds):
            here = f"the benchmark {self.trainer.datamodule.name}" if self.trainer.datamodule else "the data"
            reads, gives = " or ".join(map(_described, kinds)), _described(type(batch))
            names = " | ".join(kind.__name__ for kind in kinds)  # as the annotation is written
            raise WrongBatch(f"{type(self).__name__} reads {reads}; {here} gives {gives}", names)
        if batch_idx == 0:
            self.inputs = inputs_of(batch)

    def optimizer_step(self, *arguments, **keywords) -> None:
        # Not at the end of the batch: a checkpoint taken there would hold the follower of the step before.
        super().optimizer_step(*arguments, **keywords)
        self.follow()

    def follow(self) -> None:
        """Moves what follows the weights after each of their steps, such as a teacher; by default there is nothing.

        `global_step` does not count that step yet.
        """

    def log_loss(self, loss: Tensor, **terms: Tensor) -> Tensor:
        """Logs the loss and its terms and returns the loss.

        Whether they are finite is looked up at the logging interval, when a checkpoint is taken and in the end, for all
        steps since in one read: a read at every step would make a GPU wait for each of them.

        Raises:
            NonFiniteLoss: names the first step, since the last look, and the first term that is NaN or infinite.
        """
        terms = {**{name: term.detach() for name, term in terms.items()}, "loss": loss.detach()}
        self._unread.append((self.global_step, tuple(terms), torch.stack([term.float() for term in terms.values()])))
        # Without a trainer, in a loop of one's own, there is no logging interval: every loss is looked at.
        if self._trainer is None or (self.global_step + 1) % (self.trainer.log_every_n_steps or 1) == 0:
            self._check_finite()
        for name, term in terms.items():
            self.log(f"train/{name}", term, prog_bar=name == "loss", batch_size=1)
        return loss

    def _check_finite(self) -> None:
        unread, self._unread = self._unread, []
        if not unread or torch.stack([values.isfinite().all() for _, _, values in unread]).all():
            return
        for step, names, values in unread:
            for name, value in zip(names, values.tolist(), strict=True):
                if not math.isfinite(value):
                    raise NonFiniteLoss(
                        f"step {step}: the term '{name}' is {value}; lower the learning rate (model.lr)"
                    )

    def on_train_end(self) -> None:
        self._check_finite()

    def parameter_groups(self) -> list[dict]:
        """What the optimizer is given; a subclass may part the groups further and give one an `lr` of its own."""
        parameters = [p for p in self.parameters() if p.requires_grad]
        least = 0 if self.decay_all else 2
        return [
            {"params": [p for p in parameters if p.ndim >= least], "weight_decay": self.weight_decay},
            {"params": [p for p in parameters if p.ndim < least], "weight_decay": 0.0},
        ]

    def rate_factor(self, total: int) -> Callable[[int], float]:
        """What the learning rate is multiplied by at each of `total` steps; a subclass may begin anew in between."""
        return warmup_decay(total, self.warmup, self.schedule)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        groups = self.parameter_groups()
        if self.layer_decay < 1:
            rates = layer_rates(self, self.layer_decay)
            if not rates:
                raise UserError(
                    f"model.layer_decay is {self.layer_decay}; {type(self).__name__} has no encoder in layers"
                )
            groups = with_layer_rates(groups, rates, self.lr)
        optimizer: torch.optim.Optimizer
        match self.optimizer:
            case "adamw":
                optimizer = torch.optim.AdamW(groups, lr=self.lr, betas=(0.9, self.beta2), eps=self.eps)
            case "adam":
                optimizer = torch.optim.Adam(groups, lr=self.lr, betas=(0.9, self.beta2), eps=self.eps)
            case "adafactor":
                optimizer = Adafactor(groups, lr=self.lr)
            case "sgd":
                optimizer = torch.optim.SGD(groups, lr=self.lr, momentum=self.sgd_momentum)
            case "lars" | "larc" | "lamb":
                groups = [g | {"adapt": self.decay_all or all(p.ndim >= 2 for p in g["params"])} for g in groups]
                if self.optimizer == "lamb":
                    optimizer = LAMB(groups, lr=self.lr, betas=(0.9, self.beta2), eps=self.eps)
                else:
                    optimizer = LARS(groups, lr=self.lr, eta=self.eta, clip=self.optimizer == "larc")
        total = self.trainer.estimated_stepping_batches
        if math.isinf(total) and (self.schedule, self.warmup) != ("constant", 0):
            raise UserError(
                f"model.schedule is '{self.schedule}' and model.warmup {self.warmup}; where time alone ends the "
                "training, how many steps it has is unknown, and they must be 'constant' and 0"
            )
        factor = self.rate_factor(0 if math.isinf(total) else int(total))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": LambdaLR(optimizer, factor), "interval": "step"},
        }

    def validation_step(self, split: str, batch_idx: int) -> None:
        self._score(split)

    def test_step(self, split: str, batch_idx: int) -> None:
        self._score(split)

    def _score(self, split: str) -> None:
        benchmark = self.trainer.datamodule
        assert benchmark is not None, "validation and test take a benchmark for their datamodule"
        metrics = benchmark.evaluate(self, split)
        self.log_dict({f"{split}/{name}": value for name, value in metrics.items()}, batch_size=1)
