"""Of the authors' study of pictures: SimCLR without negative cosines, on CIFAR-10 with one class undersampled."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.batches import Images
from common.benchmark import Metrics
from common.checks import check_number
from common.distributed import Exchange, global_mean
from common.errors import UserError
from common.evaluation.embed import embed_dataset
from common.random import uniform
from common.scores import Scores
from data.benchmarks.bases.images import Pictures, take
from data.benchmarks.published.cifar import Cifar10
from papers.theory.cl_harm.module import LEAST, clamped_logsumexp
from papers.vision_ssl.simclr.module import SimCLR


class ClampedSimCLR(SimCLR):
    """NT-Xent over cosines of which none is below 0, so that nothing is pushed beyond a right angle.

    Args:
        hidden_dim: width of the projection head's hidden layer, which has no normalization.
        simclr: the other arguments of `SimCLR`.
    """

    def __init__(self, *, hidden_dim: int = 2048, **simclr) -> None:
        super().__init__(**simclr)
        check_number("model.hidden_dim", hidden_dim, least=1)
        width, projection_dim = self.network.encoder.output_dim, self.hparams.get("projection_dim", 64)
        layers = nn.Linear(width, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, projection_dim)
        self.network.head = nn.Sequential(*layers)

    def training_step(self, batch: Images, batch_idx: int) -> Tensor:
        return self.log_loss(self.contrast(*self.network(torch.cat(batch.pair())).chunk(2)))

    def contrast(self, view_a: Tensor, view_b: Tensor) -> Tensor:
        """The loss of unit vectors of two views, (n, projection_dim) each."""
        views, scale = torch.cat([view_a, view_b]), 1 / self.temperature
        scores = Scores(views, views, scale=scale, exchange=Exchange.GATHER)
        push = clamped_logsumexp(scores.exclude(scores.own()), scale)
        pull = Scores(view_a, view_b, scale=scale).diagonal().clamp(min=LEAST * scale).repeat(2)
        return global_mean(push - pull)


class UndersampledCifar10(Cifar10):
    """CIFAR-10 of which one class has lost most of its training pictures; probes are fitted on balanced ones.

    Args:
        minority: the class's name.
        factor: how many times fewer pictures it has; the seed draws which.
        lost: which pictures are left out: those of the "minority", or as many of "any" class, the control.
        others: as in `Cifar10`.
    """

    name = "cifar10_undersampled"

    def __init__(
        self,
        minority: str = "automobile",
        factor: float = 100.0,
        lost: Literal["minority", "any"] = "minority",
        **others,
    ) -> None:
        super().__init__(**others)
        if minority not in self.classes:
            raise UserError(f"data.minority is {minority!r}; it must be one of {', '.join(self.classes)}")
        check_number("data.factor", factor, least=1)
        if lost not in ("minority", "any"):
            raise UserError(f"data.lost is {lost!r}; it must be 'minority' or 'any'")
        self.minority, self.factor, self.lost = self.classes.index(minority), factor, lost

    def labelled_set(self, seed: int) -> Pictures:
        """What methods train on."""
        found = super().labelled_set(seed)
        order = uniform(found.ids, 1, 33, seed).flatten().argsort(stable=True)
        own = order[found.labels[order] == self.minority]
        gone = len(own) - int(len(own) / self.factor)
        left = torch.ones(len(order), dtype=torch.bool)
        left[(own if self.lost == "minority" else order)[:gone]] = False
        return take(found, left)

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """Also `pair_cosine/CLASS`, the mean cosine of a minority's and a class's picture, over all pairs.

        The authors' representation harm is (1 - it) of an undersampled run over (1 - it) of a whole one, of means over
        seeds: below 1 the minority has moved towards the class.
        """
        metrics = super().evaluate(module, split)
        test = self.splits[split]
        rows = F.normalize(embed_dataset(module.embed_image, test.pixels, 512, module).cpu(), dim=1)
        means = torch.stack([rows[test.labels == label].mean(dim=0) for label in range(len(self.classes))])
        found = means @ means[self.minority]
        return metrics | {f"pair_cosine/{name}": float(x) for name, x in zip(self.classes, found, strict=True)}
