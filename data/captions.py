"""Other wordings of captions found on the web: two words exchanged, or some left out."""

from torch import Tensor

from common.random import uniform

SWAPPED = 2 / 3
"""How often two words are exchanged; else some are left out."""
THINNED = 0.1
"""Share of the words that are left out then."""
_WORDS = 128


def varied(texts: list[str], ids: Tensor, *key: int) -> list[str]:
    """Another wording of each text: two drawn words exchanged, or each word left out by a chance of 0.1, never all.

    Args:
        texts: n captions; of more than 128 words the later ones stay as they are.
        ids: of their samples, (n,).
        key: what else the draws depend on, such as seed, epoch and view.

    Source: Wei and Zou 2019 (EDA), without its synonyms and insertions.
    """
    return [
        _varied(text.split(), draws) for text, draws in zip(texts, uniform(ids, 3 + _WORDS, *key).tolist(), strict=True)
    ]


def _varied(words: list[str], draws: list[float]) -> str:
    which, *places = draws[:3]
    if which < SWAPPED:
        if words:
            a, b = (int(place * len(words)) for place in places)
            words[a], words[b] = words[b], words[a]
        return " ".join(words)
    left = [word for place, word in enumerate(words) if place >= _WORDS or draws[3 + place] >= THINNED]
    return " ".join(left or words[:1])
