"""Three ways in which a relation in words shapes what is compared of a picture and of a caption."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.encoders.word_fusion import WordReader

SAME = "the same item, shown and told"
"""The relation of a picture and its own caption."""

ConditioningName = Literal["attention", "gated", "concatenated"]


class Attention(nn.Module):
    """The relation's state attends to the tokens of an item; one set of matrices for both modalities (eq. 4 to 6).

    Args:
        width: d of all states.
        beta: b of the logits (1 - b) q.k / sqrt(d) + b B. B is 1 at an item's first token, that of the whole, under
            `SAME`, and 0 elsewhere.
    """

    def __init__(self, *, width: int, beta: float) -> None:
        super().__init__()
        self.beta = beta
        self.query, self.key, self.value, self.output = (nn.Linear(width, width, bias=False) for _ in range(4))

    def images(self, states: Tensor, text: WordReader, relations: list[str]) -> Tensor:
        """Unit vectors of pictures under `SAME` and then under each relation, (1 + r, n, d), of states (n, s, d)."""
        return self.pool(states, torch.ones_like(states[..., 0], dtype=torch.bool), told(text, relations))

    def texts(self, texts: list[str], text: WordReader, relations: list[str]) -> Tensor:
        """Unit vectors of captions likewise, (1 + r, n, d)."""
        tokens = text.tokens(texts)
        return self.pool(text.read(tokens), tokens.mask > 0, told(text, relations))

    def pool(self, states: Tensor, there: Tensor, about: Tensor) -> Tensor:
        """Vectors of items by their tokens (n, s, d), of which some are `there`, (n, s), under each of `about`."""
        pooled = torch.einsum("rns,nsd->rnd", self.weights(states, there, about), self.value(states))
        return F.normalize(self.output(pooled), dim=-1)

    def weights(self, states: Tensor, there: Tensor, about: Tensor) -> Tensor:
        """What each relation attends to in each item, (r, n, s); the first relation is `SAME`."""
        logits = torch.einsum("rd,nsd->rns", self.query(about), self.key(states)) / states.shape[-1] ** 0.5
        summary = torch.zeros_like(logits)
        summary[0, :, 0] = 1
        mixed = (1 - self.beta) * logits + self.beta * summary
        return mixed.masked_fill(~there, -torch.inf).softmax(dim=-1)


class Gated(nn.Module):
    """A control: the relation weighs the numbers of the state of the whole, without looking at other tokens."""

    def __init__(self, *, width: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, width)
        self.outputs = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(2))

    def images(self, states: Tensor, text: WordReader, relations: list[str]) -> Tensor:
        return self.gated(0, states[:, 0], told(text, relations))

    def texts(self, texts: list[str], text: WordReader, relations: list[str]) -> Tensor:
        return self.gated(1, text.read(text.tokens(texts))[:, 0], told(text, relations))

    def gated(self, side: int, whole: Tensor, about: Tensor) -> Tensor:
        return F.normalize(self.outputs[side](whole) * self.gate(about)[:, None], dim=-1)


class Concatenated(nn.Module):
    """CLIP that is told of relations: a caption is read with the relation behind it, a picture is what it is."""

    def __init__(self, *, width: int) -> None:
        super().__init__()
        self.outputs = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(2))

    def images(self, states: Tensor, text: WordReader, relations: list[str]) -> Tensor:
        return F.normalize(self.outputs[0](states[:, 0]), dim=-1).expand(1 + len(relations), -1, -1)

    def texts(self, texts: list[str], text: WordReader, relations: list[str]) -> Tensor:
        both = [*texts, *(f"{caption}, {relation}" for relation in relations for caption in texts)]
        whole = text.read(text.tokens(both))[:, 0]
        return F.normalize(self.outputs[1](whole), dim=-1).unflatten(0, (1 + len(relations), -1))


def told(text: WordReader, relations: list[str]) -> Tensor:
    """The state of the whole of `SAME` and of each relation, (1 + r, d)."""
    return text.read(text.tokens([SAME, *relations]))[:, 0]
