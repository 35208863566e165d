"""A language of our own: a sentence says who does what, where and when, in words of which half have two meanings.

Two domains share the grammar and no content word. Every draw is a function of what it is for and of a sample's id.
"""

from functools import cache
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from common.random import normal, uniform

ROLES = ("who", "does", "what", "where", "when")
CONCEPTS, TOPIC = 40, 10
"""Concepts of each role, and numbers in a topic."""
DOMAINS = ("home", "away")
SHARPNESS = 3.0
"""How much a topic decides: a concept's logit is so many times its direction's product with the topic."""
SYNONYMS = 3
_FORMS = 2 * CONCEPTS
"""Words of a role: each concept has one of its own, and shares one with each neighbour on a ring."""
_STYLES = ((0, 1, 2, 3, 4), (4, 3, 2, 1, 0), (1, 0, 2, 4, 3), (3, 4, 0, 2, 1))
"""The order of the roles in each style; "who does what" stays together, and so does "where and when"."""
BORDER = 3
"""The first role of the second phrase: what stands before it is who does what."""
_SYLLABLES = tuple("".join(pair) for pair in product("bdfgklmnprstvz", "aeiou"))
_WORLD = 61
"""First part of every key."""
_DIRECTIONS, _NAMES, _TOPICS, _CONCEPTS, _WORDS, _STYLE = range(6)


class Said(NamedTuple):
    """`n` sentences before they are written."""

    concepts: Tensor
    """Number of the concept in each role, int64, (n, 5)."""
    words: Tensor
    """Number of the word that stands for it, among the role's 80, int64, (n, 5)."""
    style: Tensor
    """Order and function words, int64, (n,)."""

    @property
    def meaning(self) -> Tensor:
        """One number for all five concepts, int64, (n,)."""
        return (self.concepts * CONCEPTS ** torch.arange(len(ROLES))).sum(dim=1)

    @property
    def wording(self) -> Tensor:
        """One number for all five words, whatever the style, int64, (n,)."""
        return (self.words * _FORMS ** torch.arange(len(ROLES))).sum(dim=1)


class Language:
    """A domain: its words, and how likely its concepts are under a topic.

    Args:
        domain: "home" or "away".
    """

    def __init__(self, domain: str) -> None:
        self.number = DOMAINS.index(domain)
        rows = normal(torch.arange(len(ROLES) * CONCEPTS), TOPIC, *self._key(_DIRECTIONS)).double()
        self.directions = (rows / rows.norm(dim=1, keepdim=True)).view(len(ROLES), CONCEPTS, TOPIC)
        at = torch.arange(CONCEPTS)
        self.forms = torch.stack([at, CONCEPTS + at, CONCEPTS + (at + 1) % CONCEPTS], dim=1)
        """Words of each concept, the same numbers in each role, (40, 3): its own, and those of two meanings."""

    def _key(self, *parts: int) -> tuple[int, ...]:
        return (_WORLD, self.number, *parts)

    def topics(self, ids: Tensor, *key: int) -> Tensor:
        """A topic of each sample, standard normal, (n, 10)."""
        return normal(ids, TOPIC, *self._key(_TOPICS), *key).double()

    def concepts(self, topics: Tensor, ids: Tensor, *key: int, unlike: Tensor | None = None) -> Tensor:
        """A concept in each role, log-linear in the topic, int64 (n, 5).

        Args:
            topics: (n, 10).
            ids: sample ids, (n,).
            key: what else the draws depend on.
            unlike: concepts that are not to be drawn again, (n, 5).
        """
        logits = SHARPNESS * torch.einsum("nt,rkt->nrk", topics, self.directions)
        if unlike is not None:
            logits = logits.scatter(2, unlike[:, :, None], -torch.inf)
        shares = logits.softmax(dim=2).cumsum(dim=2)
        draw = uniform(ids, len(ROLES), *self._key(_CONCEPTS), *key).double()
        # Rounding leaves the last share a little below 1.
        return (shares <= draw[:, :, None] * shares[:, :, -1:]).sum(dim=2)

    def worded(self, concepts: Tensor, ids: Tensor, *key: int, unlike: Tensor | None = None) -> Said:
        """The concepts in words and a style drawn at random; `unlike` are words that are not to be used, (n, 5)."""
        draw = uniform(ids, SYNONYMS * len(ROLES), *self._key(_WORDS), *key).view(len(ids), len(ROLES), SYNONYMS)
        forms = self.forms[concepts]
        if unlike is not None:
            draw = draw.masked_fill(forms == unlike[:, :, None], -1.0)
        words = forms.gather(2, draw.argmax(dim=2, keepdim=True))[:, :, 0]
        return Said(concepts, words, self.styles(ids, *key))

    def styles(self, ids: Tensor, *key: int) -> Tensor:
        """A style of each sample, int64 (n,)."""
        return (uniform(ids, 1, *self._key(_STYLE), *key)[:, 0] * len(_STYLES)).long()

    def texts(self, said: Said) -> list[str]:
        """The sentences as they are written: a function word before each content word, and up to three at the end."""
        content, function = _content()[self.number], _function()
        frames = [
            ([function[style][role] for role in order], [function[style][len(ROLES) + i % 2] for i in range(style)])
            for style, order in enumerate(_STYLES)
        ]
        lines = []
        for words, style in zip(said.words.tolist(), said.style.tolist(), strict=True):
            heads, tail = frames[style]
            pairs = zip(heads, _STYLES[style], strict=True)
            parts = [f"{head} {content[role][words[role]]}" for head, role in pairs]
            lines.append(" ".join([*parts, *tail]))
        return lines


@cache
def _content() -> list[list[list[str]]]:
    """Content words by domain, role and number: two syllables, each once."""
    pairs = ["".join(pair) for pair in product(_SYLLABLES, _SYLLABLES)]
    order = uniform(torch.arange(len(pairs)), 1, _WORLD, _NAMES).flatten().argsort(stable=True).tolist()
    words = iter([pairs[at] for at in order])
    return [[[next(words) for _ in range(_FORMS)] for _ in ROLES] for _ in DOMAINS]


@cache
def _function() -> list[list[str]]:
    """Function words of each style: one before each role, and up to two that end it; a syllable, each once."""
    syllables = iter(_SYLLABLES)
    return [[next(syllables) for _ in range(len(ROLES) + min(style, 2))] for style in range(len(_STYLES))]


def vocabulary() -> list[str]:
    """All words: those of both domains, 800, and the function words, 25."""
    content = [word for domain in _content() for role in domain for word in role]
    return content + [word for style in _function() for word in style]


@cache
def _phrase_of() -> dict[str, int]:
    """Of each content word and each function word before it, the phrase: 0 who does what, 1 where and when."""
    found = {word: int(role >= BORDER) for domain in _content() for role, words in enumerate(domain) for word in words}
    return found | {style[role]: int(role >= BORDER) for style in _function() for role in range(len(ROLES))}


def phrases(text: str) -> tuple[str, str]:
    """A sentence cut at its border: "who does what" and "where and when", in the order in which they stand.

    What ends the sentence stays with the second.
    """
    words = text.split()
    of = _phrase_of()
    border = next(at for at, word in enumerate(words) if of[word] != of[words[0]])
    return " ".join(words[:border]), " ".join(words[border:])


def who_does_what(text: str) -> str:
    """That phrase of a sentence, wherever it stands."""
    first, second = phrases(text)
    return second if _phrase_of()[text.split()[0]] else first
