"""SupCon with a ReLU before the normalization (Kini et al. 2024): under imbalance the classes stay symmetric."""

from typing import Literal

from torch import Tensor, nn

from common.encoders.image import to_float
from common.errors import UserError
from common.sampling.labels import BatchBindingSampler
from data.benchmarks.bases.images import AugmentedImages
from papers.classification.supcon.module import SupCon

LAST = {"relu": nn.ReLU, "softplus": nn.Softplus, "none": nn.Identity}


class SymmetricSupCon(SupCon):
    """SupCon's loss over projections that are at least 0; these unit vectors are the representation.

    A row of projections that are all 0 stays 0, without a gradient.

    Args:
        last: what the projection head ends in, before the normalization: "relu"; "softplus", which is above 0 and
            never 0; or "none", as in SupCon.
        binding: one picture of each class, drawn by the seed, is in every batch, see `BatchBindingSampler`.
        projection_dim: at least as many as there are classes, so that an orthogonal frame has room.
        others: as in `SupCon`.

    Raises:
        UserError: another end of the head; or batches are to be bound on data that are no pictures in memory.
    """

    def __init__(
        self,
        *,
        last: Literal["relu", "softplus", "none"] = "relu",
        binding: bool = False,
        projection_dim: int = 64,
        **others,
    ) -> None:
        super().__init__(projection_dim=projection_dim, **others)
        if last not in LAST:
            raise UserError(f"model.last is {last!r}; it must be one of {', '.join(LAST)}")
        self.network.head.append(LAST[last]())
        self.binding = binding

    def setup(self, stage: str) -> None:
        if stage != "fit" or not self.binding:
            return
        benchmark = self.trainer.datamodule
        if not isinstance(benchmark, AugmentedImages):
            raise UserError("model.binding is true; it puts together the batches of a benchmark of pictures in memory")
        benchmark.setup()
        benchmark.sampler = BatchBindingSampler(benchmark.train.labels, benchmark.batch_size, benchmark.seed)

    def embed_image(self, pixels: Tensor) -> Tensor:
        return self.network(to_float(pixels))
