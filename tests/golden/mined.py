"""Our side of what mined negatives stand beside."""

import torch
from torch import Tensor

from papers.sentence.llama_embed_nemotron.denominators import contrast
from tests.golden.ours import like
from tests.golden.recorded import Case

RELEASED = ("hard", "hard_one", "hard_warm", "in_batch", "in_batch_warm", "general_hard")


@like(*(f"llama_embed_nemotron/{name}" for name in RELEASED))
def hard_contrast(case: Case, x: dict[str, Tensor], given: dict[str, Tensor]) -> Tensor:
    denominator = "gemini" if "in_batch" in case.name else "hard"
    return contrast(**x, ids=torch.arange(len(x["query"])), denominator=denominator, **case.arguments)
