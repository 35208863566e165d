"""Garments before noise, first without labels and then a few with them: a ground for fine-tuning."""

import math

import torch
from torch import Tensor, nn

from common.augmentation import ImageAugmentation
from common.batches import Images
from common.benchmark import Metrics
from common.errors import UserError
from common.evaluation.calibration import classifier_scores
from common.evaluation.class_means import scatter
from common.evaluation.classes import class_chance, class_metrics
from common.evaluation.embed import embed_dataset
from common.evaluation.probe import linear_probe_metrics
from common.protocols import ClassifiesImage, EmbedsImage
from common.sampling.batches import GlobalBatchSampler
from common.sampling.tasks import PartLastSampler
from data.benchmarks.bases.images import Pictures, RawPixels, classified, stratified
from data.benchmarks.mini.placed_fashion import PlacedFashion
from data.sources.fashion_mnist import FASHION_MNIST

_LABELLED = 3
"""Key of which pictures have a label."""
_AT_ONCE = 500


class PlacedShots(PlacedFashion):
    """The garments of `placed_fashion`, 20,000 of them without labels and a few with: 5,000 val, 10,000 test.

    A run is one epoch: `unlabelled_steps` batches of all training pictures, whose labels are hidden (-1), then
    `labelled_steps` batches of those that have one. The seed draws both. The second task, of `task_starts`, is the
    tuning; its pictures come in one view, augmented more mildly, since what is scored is not augmented at all.

    Args:
        shots: pictures of each class that have a label.
        unlabelled_steps: batches without labels; 0 starts with those that have them.
        labelled_steps: batches with labels.
        tuning_crop: smallest share of the area that a crop keeps in the second task, whose pictures are mirrored
            besides as those of the first, and no more.
        kwargs: as in `PlacedFashion`, but for the switches of classes and tasks; views, crop and the like are those of
            the first task.
    """

    name = "placed_shots"
    sources = (FASHION_MNIST,)
    primary = "probe_ridge/top1"

    def __init__(
        self,
        *,
        shots: int = 50,
        unlabelled_steps: int = 600,
        labelled_steps: int = 400,
        tuning_crop: float = 0.7,
        batch_size: int = 64,
        flip: float = 0.5,
        **kwargs,
    ) -> None:
        super().__init__(
            batch_size=batch_size,
            flip=flip,
            class_count=10,
            long_tail=1.0,
            tasks=1,
            task_epochs=1,
            colour=False,
            coarse=False,
            **kwargs,
        )
        least = {"shots": 1, "unlabelled_steps": 0, "labelled_steps": 1}
        given = {"shots": shots, "unlabelled_steps": unlabelled_steps, "labelled_steps": labelled_steps}
        for key, value in given.items():
            if value < least[key]:
                raise UserError(f"data.{key} is {value}; it must be at least {least[key]}")
        if shots > min(self.class_sizes):
            raise UserError(f"data.shots is {shots}; a class has {min(self.class_sizes)} pictures to train on")
        self.shots, self.unlabelled_steps, self.labelled_steps = shots, unlabelled_steps, labelled_steps
        self.tuning = ImageAugmentation(crop=tuning_crop, flip=flip)
        self.labelled = Pictures(*(torch.empty(0),) * 3)
        """The pictures with labels, from `setup` on."""

    def load(self) -> dict[str, Pictures]:
        return {name: part for name, part in super().load().items() if name != "gallery"}

    def build(self) -> None:
        super().build()
        self.labelled = stratified(self.train, [self.shots], _LABELLED, self.seed)[0]

    def order(self) -> GlobalBatchSampler:
        part = torch.isin(self.train.ids, self.labelled.ids).nonzero().flatten()
        steps = dict(whole_batches=self.unlabelled_steps, part_batches=self.labelled_steps)
        return PartLastSampler(len(self.train.ids), part, self.batch_size, self.seed, **steps)

    def task_starts(self) -> list[int]:
        return [0, self.unlabelled_steps] if self.unlabelled_steps else [0]

    def moment(self) -> int:
        """The step, since a run is one epoch."""
        return self.trainer.global_step if self.trainer is not None else 0

    def augmented(self, batch: Pictures, epoch: int) -> Images:
        if epoch < self.unlabelled_steps:
            images = super().augmented(batch, epoch)
            return images._replace(labels=torch.full_like(images.labels, -1))
        view = self.tuning(batch.pixels.float() / 255, batch.ids, self.seed, epoch, 0)
        return Images(view[None], batch.labels, batch.ids)

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """As `class_metrics`, the pictures with labels being the gallery.

        Returns:
            These; `class_means/scatter` of the split, see `scatter`; and if the module classifies `classifier/...`, see
            `classifier_metrics`.

        Raises:
            UserError: the module does not offer `embed_image`, or there is no such split.
        """
        self.setup()
        self.check_request(module, split, EmbedsImage)
        part = self.splits[split]
        known, asked = (self._embedded(module, some) for some in (self.labelled, part))
        metrics = class_metrics(known, self.labelled.labels, asked, part.labels)
        metrics["class_means/scatter"] = scatter(asked, part.labels)
        if isinstance(module, ClassifiesImage):
            metrics |= classifier_scores(lambda name: classified(module, self.splits[name]), split)
        return metrics

    def _embedded(self, module: nn.Module, part: Pictures) -> Tensor:
        return embed_dataset(self.offered(module, EmbedsImage).embed_image, part.pixels, _AT_ONCE, module).cpu()

    def floor(self) -> dict[str, Metrics]:
        """Chance, and the protocol on raw pixels, of a classifier a logistic regression on the pictures with labels."""
        self.setup()
        chance = class_chance(10, self.shots) | {"class_means/scatter": 1.0, "classifier/top1": 0.1}
        chance |= dict.fromkeys(("classifier/log_likelihood", "classifier/log_likelihood_scaled"), -math.log(10))
        pixels, test = self.evaluate(RawPixels()), self.splits["test"]
        rows = (RawPixels().embed_image(part.pixels) for part in (self.labelled, test))
        known, asked = rows
        found = linear_probe_metrics(known, self.labelled.labels, asked, test.labels)
        return {"chance": chance, "raw pixels": pixels | {f"classifier/{name}": value for name, value in found.items()}}

    def settings(self) -> tuple:
        return *super().settings(), self.shots
