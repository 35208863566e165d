"""G-SimCLR (Chakraborty et al. 2020): SimCLR in batches whose images are of different pseudo labels."""

from itertools import pairwise
from typing import Literal

import torch
from sklearn.cluster import KMeans
from torch import Tensor, nn

from common.batches import Images
from common.distributed import gather, shards
from common.encoders.heads import Projected
from common.errors import UserError
from common.losses import nt_xent
from common.sampling.batches import GlobalBatchSampler
from common.sampling.company import RankedLabelSampler, SameSamplesSampler, same_label_share
from common.sampling.labels import DistinctLabelSampler
from data.benchmarks.bases.images import AugmentedImages
from data.benchmarks.own.image_folder import ImageFolder
from papers.vision_ssl.g_simclr.autoencoder import learnt_codes
from papers.vision_ssl.simclr.module import SimCLR

Company = Literal["guided", "ranked", "random", "oracle", "together"]


class GSimCLR(SimCLR):
    """The loss is SimCLR's; before it an autoencoder and k-means give pseudo labels, by which batches are put together.

    Args:
        clusters: pseudo labels; as many as images in a batch, as published.
        company: who meets whom in a batch. "guided": each image of another cluster, so that an epoch is as long as the
            smallest cluster allows. "ranked": as released, see `RankedLabelSampler`. The others draw the images that
            "guided" draws, as often as it does: "random" in any order, "oracle" so that true classes repeat as little
            as can be, and "together" so that images of a batch are of one cluster, if it can be.
        autoencoder_width: channels of its first convolution.
        autoencoder_steps: how long it is trained.
        hidden: widths of the hidden layers of a projection head without normalization; none takes SimCLR's head.
        temperature, others: as in `SimCLR`.
    """

    def __init__(
        self,
        *,
        clusters: int = 64,
        company: Company = "guided",
        autoencoder_width: int = 32,
        autoencoder_steps: int = 1000,
        hidden: tuple[int, ...] = (),
        temperature: float = 0.1,
        **others,
    ) -> None:
        super().__init__(temperature=temperature, **others)
        for name, value in (("clusters", clusters), ("autoencoder_width", autoencoder_width)):
            if value < 1:
                raise UserError(f"model.{name} is {value}; it must be at least 1")
        if hidden:
            output = self.hparams["projection_dim"]
            self.network = Projected(self.network.encoder, output, lambda i, o: relu_mlp(i, *hidden, o))
        self.clusters, self.company = clusters, company
        self.autoencoder_width, self.autoencoder_steps = autoencoder_width, autoencoder_steps

    def setup(self, stage: str) -> None:
        if stage != "fit":
            return
        benchmark = self.trainer.datamodule
        if not isinstance(benchmark, AugmentedImages | ImageFolder):
            raise UserError("GSimCLR puts together the batches of a benchmark of pictures in memory; train it on one")
        benchmark.setup()
        labels = self.pseudo_labels(benchmark.train.pixels.to(self.trainer.strategy.root_device))
        benchmark.sampler = self.batches(labels, benchmark.train.labels, benchmark.batch_size, benchmark.seed)

    def pseudo_labels(self, pixels: Tensor) -> Tensor:
        """The cluster of each picture, int64 (n,), the same on all processes; pixels uint8."""
        if len(pixels) < self.clusters:
            raise UserError(f"model.clusters is {self.clusters}; there are {len(pixels)} pictures")
        seed = self.key("pseudo labels")[0]
        codes = learnt_codes(pixels, width=self.autoencoder_width, steps=self.autoencoder_steps, seed=seed)
        labels = clusters_of(codes, self.clusters).to(pixels.device)
        # Another processor may round otherwise; what the first has found counts for all.
        return gather(labels, shards(len(labels), labels.device))[: len(labels)].cpu()

    def batches(self, labels: Tensor, classes: Tensor, batch_size: int, seed: int) -> GlobalBatchSampler:
        """Who meets whom, by pseudo labels and, for the oracle, true classes, both (n,)."""
        if self.company == "ranked":
            return RankedLabelSampler(labels, batch_size, seed)
        guided = DistinctLabelSampler(labels, batch_size, seed)
        match self.company:
            case "random":
                return SameSamplesSampler(guided)
            case "oracle":
                return SameSamplesSampler(guided, classes)
            case "together":
                return SameSamplesSampler(guided, labels, together=True)
        return guided

    def training_step(self, batch: Images, batch_idx: int) -> Tensor:
        view_a, view_b = self.network(batch.views.flatten(0, 1)).chunk(2)
        loss = nt_xent(view_a, view_b, temperature=self.temperature)
        return self.log_loss(loss, false_negatives=same_label_share(batch.labels))


def clusters_of(codes: Tensor, count: int) -> Tensor:
    """k-means as released, the best of ten starts: the cluster of each row, int64 (n,), on the CPU; codes (n, d)."""
    return torch.from_numpy(KMeans(count, n_init=10, random_state=0).fit(codes.cpu().numpy()).labels_).long()


def relu_mlp(*widths: int) -> nn.Sequential:
    """Linear maps with ReLU between them."""
    layers = [part for pair in pairwise(widths) for part in (nn.Linear(*pair), nn.ReLU())]
    return nn.Sequential(*layers[:-1])
