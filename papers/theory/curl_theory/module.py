"""Contrast of latent classes (Arora et al. 2019): samples that come together are of one class, which nobody names."""

from typing import Literal

import torch
from torch import Tensor, nn

from common.batches import Images, LabelledVectors
from common.distributed import world_size
from common.encoders.image import ImageEncoderName, image_encoder, to_float
from common.encoders.norms import with_global_statistics
from common.encoders.vector import VectorTower
from common.errors import UserError
from common.losses import block_contrast
from common.sampling.latent_classes import LatentClassSampler
from common.training.method import Method
from data.benchmarks.bases.images import AugmentedImages
from data.benchmarks.mini.newsgroups_tasks import NewsgroupsTasks


class CURL(Method):
    """An anchor is to be nearer to the mean of a block of samples like it than to that of a block of other samples.

    A batch is a row of groups of samples that share a class; which one, the loss does not know. Each sample of a group
    is the anchor in turn, and those behind it in the group are its block; the blocks of the groups behind, at the same
    places, are the negatives. Features are linear in the last layer, without normalization and without a temperature,
    as the bounds have them.

    Args:
        encoder: "vector_tower" for vectors, see `VectorTower`; for pictures a name that `image_encoder` knows.
        channels: entries of the vectors, or colour channels of the images.
        width: of the vector tower's hidden layer, or channels of the small network's first stage.
        dim: of the features.
        similar: samples in a group.
        block: b, how many of them stand for the class beside the anchor, at most one less; 1 is the pairwise loss.
        apart: each of them has a loss of its own, and the mean is taken of the losses.
        negatives: K, how many other blocks an anchor meets.
        form: of the loss, see `block_contrast`.
        optimization: the arguments of `Method`.

    Raises:
        UserError: the block is larger than the group allows, or the benchmark does not let groups be put together.
    """

    contrastive = True

    def __init__(
        self,
        *,
        encoder: ImageEncoderName | Literal["vector_tower"] = "vector_tower",
        channels: int = 5000,
        width: int = 128,
        dim: int = 64,
        similar: int = 6,
        block: int = 5,
        apart: bool = False,
        negatives: int = 1,
        form: Literal["logistic", "hinge"] = "logistic",
        **optimization,
    ) -> None:
        super().__init__(**optimization)
        if not 1 <= block < similar:
            raise UserError(f"model.block is {block}; it must be from 1 to {similar - 1}, one less than model.similar")
        vectors = encoder == "vector_tower"
        tower = VectorTower(channels, width) if vectors else image_encoder(encoder, channels, width)
        self.network = with_global_statistics(nn.Sequential(tower, nn.Linear(tower.output_dim, dim)))
        self.similar, self.block, self.apart = similar, block, apart
        self.negatives, self.form = negatives, form

    def setup(self, stage: str) -> None:
        if stage != "fit":
            return
        data = self.trainer.datamodule
        if not isinstance(data, AugmentedImages | NewsgroupsTasks):
            raise UserError("CURL puts together groups of one class; train it on pictures in memory or on posts")
        if data.batch_size % (self.similar * world_size()):
            raise UserError(
                f"data.batch_size is {data.batch_size}; each of {world_size()} processes must have a multiple of "
                f"{self.similar} of it, so that none has a part of a group"
            )
        data.setup()
        groups = data.batch_size // self.similar
        if self.negatives >= groups:
            raise UserError(f"model.negatives is {self.negatives}; a batch has {groups} groups, and it must be fewer")
        data.sampler = LatentClassSampler(data.train.labels, data.batch_size, self.similar, data.seed)

    def training_step(self, batch: Images | LabelledVectors, batch_idx: int) -> Tensor:
        groups = self.network(batch.views[0]).unflatten(0, (-1, self.similar))
        losses = []
        for turned in (groups.roll(-place, dims=1) for place in range(self.similar)):
            block = turned[:, 1 : 1 + self.block]
            for part in block.split(1 if self.apart else self.block, dim=1):
                losses.append(block_contrast(turned[:, 0], part, negatives=self.negatives, form=self.form))
        return self.log_loss(torch.stack(losses).mean())

    def embed_vectors(self, x: Tensor) -> Tensor:
        return self.network(x)

    def embed_image(self, pixels: Tensor) -> Tensor:
        return self.network(to_float(pixels))
