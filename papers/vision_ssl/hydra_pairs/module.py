"""Hydra, later SimLAP (Wu et al. 2024): any two classes are positives of each other, inside a gate of their pair."""

from typing import Literal

import torch
from torch import Tensor, nn

from common.batches import Images
from common.checks import check_classes, check_number
from common.encoders.heads import Projected, normalized_mlp
from common.encoders.image import ImageEncoderName, image_encoder, to_float
from common.encoders.norms import with_global_statistics
from common.losses import class_pairs
from common.random import uniform
from common.sampling.partners import permuted
from common.training.method import Method


class PairGate(nn.Module):
    """Which dimensions a pair of classes shares: from the mean of two embeddings, so that the order does not matter.

    Args:
        classes: how many there are.
        width: dimensions of what is gated.
        embedding_dim: width of a class's embedding.
        hidden_dim: width of the hidden layer.
    """

    def __init__(self, classes: int, width: int, *, embedding_dim: int = 512, hidden_dim: int = 1024) -> None:
        super().__init__()
        self.embedding = nn.Embedding(classes, embedding_dim)
        self.body = nn.Sequential(
            *(nn.ReLU(), nn.BatchNorm1d(embedding_dim), nn.Linear(embedding_dim, hidden_dim)),
            *(nn.ReLU(), nn.BatchNorm1d(hidden_dim), nn.Linear(hidden_dim, width), nn.Sigmoid()),
        )

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Maps classes, (n,) and (n,), to gates in (0, 1), (n, width)."""
        return self.body((self.embedding(first) + self.embedding(second)) / 2)


class HydraPairs(Method):
    """Each sample is drawn to all samples of a partner class, under the gate of the pair; see `class_pairs`.

    Batch normalization, of which there is some in head and gate under any encoder, goes by the whole batch on all
    processes.

    Args:
        encoder: a name that `image_encoder` knows, such as "deep_convnet_batch" or "cifar_resnet18".
        channels: colour channels of the images.
        width: channels of the small network's first stage.
        hidden_dim: hidden width of the projector.
        projection_dim: width of the projections that the loss compares, and of the gate.
        layer_norm: the projector ends in a layer normalization, as released.
        classes: of the labels, which are 0 to classes - 1.
        pairs: the partner class of a sample: "arbitrary", the label of another sample by a random permutation of the
            batch; "distinct", a class other than its own; "identical", its own.
        gate: "pair", of the two classes; "own", of the sample's class alone; "none", all ones.
        gate_dim: width of a class's embedding in the gate.
        gate_hidden_dim: width of the gate's hidden layer.
        renormalize: cosines inside the gate; without it unit vectors are gated, and logits shrink with the gate.
        temperature: divides the similarities.
        optimization: the arguments of `Method`.
    """

    contrastive = True

    def __init__(
        self,
        *,
        encoder: ImageEncoderName = "small_convnet",
        channels: int = 1,
        width: int = 32,
        hidden_dim: int = 128,
        projection_dim: int = 64,
        layer_norm: bool = True,
        classes: int = 10,
        pairs: Literal["arbitrary", "distinct", "identical"] = "arbitrary",
        gate: Literal["pair", "own", "none"] = "pair",
        gate_dim: int = 128,
        gate_hidden_dim: int = 256,
        renormalize: bool = True,
        temperature: float = 0.1,
        **optimization,
    ) -> None:
        super().__init__(**optimization)
        check_number("model.classes", classes, least=2)

        def head(inputs: int, outputs: int) -> nn.Module:
            return nn.Sequential(
                normalized_mlp(inputs, hidden_dim, outputs), nn.LayerNorm(outputs) if layer_norm else nn.Identity()
            )

        network = Projected(image_encoder(encoder, channels, width), projection_dim, head)
        self.network = with_global_statistics(network)
        if gate != "none":
            opening = PairGate(classes, projection_dim, embedding_dim=gate_dim, hidden_dim=gate_hidden_dim)
            self.opening = with_global_statistics(opening)
        self.classes, self.pairs, self.gate = classes, pairs, gate
        self.renormalize, self.temperature = renormalize, temperature

    def training_step(self, batch: Images, batch_idx: int) -> Tensor:
        if batch_idx == 0:
            check_classes(batch.labels, self.classes)
        embeddings = self.network(batch.views.flatten(0, 1))
        labels = batch.labels.repeat(len(batch.views))  # views are stacked whole, one after the other
        partners = self.partners(labels, batch.ids)
        given, terms = {"temperature": self.temperature, "renormalize": self.renormalize}, {}
        if self.gate != "none":
            given["gates"] = gates = self.opening(labels, partners if self.gate == "pair" else labels)
            # What tells a gate that has shut, or opened for every pair: 1 and 0 have no entropy.
            entropy = torch.distributions.Bernoulli(gates, validate_args=False).entropy()
            terms = {"gate": gates.mean(), "gate_entropy": entropy.mean()}
        return self.log_loss(class_pairs(embeddings, labels, partners, **given), **terms)

    def partners(self, labels: Tensor, ids: Tensor) -> Tensor:
        """The partner class of each row, (views * n,), given the labels of the rows and the ids of the n images."""
        if self.pairs == "identical":
            return labels
        views = len(labels) // len(ids)
        draws = uniform(ids, 2 * views, *self.key("partners")).unflatten(1, (views, 2)).transpose(0, 1).flatten(0, 1)
        if self.pairs == "arbitrary":
            return permuted(labels, draws)
        return (labels + 1 + (draws[:, 0] * (self.classes - 1)).long()) % self.classes

    def embed_image(self, pixels: Tensor) -> Tensor:
        return self.network.encoder(to_float(pixels))
