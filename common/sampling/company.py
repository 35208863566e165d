"""Who is drawn, and who meets whom: batches by rank within a label, and the samples of one sampler in other company."""

from collections.abc import Iterable, Sequence

import numpy as np
from torch import Tensor

from common.distributed import gather, shards
from common.errors import UserError
from common.sampling.batches import GlobalBatchSampler
from common.sampling.labels import dealt, members_of


class RankedLabelSampler(GlobalBatchSampler):
    """All samples in the order of their rank within their label, cut into batches; the same in every epoch.

    The first of each label come first, then the second, and so on. Up to the size of the smallest label a rank holds
    each label once; later ranks are shorter than a batch, and the last batches hold the largest labels alone.

    Args:
        labels: (pseudo) label of each sample, integers of shape (n,).
        batch_size: samples in one global batch.
        seed: fixes the rank of each sample within its label.

    Source: G-SimCLR (Chakraborty et al. 2020), released code, with as many labels as samples in a batch. There the rank
    is that of a sample's position; where samples stand class by class, the first of all labels would be of one class.
    """

    def __init__(self, labels: Tensor, batch_size: int, seed: int = 0) -> None:
        super().__init__(len(labels), batch_size, seed, reshuffle=False)
        rng = np.random.default_rng(seed)
        ranks = np.empty(self.size, dtype=int)
        for positions in members_of(labels):
            ranks[rng.permutation(positions)] = np.arange(len(positions))
        # Within a rank by label; the released sort leaves that to chance.
        order = np.lexsort((labels.cpu().numpy(), ranks))
        self.batches = order[: len(self) * batch_size].reshape(-1, batch_size)

    def global_batches(self, rng: np.random.Generator) -> Iterable[Sequence[int]]:
        return self.batches


class SameSamplesSampler(GlobalBatchSampler):
    """The samples that another sampler draws in an epoch, in batches of its own making.

    A comparison of two ways to put batches together is of company alone if both draw the same samples equally often.

    Args:
        drawn: says which samples an epoch has, and fixes the size of a batch and the seed.
        labels: of each sample, integers of shape (n,); batches in which they repeat as little as can be. Without labels
            the batches are random.
        together: by the same labels batches in which they repeat as much as can be.

    Raises:
        UserError: labels of another number of samples, or `together` without labels.
    """

    def __init__(self, drawn: GlobalBatchSampler, labels: Tensor | None = None, *, together: bool = False) -> None:
        super().__init__(drawn.size, drawn.batch_size, drawn.seed)
        if labels is not None and len(labels) != drawn.size:
            raise UserError(f"labels of {len(labels)} samples: expected {drawn.size}, of all that can be drawn")
        if together and labels is None:
            raise UserError("together: needs labels to put samples together by")
        self.drawn, self.together = drawn, together
        self.labels = None if labels is None else labels.cpu()

    def __len__(self) -> int:
        return len(self.drawn)

    def global_batches(self, rng: np.random.Generator) -> Iterable[Sequence[int]]:
        epoch = self.epoch if self.drawn.reshuffle else 0
        theirs = self.drawn.global_batches(np.random.default_rng([self.seed, epoch]))
        pool = np.sort(np.concatenate([np.asarray(batch) for batch in theirs]))
        own = np.random.default_rng([self.seed, self.epoch, 1])  # not their numbers again
        if self.labels is None:
            return own.permutation(pool).reshape(-1, self.batch_size)
        groups = members_of(self.labels[pool])
        in_turn = np.concatenate([own.permutation(pool[groups[k]]) for k in own.permutation(len(groups))])
        if self.together:
            return own.permutation(in_turn.reshape(-1, self.batch_size))
        return dealt(in_turn, self.batch_size, own)


def same_label_share(labels: Tensor) -> Tensor:
    """The share of the pairs of a batch of all processes that have the same label, 0-d: how many negatives are false.

    Args:
        labels: of our samples, integers of shape (n,); at least two on all processes together.
    """
    labels = gather(labels, shards(len(labels), labels.device))
    # All pairs rather than the sizes of the classes: how many those are, a GPU would have to be asked.
    same = (labels[:, None] == labels).sum() - len(labels)
    return same.double() / (len(labels) * (len(labels) - 1))
