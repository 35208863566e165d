"""What must hold exactly for two copies of a sentence."""

import torch
from torch.nn import functional as F

from common.training.rng import capture, replay
from papers.sentence.simcse.module import SimCSE

SENTENCES = ["In the beginning God created the heaven and the earth.", "Shares fell for the third day.", "Yes."]


@torch.no_grad()
def identical_copies(seed: int) -> float:
    """The largest distance from 1 of a copy's cosine, without dropout and under one mask.

    Raises:
        ArithmeticError: independent masks give equal vectors too: dropout is not active, and the check means nothing.
    """
    torch.manual_seed(seed)
    deviation = 0.0
    for dropout in (0.0, 0.1):
        module = SimCSE(dropout=dropout).train()
        state = capture(module.device)
        query = module.head(module.encoder(SENTENCES))
        with replay(state):
            same = module.head(module.encoder(SENTENCES))
        deviation = max(deviation, float((F.cosine_similarity(query, same) - 1).abs().max()))
        other = module.head(module.encoder(SENTENCES))
        if dropout and float(F.cosine_similarity(query, other).max()) > 1 - 1e-4:
            raise ArithmeticError("two passes with dropout gave the same vector")
    return deviation
