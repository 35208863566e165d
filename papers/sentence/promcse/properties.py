"""What must hold exactly: a language model that stays as it is, and the slope and scale of the hinge."""

import torch
from torch import Tensor

from common.batches import Sentences
from common.losses import pairwise_hinge
from data.benchmarks.worlds.slots import neighbours
from data.slot_language import Language
from papers.sentence.promcse.module import PromCSE


def frozen(seed: int) -> float:
    """Tensors of the language model that are not the same, bit for bit, after three steps at a large rate.

    Raises:
        ArithmeticError: the prompt did not move either.
    """
    language, ids = Language("home"), torch.arange(16)
    batch = Sentences(language.texts(neighbours(language, ids, seed)[0]), ids)
    torch.manual_seed(seed)
    module = PromCSE(encoder="slot-bert", pooling="mean", prefix=4, max_length=24).train()
    module.log_loss = lambda loss, **terms: loss  # there is no trainer to log to
    before = {name: tensor.clone() for name, tensor in module.encoder.body.state_dict().items()}
    optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=0.1, weight_decay=0.1)
    for step in range(3):
        optimizer.zero_grad()
        module.training_step(batch, step).backward()
        optimizer.step()
    changed = {
        name for name, tensor in module.encoder.body.state_dict().items() if not torch.equal(tensor, before[name])
    }
    if "table" not in changed:
        raise ArithmeticError("the prompt is as it was")
    return float(len(changed - {"table"}))


def cosines(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Cosines of 6 anchors with 6 positives and 12 hard negatives, (6, 18), and axes by which vectors have them."""
    drawn = 2 * torch.rand(6, 18, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 1
    # The gap of the first anchor is far above any margin here.
    drawn[0], drawn[0, 0] = -0.9, 0.9
    axes = torch.eye(18, dtype=torch.float64)
    return drawn.requires_grad_(), axes[:6], axes[6:].unflatten(0, (6, 2))


def slope(seed: int) -> float:
    """How far the hinge's gradient by the cosines is from -1/n and 1/n at two of a row, or 0 if the gap is enough."""
    query, key, hard = cosines(seed)
    (found,) = torch.autograd.grad(pairwise_hinge(query, key, margin=0.2, hard_negatives=hard, symmetric=False), query)
    expected = torch.zeros_like(query)
    for row, values in enumerate(query.tolist()):
        others = [-2.0 if at == row else value for at, value in enumerate(values)]
        if 0.2 + max(others) > values[row]:
            expected[row, row], expected[row, others.index(max(others))] = -1 / 6, 1 / 6
    return float((found - expected).abs().max())


def scale(seed: int) -> float:
    """How far temperature times the hinge of logits, at a margin over the temperature, is from that of cosines."""
    query, key, hard = cosines(seed)
    plain = pairwise_hinge(query, key, margin=0.2, hard_negatives=hard, symmetric=False)
    logits = pairwise_hinge(query / 0.05, key, margin=0.2 / 0.05, hard_negatives=hard, symmetric=False)
    return abs(float((0.05 * logits - plain).detach()))
