"""Metrix (Venkataramanan et al. 2022): metric learning on mixtures, in part a positive and in part a negative."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.batches import Images
from common.checks import check_number
from common.distributed import Shards, gather, shards
from common.encoders.image import ImageEncoderName, image_encoder, to_float
from common.encoders.norms import ReplacedBatchNorm, with_global_statistics
from common.errors import UserError
from common.losses import contrastive_margin, multi_similarity
from common.random import uniform
from common.sampling.mixup import AnchoredPairs, Mixture, anchor_negative, beta, positive_negative
from common.training.method import Method
from papers.classification.metrix.mixed import mixed_contrastive, mixed_multi_similarity, mixed_pools


class Metrix(Method):
    """A loss on pairs of labelled examples, and the same on anchors and mixtures of a positive with a negative.

    L = L_clean + weight * L_mixed. A coin decides in each step whether positives are mixed with negatives, or anchors
    themselves; one share is drawn for all mixtures of a step.

    Args:
        encoder: a name that `image_encoder` knows, of an encoder with a feature map.
        channels: colour channels of the images.
        width: channels of the small network's first stage.
        weights: file with the weights to start from, for "imagenet_resnet50".
        frozen_norms: batch normalization keeps the statistics that it starts with; its weights are trained.
        embedding_dim: width of the embeddings, which the loss compares and `embed_image` returns, of unit length.
        loss: "contrastive", see `contrastive_margin`, or "multi_similarity", see there.
        margin: of "contrastive", a distance; of "multi_similarity", the base similarity.
        pull, push: of "multi_similarity".
        level: what is mixed: "input" pictures, the last "feature" map, "embed"dings, or "none".
        weight: of the mixed loss.
        alpha: the share of a mixture's first part is of Beta(alpha, alpha).
        lone: of the anchors, only those alone in their class are mixed with negatives.
        rounded: "share" mixes nothing, since a share is 0 or 1; "label" mixes, but a mixture is wholly a positive or
            wholly a negative; "none" is the method.
        optimization: the arguments of `Method`.

    Raises:
        UserError: the encoder has no feature map, or a number is out of range.
    """

    contrastive = True

    def __init__(
        self,
        *,
        encoder: ImageEncoderName = "small_resnet",
        channels: int = 1,
        width: int = 16,
        weights: str | None = None,
        frozen_norms: bool = False,
        embedding_dim: int = 64,
        loss: Literal["contrastive", "multi_similarity"] = "contrastive",
        margin: float = 0.5,
        pull: float = 2.0,
        push: float = 50.0,
        level: Literal["none", "input", "feature", "embed"] = "feature",
        weight: float = 0.4,
        alpha: float = 2.0,
        lone: bool = True,
        rounded: Literal["none", "share", "label"] = "none",
        **optimization,
    ) -> None:
        super().__init__(**optimization)
        for name, value in {"margin": margin, "weight": weight}.items():
            check_number(f"model.{name}", value, least=0)
        for name, value in {"alpha": alpha, "pull": pull, "push": push}.items():
            check_number(f"model.{name}", value, above=0)
        network = image_encoder(encoder, channels, width, weights=weights)
        if not hasattr(network, "map"):
            raise UserError(f"model.encoder is {encoder!r}; it has no feature map to pool or to mix")
        self.encoder = with_global_statistics(network)
        self.head = nn.Linear(network.output_dim, embedding_dim)
        nn.init.kaiming_normal_(self.head.weight, mode="fan_out")
        nn.init.zeros_(self.head.bias)
        self.norms = [part for part in self.encoder.modules() if frozen_norms and isinstance(part, ReplacedBatchNorm)]
        self.loss, self.level, self.lone, self.rounded = loss, level, lone, rounded
        self.weight, self.alpha, self.margin = weight, alpha, margin
        self.hardness = {"pull": pull, "push": push, "base": margin}

    def train(self, mode: bool = True) -> "Metrix":
        super().train(mode)
        for norm in self.norms:
            norm.eval()
        return self

    def pooled(self, features: Tensor) -> Tensor:
        """Unit vectors, (n, embedding_dim), of the mean and the maximum of feature maps, (n, c, h, w)."""
        return self.embedded(features.mean(dim=(2, 3)) + features.amax(dim=(2, 3)))

    def embedded(self, pools: Tensor) -> Tensor:
        return F.normalize(self.head(pools), dim=1)

    def training_step(self, batch: Images, batch_idx: int) -> Tensor:
        pixels, labels = batch.views.flatten(0, 1), batch.labels.repeat(len(batch.views))
        features = self.encoder.map(pixels)
        embeddings = self.pooled(features)
        if self.loss == "contrastive":
            clean = contrastive_margin(embeddings, labels, margin=self.margin)
        else:
            clean = multi_similarity(embeddings, labels, **self.hardness)
        if self.level == "none":
            return self.log_loss(clean)
        mixed = self.mixed(pixels, features, embeddings, labels)
        return self.log_loss(clean + self.weight * mixed, clean=clean, mixed=mixed)

    def mixed(self, pixels: Tensor, features: Tensor, embeddings: Tensor, labels: Tensor) -> Tensor:
        """The loss of this process's anchors against mixtures of the whole batch's rows."""
        layout = shards(len(labels), labels.device)
        pairs, times = self.pairs(gather(labels, layout), embeddings, layout)
        own = (pairs.anchor >= layout.own.start) & (pairs.anchor < layout.own.stop)
        step = torch.zeros(1, dtype=torch.int64, device=labels.device)
        share = beta(step, 1, self.alpha, self.alpha, *self.key("share")).flatten().to(embeddings.dtype)
        positive = share if self.rounded == "none" else share.round()
        share = positive if self.rounded == "share" else share
        first, second = pairs.first[own], pairs.second[own]
        mixture = Mixture(first, second, share.expand(len(first)))
        if self.level == "embed":
            vectors = F.normalize(mixture.of(gather(embeddings, layout)), dim=1)
        elif self.level == "feature":
            vectors = self.embedded(mixed_pools(mixture, gather(features, layout)))
        else:
            vectors = self.pooled(self.encoder.map(mixture.of(gather(pixels, layout))))
        owner = pairs.anchor[own] - layout.start
        given = embeddings[owner], vectors, positive.expand(len(first))
        if self.loss == "contrastive":
            return mixed_contrastive(*given, margin=self.margin, weight=times[own])
        return mixed_multi_similarity(*given, owner, **self.hardness)

    def pairs(self, labels: Tensor, embeddings: Tensor, layout: Shards) -> tuple[AnchoredPairs, Tensor]:
        """What is mixed in this step, of the labels of all processes, and how often each pair counts."""
        of_anchors = bool(uniform(torch.zeros(1, dtype=torch.int64), 1, *self.key("kind")) >= 0.5)
        if self.level == "input":  # where each mixture goes through the encoder: with the nearest negative alone
            pairs = (
                anchor_negative(labels, lone=self.lone)
                if of_anchors
                else positive_negative(labels, every_positive=True)
            )
            with torch.no_grad():
                every = gather(embeddings, layout)
                scores = (every @ every.T).masked_fill(labels[:, None] == labels, -torch.inf)
            nearest = pairs.second == scores.argmax(dim=1)[pairs.anchor]
            pairs = AnchoredPairs(*(column[nearest] for column in pairs))
        else:
            pairs = anchor_negative(labels, lone=self.lone) if of_anchors else positive_negative(labels)
        # The released list of an anchor's mixtures is there once for each of its positives.
        positives = (labels[:, None] == labels).sum(dim=1) - 1
        once = of_anchors or self.level == "input"
        times = torch.ones_like(pairs.anchor) if once else positives[pairs.anchor]
        return pairs, times.to(embeddings.dtype)

    def embed_image(self, pixels: Tensor) -> Tensor:
        return self.pooled(self.encoder.map(to_float(pixels)))
