"""Supervised and unsupervised contrast, weighed (Xue et al. 2023): which features a linear encoder learns."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.batches import Images, LabelledVectors
from common.checks import check_number
from common.encoders.heads import ProjectionHead
from common.encoders.image import ImageEncoderName, image_encoder, to_float
from common.encoders.norms import with_global_statistics
from common.errors import UserError
from common.losses import nt_xent, spectral_contrastive, sup_con
from common.training.method import Method


class JointContrast(Method):
    """by_label times the loss whose positives are of one class, and the rest of the weight on that of one sample.

    The encoder of the theory is one matrix that starts near 0, under the spectral loss; pictures have a network.

    Args:
        encoder: "linear" for vectors; for pictures a name that `image_encoder` knows, such as "cifar_resnet18".
        channels: entries of the vectors, or colour channels of the pictures.
        width: channels of the small network's first stage; a matrix has none.
        dim: of the embeddings, p in the paper; under a network that of the projections.
        by_label: the weight of the supervised loss, beta, in [0, 1]; at 0 labels are not looked at.
        form: "spectral", or "softmax", which is SupCon and SimCLR over unit vectors.
        start: standard deviation of the entries of Wx for x of length 1 before training; for the matrix alone.
        temperature: of the softmax.
        optimization: the arguments of `Method`.
    """

    contrastive = True

    def __init__(
        self,
        *,
        encoder: ImageEncoderName | Literal["linear"] = "linear",
        channels: int = 2000,
        width: int = 16,
        dim: int = 4,
        by_label: float = 0.5,
        form: Literal["spectral", "softmax"] = "spectral",
        start: float = 1e-3,
        temperature: float = 0.1,
        **optimization,
    ) -> None:
        super().__init__(**optimization)
        check_number("model.by_label", by_label, least=0, most=1)
        check_number("model.start", start, above=0)
        if dim < 1:
            raise UserError(f"model.dim is {dim}; it must be at least 1")
        if form not in ("spectral", "softmax"):
            raise UserError(f"model.form is {form!r}; it must be 'spectral' or 'softmax'")
        if encoder == "linear":
            self.encoder: nn.Module = nn.Identity()
            self.head: nn.Module = nn.Linear(channels, dim, bias=False)
            nn.init.normal_(self.head.weight, std=start)
        else:
            network = image_encoder(encoder, channels, width)
            self.encoder = with_global_statistics(network)
            self.head = ProjectionHead(network.output_dim, dim)
        self.by_label, self.form, self.temperature = by_label, form, temperature

    def training_step(self, batch: Images | LabelledVectors, batch_idx: int) -> Tensor:
        one, other = self.head(self.encoder(torch.cat(batch.pair()))).chunk(2)
        terms = self.terms(one, other, batch.labels)
        weights = {"supervised": self.by_label, "unsupervised": 1 - self.by_label}
        return self.log_loss(torch.stack([weights[name] * term for name, term in terms.items()]).sum(), **terms)

    def terms(self, one: Tensor, other: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The losses whose weight is not 0, of two views of samples with these labels, (n, dim) each."""
        terms = {}
        if self.form == "softmax":
            one, other = F.normalize(one, dim=1), F.normalize(other, dim=1)
        if self.by_label > 0 and self.form == "spectral":
            terms["supervised"] = spectral_contrastive(one, other, ids=labels)
        elif self.by_label > 0:
            terms["supervised"] = sup_con(torch.cat([one, other]), labels.repeat(2), temperature=self.temperature)
        if self.by_label < 1 and self.form == "spectral":
            terms["unsupervised"] = spectral_contrastive(one, other)
        elif self.by_label < 1:
            terms["unsupervised"] = nt_xent(one, other, temperature=self.temperature)
        return terms

    def embed_vectors(self, x: Tensor) -> Tensor:
        """W x, (n, dim)."""
        return self.head(self.encoder(x))

    def embed_image(self, pixels: Tensor) -> Tensor:
        """What stands below the projections."""
        return self.encoder(to_float(pixels))
