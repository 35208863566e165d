"""What must hold exactly of two maps that are softmaxes of one matrix."""

import torch
from torch import Tensor

from common.batches import ParallelWords
from papers.sentence.mirroralign.module import MirrorAlign, disagreement

WORDS = 12
BATCH, LENGTH = 5, 6


class SilentMirrorAlign(MirrorAlign):
    """Without a trainer there is no log."""

    def log_loss(self, loss: Tensor, **terms: Tensor) -> Tensor:
        return loss


def drawn(seed: int, **arguments) -> tuple[SilentMirrorAlign, ParallelWords]:
    """A model with vectors of some size, in float64, and sentences of random words and lengths."""
    torch.manual_seed(seed)
    rows = dict(source_words=WORDS + 2, target_words=WORDS + 2)
    model = SilentMirrorAlign(**rows, dim=4, length=LENGTH, negatives=2, **arguments).double()
    names = [str(word) for word in range(WORDS)]
    for table, index in zip(model.tables, model.indices, strict=True):
        torch.nn.init.normal_(table.weight)
        index.words = names
    lengths = torch.randint(1, LENGTH + 1, (2, BATCH)).tolist()
    sides = [[[names[at] for at in torch.randint(WORDS, (n,))] for n in side] for side in lengths]
    return model, ParallelWords(*sides, torch.arange(BATCH))


def mirror(seed: int) -> float:
    """How much the loss, and the gradient of each table, change where the two languages change places."""
    model, batch = drawn(seed)
    found = []
    for swapped in (False, True):
        if swapped:
            weights = [table.weight.detach().clone() for table in model.tables]
            for table, weight in zip(model.tables, reversed(weights), strict=True):
                table.weight.data = weight
            batch = ParallelWords(batch.target, batch.source, batch.ids)
        loss = model.training_step(batch, 0)
        gradients = torch.autograd.grad(loss, [table.weight for table in model.tables])
        found.append([loss.detach()[None], *(gradients[::-1] if swapped else gradients)])
    return max(float((one - other).abs().max()) for one, other in zip(*found, strict=True))


def stationary(seed: int) -> float:
    """The largest gradient of the agreement term in the matrix of scores, where the two maps are the same.

    Raises:
        ArithmeticError: there is none at another matrix either, and the check means nothing.
    """
    n = 6
    # A matrix whose exponential has rows and columns of one sum: a mixture of permutations.
    torch.manual_seed(seed)
    weights = torch.rand(4, dtype=torch.float64)
    mixture = sum(w * torch.eye(n, dtype=torch.float64)[torch.randperm(n)] for w in weights) + 0.1
    largest = []
    for matrix in (mixture.log(), torch.randn(n, n, dtype=torch.float64)):
        scores = matrix.clone().requires_grad_()
        loss = disagreement(scores.softmax(1)[None], scores.softmax(0)[None]).sum()
        largest.append(float(torch.autograd.grad(loss, scores)[0].abs().max()))
    if largest[1] < 1e-3:
        raise ArithmeticError("the agreement term has no gradient where the maps differ")
    return largest[0]
