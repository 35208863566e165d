"""iSogCLR (Qiu et al. 2023): each image learns a temperature of its own, and small batches estimate a global loss."""

import math

import torch
from torch import Tensor

from common.batches import Images
from common.checks import check_number
from common.distributed import Exchange, global_mean
from common.encoders.heads import Projected, normalized_mlp
from common.encoders.image import ImageEncoderName, image_encoder, to_float
from common.encoders.norms import with_global_statistics
from common.errors import UserError
from common.random import uniform
from common.sampling.per_sample import PerSample
from common.scores import Scores
from common.training.method import Method

_TAU = 2
"""The column of an image's state: log u, the averaged slope, tau, and log u at a lent temperature."""


class ISogCLR(Method):
    """Robust global contrast: the views of an image share a temperature tau, the multiplier of its KL constraint.

    Kept of each image: log u, where u is a moving average over its visits of the mean of exp(s / tau) over its
    negatives; a moving average of the slope of its loss in tau; and tau, which goes down that slope.

    Args:
        encoder: a name that `image_encoder` knows, such as "deep_convnet_batch" or "cifar_resnet18".
        channels: colour channels of the images.
        width: channels of the small network's first stage.
        hidden_dims: hidden widths of the projection head; by default one, the encoder's.
        projection_dim: width of the projections that the loss compares.
        temperature: tau at the start.
        least, most: bounds of tau.
        temperature_lr: of tau; 0 leaves all at the start, which is SogCLR.
        rho: how far the weights of the negatives are from equal ones (KL) once tau has settled; more makes it smaller.
        gamma: weight of this batch in u.
        beta: weight of this batch in the average of the slopes.
        clip: slopes are cut to within this of 0.
        from_zero: u starts at 0, so that a first visit weighs 1 / gamma times too much; else at what the visit finds.
        shuffled: an image is contrasted at the temperature of another, always the same, while each learns as it would:
            the same temperatures, none in its place.
        optimization: the arguments of `Method`.
    """

    contrastive = True

    def __init__(
        self,
        *,
        encoder: ImageEncoderName = "small_resnet",
        channels: int = 1,
        width: int = 16,
        hidden_dims: list[int] | None = None,
        projection_dim: int = 64,
        temperature: float = 0.1,
        least: float = 0.05,
        most: float = 1.0,
        temperature_lr: float = 0.03,
        rho: float = 0.4,
        gamma: float = 0.8,
        beta: float = 0.5,
        clip: float = 3.0,
        from_zero: bool = False,
        shuffled: bool = False,
        **optimization,
    ) -> None:
        super().__init__(**optimization)
        check_number("model.least", least, above=0, most=temperature)
        check_number("model.most", most, least=temperature)
        check_number("model.temperature_lr", temperature_lr, least=0)
        check_number("model.rho", rho, least=0)
        check_number("model.gamma", gamma, above=0, most=1)
        check_number("model.beta", beta, above=0, most=1)
        tower = image_encoder(encoder, channels, width)
        hidden = hidden_dims or [tower.output_dim]
        network = Projected(tower, projection_dim, lambda inputs, outputs: normalized_mlp(inputs, *hidden, outputs))
        self.network = with_global_statistics(network)
        self.state = PerSample(4, start=self.first_states)
        self.register_buffer("others", torch.empty(0, dtype=torch.int64), persistent=False)
        self.temperature, self.least, self.most, self.temperature_lr = temperature, least, most, temperature_lr
        self.rho, self.gamma, self.beta, self.clip = rho, gamma, beta, clip
        self.from_zero, self.shuffled = from_zero, shuffled

    def setup(self, stage: str) -> None:
        if stage == "fit":
            ids = self.training_ids()
            self.state.cover(ids)
            seed, _, purpose = self.key("other images")  # not by the step: as before in a run that is resumed
            order = uniform(ids.sort().values, 1, seed, purpose).flatten().argsort(stable=True)
            self.others = torch.empty_like(order).index_copy(0, order, order.roll(1)).to(self.device)

    def first_states(self, ids: Tensor) -> Tensor:
        return torch.tensor([[-math.inf, 0.0, self.temperature, -math.inf]], dtype=torch.float64).repeat(len(ids), 1)

    def training_step(self, batch: Images, batch_idx: int) -> Tensor:
        view_a, view_b = self.network(torch.cat(batch.pair())).chunk(2)
        return self.log_loss(self.contrast(view_a, view_b, batch.ids))

    def contrast(self, view_a: Tensor, view_b: Tensor, ids: Tensor) -> Tensor:
        """The loss of unit vectors of two views of the images `ids`, (n, projection_dim), whose states then move."""
        log_u, slope, tau, log_u_lent = self.state.read(ids).unbind(1)
        value, log_u, slopes = self.compare(view_a, view_b, ids, tau, log_u)
        slope = torch.lerp(slope, slopes.clamp(-self.clip, self.clip), self.beta)
        if self.shuffled:
            lent = self.state.at(self.others[self.state.places(ids)])[:, _TAU]
            value, log_u_lent, _ = self.compare(view_a, view_b, ids, lent, log_u_lent)
        tau = (tau - self.temperature_lr * slope).clamp(self.least, self.most)
        self.state.write(ids, torch.stack([log_u, slope, tau, log_u_lent], dim=1))
        return value

    def compare(
        self, view_a: Tensor, view_b: Tensor, ids: Tensor, tau: Tensor, log_u: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The loss at given temperatures, and of each image its moved log u and its slope in tau, both (n,)."""
        views, images, taus = torch.cat([view_a, view_b]), ids.repeat(2), tau.repeat(2)
        scores = Scores(views, views, scale=1 / taus, exchange=Exchange.GATHER)
        if scores.shape[1] < 4:
            raise UserError("data.batch_size is 1; it must be at least 2, since an image is compared with others")
        scores = scores.exclude(scores.equal(images, images))
        total = scores.logsumexp(dim=1)
        log_g = total - math.log(scores.shape[1] - 2)
        with torch.no_grad():
            before = log_u.repeat(2)
            if not self.from_zero:
                before = before.where(before > -math.inf, log_g)
            kept, new = log_g.new_tensor([1 - self.gamma, self.gamma]).log()
            moved = torch.logaddexp(before + kept, log_g + new)
            weight = (log_g - moved).exp()
            drawn = weight * scores.sum(lambda s, t: (s - t).exp() * s, rows=[total])
        # With exp(s / tau) / u as constant weights the mean of s has the gradient of tau g / u log g, g / u constant.
        push = taus * (drawn + weight * (log_g - log_g.detach()))
        pull = Scores(view_a, view_b).diagonal().repeat(2)
        slopes = (moved + self.rho - drawn).view(2, -1).mean(dim=0)
        return 2 * global_mean(push - pull), moved.view(2, -1).logsumexp(dim=0) - math.log(2), slopes

    def sample_temperature(self, ids: Tensor) -> Tensor:
        if not len(self.state):
            return torch.full((len(ids),), self.temperature)
        return self.state.read(ids)[:, _TAU]

    def embed_image(self, pixels: Tensor) -> Tensor:
        return self.network.encoder(to_float(pixels))
