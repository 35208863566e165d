"""What must hold exactly for a sentence and what its parts compose to."""

import torch
from torch.nn import functional as F

from common.batches import SentenceParts
from data.slot_language import phrases
from papers.sentence.compcse.module import CompCSE

SENTENCES = [
    "ba vogi be baku bi zelo bo lozo bu poki",
    "ke kudi ki gava go kaki ka bero gu kufa ko ku ko",
    "fi domo fe zozu fo teve ga sove fu badi ge gi",
    "ba kudi be gava bi kaki bo lozo bu poki",
    "fi domo fe baku fo zelo ga sove fu kufa ge gi",
    "ke vogi ki baku go zelo ka lozo gu badi ko ku ko",
]


def module(seed: int, **arguments) -> CompCSE:
    torch.manual_seed(seed)
    return CompCSE(encoder="slot-bert", pooling="mean", dropout=0.0, **arguments).train()


@torch.no_grad()
def composed_of_itself(seed: int) -> float:
    """The largest distance from 1 of the cosine of a sentence and of what it composes to with itself.

    Raises:
        ArithmeticError: that of its own phrases is as near, and the check means nothing.
    """
    method = module(seed)
    whole = method.encoder(SENTENCES)
    phrase = [method.encoder(list(side)) for side in zip(*map(phrases, SENTENCES), strict=True)]
    if float(F.cosine_similarity(*method.sides(whole, phrase)).max()) > 1 - 1e-4:
        raise ArithmeticError("two phrases compose to their sentence")
    found = 0.0
    for compose in ("mean", "halves"):
        method.compose = compose
        found = max(found, float((F.cosine_similarity(*method.sides(whole, [whole, whole])) - 1).abs().max()))
    return found


def unseen_dimensions(seed: int, compared: int = 43) -> float:
    """The largest gradient of a weight of the head's last layer that makes a dimension which is not compared.

    Raises:
        ArithmeticError: those that are compared have none either.
    """
    method = module(seed, compared=compared)
    method.log_loss = lambda loss, **terms: loss
    left, right = (list(side) for side in zip(*map(phrases, SENTENCES), strict=True))
    method.training_step(SentenceParts(SENTENCES, left, right, torch.arange(len(SENTENCES))), 0).backward()
    slopes = [parameter.grad for parameter in method.head[0].parameters()]
    if not all(bool(slope[:compared].any()) for slope in slopes):
        raise ArithmeticError("the dimensions that are compared have no gradient")
    return max(float(slope[compared:].abs().max()) for slope in slopes)
