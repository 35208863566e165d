"""Core-tuning (Zhang et al. 2021): fine-tuning that is contrastive too, and on mixed features."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.batches import Images
from common.checks import check_classes, check_number
from common.distributed import global_mean
from common.encoders.heads import Projected, ProjectionHead
from common.encoders.image import ImageEncoderName, image_encoder, to_float
from common.encoders.norms import with_global_statistics
from common.errors import UserError
from common.losses import focal_sup_con, nt_xent
from common.training.late import average_gradients, awake, rates_anew
from common.training.method import Method
from papers.classification.core_tuning.mixed import Mining, Rows, mixed_rows


class CoreTuning(Method):
    """Cross-entropy plus a focal supervised contrastive loss, over the features of a batch and mixtures of them.

    L = mean of the soft cross-entropy + weight * L_con, over the rows of `mixed_rows`: [z; z_neg; z_pos]. The first
    view is tuned on. Where the data begin with a task without labels, that is SimCLR; head and optimizer begin anew
    after it.

    Args:
        classes: number of classes.
        encoder: a name that `image_encoder` knows, whose features are at least 0, as "deep_convnet_batch".
        channels: colour channels of the images.
        width: channels of the small network's first stage.
        weights: file with the weights to start from, for "imagenet_resnet50".
        side: pictures are enlarged to so many pixels a side; none leaves them.
        projection_dim: width of the projections that the contrastive terms compare.
        mining: which features z_pos mixes: "hardest", of its class the farthest and of the others the nearest;
            "released", as the released code finds them, see `released_pairs`; "random" ones of the same and of another
            class; "none" leaves out all mixtures, z_neg too.
        detached: z itself teaches the encoder nothing, but for what is mixed of it, as released.
        mean_over, gamma, temperature: of the contrastive term, see `focal_sup_con`; SupCon at a gamma of 0.
        weight: of the contrastive term; 0 is fine-tuning by cross-entropy.
        alpha: shares of mixtures are of Beta(alpha, alpha).
        pretraining_lr, pretraining_temperature: of the task without labels; warm-up and schedule are as in the tuning.
        optimization: the arguments of `Method`, for the tuning.

    Raises:
        UserError: a number is out of range, or nothing would teach the encoder.
    """

    contrastive = True

    def __init__(
        self,
        *,
        classes: int = 10,
        encoder: ImageEncoderName = "deep_convnet_batch",
        channels: int = 1,
        width: int = 16,
        weights: str | None = None,
        side: int | None = None,
        projection_dim: int = 64,
        mining: Mining = "hardest",
        detached: bool = False,
        mean_over: Literal["positives", "all"] = "positives",
        gamma: float = 1.0,
        temperature: float = 0.07,
        weight: float = 1.0,
        alpha: float = 1.0,
        pretraining_lr: float = 0.01,
        pretraining_temperature: float = 0.2,
        **optimization,
    ) -> None:
        super().__init__(**optimization)
        for name, value in {"gamma": gamma, "weight": weight}.items():
            check_number(f"model.{name}", value, least=0)
        above = {"lr": self.lr, "pretraining_lr": pretraining_lr, "pretraining_temperature": pretraining_temperature}
        for name, value in (above | {"alpha": alpha}).items():
            check_number(f"model.{name}", value, above=0)
        check_number("model.side", side, least=1)
        if detached and mining == "none":
            raise UserError("model.detached is true; with model.mining 'none' no mixture would teach the encoder")
        tower = image_encoder(encoder, channels, width, weights=weights)
        self.network = with_global_statistics(Projected(tower, projection_dim, ProjectionHead))
        self.classifier = nn.Linear(tower.output_dim, classes, bias=False)
        self.classes, self.side = classes, side
        self.mining, self.detached = mining, detached
        self.contrast = {"temperature": temperature, "gamma": gamma, "mean_over": mean_over}
        self.weight, self.alpha = weight, alpha
        self.pretraining_lr, self.pretraining_temperature = pretraining_lr, pretraining_temperature
        self.starts = [0]

    def setup(self, stage: str) -> None:
        if stage == "fit":
            self.starts = self.task_starts()
            self.classifier.requires_grad_(len(self.starts) == 1)  # until there are labels

    def rate_factor(self, total: int) -> Callable[[int], float]:
        factor, ratio = rates_anew(self.starts, total, self.warmup, self.schedule), self.pretraining_lr / self.lr
        return lambda step: factor(step) * (ratio if step < self.starts[-1] else 1.0)

    def parameter_groups(self) -> list[dict]:
        with awake(self.classifier.parameters()):
            return super().parameter_groups()

    def on_after_backward(self) -> None:
        if len(self.starts) > 1:
            average_gradients(self.classifier.parameters())

    def training_step(self, batch: Images, batch_idx: int) -> Tensor:
        if self.global_step < self.starts[-1]:
            view_a, view_b = self.network(self.enlarged(batch.views.flatten(0, 1))).chunk(2)
            return self.log_loss(nt_xent(view_a, view_b, temperature=self.pretraining_temperature))
        if self.global_step == self.starts[-1]:
            check_classes(batch.labels, self.classes)
            if len(self.starts) > 1:
                self.begin()
        self.classifier.requires_grad_(True)
        features = self.network.encoder(self.enlarged(batch.views[0]))
        classify, contrast = self.terms(self.rows(features, batch.labels, batch.ids))
        return self.log_loss(classify + self.weight * contrast, classify=classify, contrast=contrast)

    def begin(self) -> None:
        """After the pre-training nothing is left of it but the encoder; the head is drawn alike on all processes."""
        seed, _, purpose = self.key("head")
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed((seed + purpose) % (1 << 63))
            fresh = ProjectionHead(self.network.head[0].in_features, self.network.head[2].out_features)
        self.network.head.load_state_dict(fresh.state_dict())
        optimizer = self.optimizers()
        assert not isinstance(optimizer, list)
        optimizer.state.clear()

    def rows(self, features: Tensor, labels: Tensor, ids: Tensor) -> Rows:
        """See `mixed_rows`, whose arguments these are."""
        found = mixed_rows(features, labels, ids, self.classes, self.mining, self.alpha, *self.key("mixtures"))
        taught = len(labels) if self.detached else 0
        return found._replace(features=torch.cat([found.features[:taught].detach(), found.features[taught:]]))

    def terms(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """The soft cross-entropy and the contrastive term over rows of all processes."""
        logits = self.classifier(rows.features)
        classify = global_mean(F.cross_entropy(logits, rows.targets.to(logits.dtype), reduction="none"))
        projections = F.normalize(self.network.head(rows.features), dim=1)
        return classify, focal_sup_con(projections, rows.kinds, **self.contrast)

    def enlarged(self, pixels: Tensor) -> Tensor:
        return pixels if self.side is None else F.interpolate(pixels, self.side, mode="bicubic").clamp(0, 1)

    def embed_image(self, pixels: Tensor) -> Tensor:
        return self.network.encoder(self.enlarged(to_float(pixels)))

    def classify_image(self, pixels: Tensor) -> Tensor:
        return self.classifier(self.embed_image(pixels))
