"""CWM (Ri et al. 2023): a hinge on cosines of words, and analogies come out as parallel lines."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.checks import check_number
from papers.sentence.skip_gram.module import SkipGram


class CWM(SkipGram):
    """max(0, m - l1 cos(u, v) + l2 cos(u, v')), for each word v' of noise, summed over pairs and noise.

    Skip-gram with three differences: a hinge for the logistic function, cosines for products, and one table. The
    positive counts as often as there is noise. Vectors are of any length, and each gradient is at right angles to its
    own vector, so that steps only make them longer, and later ones turn them less.

    Args:
        words, dim, negatives: as in `SkipGram`.
        tables: the paper's is 1; with 2 a word is u by another vector than v.
        margin: m; above l1 + l2 no term is ever 0.
        positive_weight, negative_weight: l1 and l2.
        optimization: the arguments of `Method`.
    """

    def __init__(
        self,
        *,
        words: int,
        dim: int = 100,
        negatives: int = 2,
        tables: Literal[1, 2] = 1,
        margin: float = 0.15,
        positive_weight: float = 1.0,
        negative_weight: float = 1.0,
        **optimization,
    ) -> None:
        super().__init__(words=words, dim=dim, negatives=negatives, tables=tables, **optimization)
        check_number("model.margin", margin)
        check_number("model.positive_weight", positive_weight, least=0)
        check_number("model.negative_weight", negative_weight, least=0)
        self.margin, self.positive_weight, self.negative_weight = margin, positive_weight, negative_weight

    def begin(self) -> None:
        """Unit vectors in random directions, in both tables."""
        for table in (self.vectors, self.contexts):
            if table is not None:
                nn.init.uniform_(table.weight, -0.5, 0.5)
                with torch.no_grad():
                    table.weight.copy_(F.normalize(table.weight, dim=1))

    def contrast(self, neighbour: Tensor, centre: Tensor, noise: Tensor) -> Tensor:
        near, far = self.products(neighbour, centre, noise)
        terms = F.relu(self.margin - self.positive_weight * near[:, None] + self.negative_weight * far)
        return (terms * (noise != centre[:, None])).sum(dim=1)

    def products(self, neighbour: Tensor, centre: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        contexts = self.vectors if self.contexts is None else self.contexts
        u, v = self.vectors(neighbour), contexts(torch.cat([centre[:, None], noise], dim=1))
        found = F.cosine_similarity(u[:, None], v, dim=2)
        return found[:, 0], found[:, 1:]
