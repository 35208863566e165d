"""The base of grounds for self-supervision: pictures to learn from, and a gallery of known class to score by."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from common.batches import Images
from common.benchmark import Metrics, digest
from common.errors import UserError
from common.evaluation.classes import class_chance, class_metrics, ridge_accuracy
from common.evaluation.continual import continual_metrics
from common.evaluation.embed import embed_dataset
from common.evaluation.geometry import tolerance, uniformity_metric
from common.evaluation.means import Mean, by_group
from common.evaluation.similarity import spearman
from common.protocols import EmbedsImage, ProjectsImage, TempersSamples
from common.random import uniform
from common.sampling.batches import GlobalBatchSampler
from common.sampling.tasks import TaskSequenceSampler
from common.table import take
from data.benchmarks.bases.images import AugmentedImages, Pictures, RawPixels

_RARE, _TASK = 1, 2
"""Keys of what the seed draws about classes."""
_DRAWN = 2
"""Key of which pictures are trained on."""
_AT_ONCE = 500


class GalleryImages(AugmentedImages):
    """Learns from views without labels; classes are asked of a gallery that no method trains on, by `class_metrics`.

    The seed draws what is trained on. The gallery, the validation and the test pictures are the same for every seed,
    and balanced whatever the switches do to the training pictures.

    Args:
        train_size: pictures to train on, of all classes together.
        class_count: how many of the classes there are, the first ones; the others are neither trained on nor scored.
        long_tail: how many times rarer the rarest class is than the commonest; class sizes fall geometrically and sum
            to `train_size`. The seed draws which classes are rare. 1 is balanced.
        tasks: the classes are parted into so many tasks, drawn by the seed and trained on one after the other; 1 trains
            on all at once. A run is one epoch then.
        task_epochs: passes over a task before the next one begins.
        others: as in `AugmentedImages`.
    """

    primary = "probe_ridge/top1"
    most_classes: ClassVar[int]
    """How many there are."""
    most_per_class: ClassVar[int]
    """Pictures of a class that there are to train on."""
    by_class: ClassVar[bool] = False
    """Whether the items of a mean are the classes and not the pictures: where the pictures of one are known or missed
    together, they are no independent evidence."""

    def __init__(
        self,
        *,
        train_size: int,
        class_count: int,
        long_tail: float,
        tasks: int,
        task_epochs: int,
        **others,
    ) -> None:
        super().__init__(**others)
        if not 2 <= class_count <= self.most_classes:
            raise UserError(f"data.class_count is {class_count}; it must be from 2 to {self.most_classes}")
        if not long_tail >= 1:
            raise UserError(f"data.long_tail is {long_tail}; it must be at least 1, which is balanced")
        if not (tasks >= 1 and class_count % tasks == 0 and class_count > tasks):
            parts = [part for part in range(1, class_count) if class_count % part == 0]
            raise UserError(
                f"data.tasks is {tasks}; it must part the {class_count} classes evenly, two at least in each: "
                f"{', '.join(map(str, parts))}"
            )
        if task_epochs < 1:
            raise UserError(f"data.task_epochs is {task_epochs}; it must be at least 1")
        self.class_count, self.train_size, self.long_tail = class_count, train_size, long_tail
        self.tasks, self.task_epochs = tasks, task_epochs
        ranks = uniform(torch.arange(class_count), 1, self.seed, _RARE).flatten().argsort(stable=True)
        self.rarity = ranks.argsort()
        """The place of each class from the commonest to the rarest, drawn whether or not there is a long tail."""
        self.class_sizes = self._sizes(self.rarity)
        """Training pictures of each class."""
        order = uniform(torch.arange(class_count), 1, self.seed, _TASK).flatten().argsort(stable=True).argsort()
        self.task_of = order * tasks // class_count
        """The task of each class, int64, shape (class_count,)."""
        self._ends: list[dict[str, Tensor]] = []

    def _sizes(self, ranks: Tensor) -> list[int]:
        """Of each class, given its place from the commonest to the rarest: whole numbers that sum to `train_size`."""
        falling = torch.arange(self.class_count, dtype=torch.float64) / (self.class_count - 1)
        weights = self.long_tail**-falling
        most = int(self.most_per_class * weights.sum())
        least = int(-(-weights.sum() // weights[-1]))
        tail = f" with data.long_tail {self.long_tail}" if self.long_tail > 1 else ""
        if not least <= self.train_size <= most:
            raise UserError(
                f"data.train_size is {self.train_size}; of {self.class_count} classes{tail} it must be from {least} to "
                f"{most}"
            )
        ends = (weights.cumsum(0) / weights.sum() * self.train_size).round().long()
        sizes = ends.diff(prepend=ends.new_zeros(1)).clamp(1, self.most_per_class)
        return sizes[ranks].tolist()

    def kept(self, part: Pictures) -> Pictures:
        return part if self.class_count == self.most_classes else take(part, part.labels < self.class_count)

    def drawn(self, train: Pictures) -> Pictures:
        """As many pictures of each class as `class_sizes` says; the seed draws which."""
        order = uniform(train.ids, 1, _DRAWN, self.seed).flatten().argsort(stable=True)
        of_class = [order[train.labels[order] == label] for label in range(self.class_count)]
        drawn = [rows[:size] for rows, size in zip(of_class, self.class_sizes, strict=True)]
        return take(train, torch.cat(drawn).sort().values)

    def order(self) -> GlobalBatchSampler:
        if self.tasks == 1:
            return super().order()
        tasks = self.task_of[self.train.labels]
        return TaskSequenceSampler(tasks, self.batch_size, self.seed, passes=self.task_epochs)

    def task_starts(self) -> list[int]:
        self.setup()
        order = self.order()
        return order.starts if isinstance(order, TaskSequenceSampler) else super().task_starts()

    def moment(self) -> int:
        """The step where tasks follow one another: a run is one epoch then, and a task is passed over several times."""
        return self.trainer.global_step if self.tasks > 1 and self.trainer is not None else super().moment()

    def augmented(self, batch: Pictures, epoch: int) -> Images:
        if self.tasks > 1 and self.trainer is not None:
            self._look_back(int(self.task_of[int(batch.labels[0])]), self.trainer.lightning_module)
        return super().augmented(batch, epoch)

    def _look_back(self, task: int, module: nn.Module) -> None:
        """Keeps the weights as they are at the end of each task, which `evaluate` scores when the last one is over."""
        del self._ends[task:]
        if task > len(self._ends):
            self._ends.append({name: x.detach().cpu().clone() for name, x in module.state_dict().items()})

    def state_dict(self) -> dict[str, Any]:
        """For checkpoints: a run that is resumed still knows the ends of its first tasks."""
        return {"ends": self._ends} if self.tasks > 1 else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._ends = list(state.get("ends", []))

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """As `class_metrics`, the rows being embedded pictures; with `by_class` a mean has an item for each class.

        Returns:
            Of a module that keeps a temperature for each training picture also `temperature/spearman`, see
            `spearman`: of these with the place of the picture's class from the rarest to the commonest, which the seed
            draws; where there is no long tail, the place that the class would have. Of one that projects pictures also
            `uniformity/projections` and `tolerance/projections`, see `uniformity_metric` and `tolerance`. With
            several tasks also
            `continual/...` of `probe_ridge/top1`, see `continual_metrics`, where `module` was
            trained on this benchmark; what was not is the same after every task.

        Raises:
            UserError: the module does not offer `embed_image`, or there is no such split.
        """
        self.setup()
        self.check_request(module, split, EmbedsImage)
        if split not in self.splits:
            raise UserError(f"split is {split!r}; {self.name} has none but 'test'")
        metrics = class_metrics(*self._rows(module, split))
        if self.tasks > 1:
            metrics |= self._continual(module, split, metrics[self.primary])
        if isinstance(module, ProjectsImage):
            metrics |= self._projections(module, split)
        metrics = self._grouped(metrics, self.splits[split].labels)
        return metrics | self._temperatures(module) if isinstance(module, TempersSamples) else metrics

    def _grouped(self, metrics: Metrics, classes: Tensor) -> Metrics:
        """The same values; with `by_class` the items of means over samples, whose classes are given, are by class."""
        if not self.by_class:
            return metrics
        return {name: by_group(x, classes) if isinstance(x, Mean) else x for name, x in metrics.items()}

    def _continual(self, module: nn.Module, split: str, of_last: float) -> Metrics:
        """See `continual_metrics`; the primary metric of the end is known."""
        hits, last = [], {name: x.clone() for name, x in module.state_dict().items()}
        for end in self._ends:
            # A method may have taken on parts since, such as the network of the task before; they embed nothing.
            module.load_state_dict(end, strict=False)
            # The primary metric alone: the others take sixty times as long.
            hits.append(ridge_accuracy(*self._rows(module, split)).items)
        module.load_state_dict(last)
        assert isinstance(of_last, Mean)
        hits += [of_last.items] * (self.tasks - len(hits))
        found = continual_metrics(torch.stack(hits), self.task_of[self.splits[split].labels])
        return {f"continual/{name}": value for name, value in found.items()}

    def _rows(self, module: nn.Module, split: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What `class_metrics` takes: embeddings and labels of the gallery, and of a split."""
        embed_image = self.offered(module, EmbedsImage).embed_image
        parts = [self.splits["gallery"], self.splits[split]]
        gallery, rows = (embed_dataset(embed_image, part.pixels, _AT_ONCE, module).cpu() for part in parts)
        return gallery, parts[0].labels, rows, parts[1].labels

    def _projections(self, module: nn.Module, split: str) -> Metrics:
        project_image, part = self.offered(module, ProjectsImage).project_image, self.splits[split]
        rows = embed_dataset(project_image, part.pixels, _AT_ONCE, module).cpu()
        return {
            "uniformity/projections": uniformity_metric(rows),
            "tolerance/projections": tolerance(rows, part.labels),
        }

    def _temperatures(self, module: TempersSamples) -> Metrics:
        """Whether a picture's temperature goes with how common its class is, or would be with a long tail."""
        rarity = self.rarity[self.train.labels]
        # The items, pictures or classes, stand in the order of the tail, in which place i is as common for every seed.
        order = rarity.argsort(stable=True)
        found = module.sample_temperature(self.train.ids[order]).detach().double().cpu()
        return self._grouped({"temperature/spearman": spearman(found, -rarity[order])}, rarity[order])

    def floor(self) -> dict[str, Metrics]:
        """Chance, and the protocol on the raw pixels."""
        self.setup()
        pixels = self.evaluate(RawPixels())
        chance = class_chance(self.class_count, len(self.splits["gallery"].ids) // self.class_count)
        for name in pixels.keys() - chance.keys():
            chance[name] = 0.0 if name == "continual/forgetting" else 1 / self.class_count
        return {"chance": chance, "raw pixels": pixels}

    def used(self) -> list[Pictures]:
        """What is scored on, the same for every seed; what the seed draws follows from the settings."""
        return [part for name, part in self.splits.items() if name != "train"]

    def settings(self) -> tuple[Any, ...]:
        """What decides, beside the seed, what is trained on and scored."""
        return self.class_count, self.train_size, self.long_tail, self.tasks

    def fingerprint(self) -> str:
        return digest(super().fingerprint(), self.settings())
