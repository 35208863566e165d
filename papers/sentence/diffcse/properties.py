"""What must hold exactly for the gradient of the detection, and for its weight."""

import torch
from torch import Tensor

from common.batches import Sentences
from data.benchmarks.worlds.slots import neighbours
from data.slot_language import Language
from papers.sentence.diffcse.module import DiffCSE

WEIGHTS = (0.0, 0.5, 2.0)


def sentences(count: int, seed: int) -> Sentences:
    """Sentences of the generated language."""
    language, ids = Language("home"), torch.arange(count) + count * seed
    return Sentences(language.texts(neighbours(language, ids, seed)[0]), ids)


def losses(seed: int, **arguments) -> tuple[DiffCSE, Tensor]:
    """The module as it starts from `seed`, and the loss of its first step on 16 sentences under the same dropout."""
    torch.manual_seed(seed)
    module = DiffCSE(encoder="slot-bert", pooling="mean", temperature=0.1, **arguments).train()
    module.log_loss = lambda loss, **terms: loss  # there is no trainer to log to
    torch.manual_seed(seed)
    return module, module.training_step(sentences(16, seed), 0)


def gradient(module: DiffCSE, loss: Tensor) -> Tensor:
    """Of all weights of encoder and head, one after the other."""
    parameters = [*module.encoder.parameters(), *module.head.parameters()]
    return torch.cat([part.flatten() for part in torch.autograd.grad(loss, parameters)])


def detached(seed: int) -> float:
    """How far the encoder's gradient with detached vectors is from SimCSE's, relative to it; any from the generator.

    Raises:
        ArithmeticError: with vectors that are not detached the gradient is SimCSE's too: the check means nothing.
    """
    alone = gradient(*losses(seed, weight=0.0))
    module, loss = losses(seed, weight=1.0, detach=True)
    deviation = float((gradient(module, loss) - alone).norm() / alone.norm())
    if float((gradient(*losses(seed, weight=1.0)) - alone).norm() / alone.norm()) < 1e-3:
        raise ArithmeticError("the detection does not reach the encoder")
    return max(deviation, float(any(parameter.requires_grad for parameter in module.generator.parameters())))


def affine(seed: int) -> float:
    """How far the loss at the middle of three weights is from the line through the other two.

    Raises:
        ArithmeticError: the loss does not hang on the weight.
    """
    low, middle, high = (float(losses(seed, weight=weight)[1].detach()) for weight in WEIGHTS)
    if abs(high - low) < 0.1:
        raise ArithmeticError("the loss is the same whatever the weight")
    share = (WEIGHTS[1] - WEIGHTS[0]) / (WEIGHTS[2] - WEIGHTS[0])
    return abs(middle - low - share * (high - low))
