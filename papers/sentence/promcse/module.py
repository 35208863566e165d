"""PromCSE (Jiang et al. 2022): SimCSE with a frozen language model and a prefix prompt, and an energy-based hinge."""

from torch import Tensor, nn
from torch.nn import functional as F

from common.batches import SentenceTriplets
from common.checks import check_number
from common.encoders.prefix import PrefixedBody
from common.errors import UserError
from common.losses import pairwise_hinge
from papers.sentence.simcse.module import SimCSE


def frozen(encoder: nn.Module, prefix: int) -> None:
    """Trains nothing of the encoder, or nothing but so many keys and values before the text in each layer.

    Raises:
        UserError: the prefix leaves no room for the longest text of training.
    """
    if prefix:
        encoder.body = PrefixedBody(encoder.body, prefix)
        if encoder.max_length > (left := encoder.positions):
            raise UserError(f"model.max_length is {encoder.max_length}; a prefix of {prefix} leaves {left} positions")
    else:
        encoder.requires_grad_(False)


class PromCSE(SimCSE):
    """Unsupervised SimCSE of which the prefix and the head are trained; the noise is the frozen model's dropout.

    Args:
        prefix: length of the prompt in each layer; 0 leaves the head alone, which needs `linear` to be of any use.
        linear: in place of linear layer and tanh a linear map, which stays on for `embed_text`: a control that is
            frozen, too, and has no prompt.
        others: the arguments of `SimCSE` and `Method`.
    """

    def __init__(self, *, prefix: int = 16, linear: bool = False, **others) -> None:
        super().__init__(**others)
        frozen(self.encoder, prefix)
        self.linear = linear
        if linear:
            self.head = nn.Linear(self.encoder.width, self.encoder.width)
            nn.init.eye_(self.head.weight)
            nn.init.zeros_(self.head.bias)

    def embed_text(self, texts: list[str]) -> Tensor:
        vectors = super().embed_text(texts)
        return self.head(vectors) if self.linear else vectors


class SupervisedPromCSE(SimCSE):
    """Supervised SimCSE with a frozen model and prefix, and a hinge on the most offending of all other candidates.

    Args:
        prefix: as in `PromCSE`; 0 trains the whole model, as SimCSE does.
        weight: of the hinge.
        margin: by which the cosine with the positive is to exceed that with any other candidate.
        others: the arguments of `SimCSE` and `Method`. As in supervised SimCSE, contradictions are hard negatives, and
            the head stays on.
    """

    def __init__(self, *, prefix: int = 16, weight: float = 10.0, margin: float = 0.2, **others) -> None:
        super().__init__(**others)
        check_number("model.weight", weight, least=0)
        check_number("model.margin", margin, least=0)
        if prefix:
            frozen(self.encoder, prefix)
        self.weight, self.margin = weight, margin

    def training_step(self, batch: SentenceTriplets, batch_idx: int) -> Tensor:
        return self.log_loss(self.contrast_triplets(batch, hard_negatives=True))

    def contrast(self, query: Tensor, key: Tensor, negative: Tensor | None = None) -> Tensor:
        loss = super().contrast(query, key, negative)
        return loss + self.weight * self.energy_hinge(query, key, negative) if self.weight else loss

    def energy_hinge(self, query: Tensor, key: Tensor, negative: Tensor | None = None) -> Tensor:
        """mean_i [m + the largest cosine with another positive or a hard negative - the positive's]_+, all (n, d)."""
        query, key = F.normalize(query, dim=-1), F.normalize(key, dim=-1)
        hard = None if negative is None else F.normalize(negative, dim=-1)[:, None]
        return pairwise_hinge(query, key, margin=self.margin, hard_negatives=hard, symmetric=False)

    def embed_text(self, texts: list[str]) -> Tensor:
        return self.head(self.encoder.embed(texts).to(self.device))
