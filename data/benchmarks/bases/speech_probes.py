"""Questions to frozen speech features: which letter, which vowel, which language, whose voice."""

import hashlib
import re
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from data.benchmarks.bases.recordings import Recording

LETTERS = "abdefiklmnoprstu"
"""Letters whose names are much alike in the languages asked for."""
VOWELS = "aeiou"
LANGUAGES = ("ca", "da", "el", "en", "es", "fr", "ru")
"""Languages of which there are both captions or prompts and names of things."""
HELD_OUT = {
    "val": (
        *(f"klettres/{code}" for code in ("es", "nb", "tn")),
        *(f"ktuberling/{code}" for code in ("ca", "el", "en", "nn", "sl")),
    ),
    "test": (
        *(f"klettres/{code}" for code in ("de", "fr", "hu", "it", "pt_BR")),
        *(f"ktuberling/{code}" for code in ("da", "de", "fr", "lt", "ru", "uk", "wa")),
    ),
}
"""Voices to score on, never to train on. The other voices of ktuberling are not used: they say too little."""
LETTER_VOICES = (
    *(f"klettres/{code}" for code in ("cs", "da", "lt", "nds", "nl")),
    "asterisk/es",
    "asterisk/fr",
    "asterisk/it",
)
VOWEL_VOICES = ("klettres/ml",)
SYLLABLE_VOICES = {"val": ("klettres/es", "klettres/tn"), "test": ("klettres/it", "klettres/pt_BR")}
"""Voices that read the same syllables, and mean much the same sounds by them."""
MOST = 150
"""Recordings of a voice that the classifier of languages is fitted on."""
_MALAYALAM = dict(zip("ാിീുൂെേൊോ", "aiiuueeoo", strict=True))


class Probe(NamedTuple):
    """What a linear classifier is fitted on, and what it is scored on."""

    fit: Tensor
    """Positions of recordings, int64 of shape (n,)."""
    fit_labels: Tensor
    scored: Tensor
    """Positions of recordings, int64 of shape (m,)."""
    labels: Tensor


def bucket(text: str, count: int = 20) -> int:
    """A number below `count` that depends on the text alone."""
    return int(hashlib.sha256(text.encode()).hexdigest(), 16) % count


def letter_of(known: Recording) -> str | None:
    """The letter, where it alone is spoken."""
    alone = known.source == "letter" or (known.source == "prompt" and known.key.startswith("letters/"))
    return known.text if alone and known.text in tuple(LETTERS) else None


def vowel_of(known: Recording) -> str | None:
    """The vowel of a syllable of a consonant and a vowel, long or short."""
    if known.source != "syllable":
        return None
    if known.language == "ml":
        return _MALAYALAM.get(known.text[-1])
    # One consonant letter; y may be a vowel, q and h stand before or for nothing, and c and g depend on the vowel.
    return known.text[1] if re.fullmatch(r"[bdfjklmnprstvwxz][aeiou]", known.text) else None


def shared_syllables(known: list[Recording], split: str) -> tuple[Tensor, Tensor]:
    """Positions of the syllables that both voices of the split read, in one order; a consonant and a vowel each."""
    said = [
        {one.text: i for i, one in enumerate(known) if one.voice == voice and vowel_of(one) is not None}
        for voice in SYLLABLE_VOICES[split]
    ]
    both = sorted(said[0].keys() & said[1].keys())
    first, second = ([side[text] for text in both] for side in said)
    return torch.tensor(first), torch.tensor(second)


def build_probes(known: list[Recording], train: Tensor) -> dict[str, dict[str, Probe]]:
    """The probes of each split by name: "letter", "vowel", "language", "voice".

    Letters, vowels and languages are scored on the held-out voices of the split; for the voice itself the classifier is
    fitted on half of what they say.

    Args:
        known: all recordings.
        train: positions of those that methods train on.
    """
    found: dict[str, dict[str, Probe]] = {}
    everything = range(len(known))
    for split, voices in HELD_OUT.items():
        theirs = [i for i in everything if known[i].voice in voices]
        # French reads its e and u another way than the rest.
        plain = [i for i in theirs if known[i].language != "fr"]
        letters = [i for i in everything if known[i].voice in LETTER_VOICES]
        vowels = [i for i in everything if known[i].voice in VOWEL_VOICES]
        names = [i for i in theirs if known[i].source == "name" and known[i].language in LANGUAGES]
        first, second = ([i for i in theirs if bucket(known[i].key + known[i].voice, 2) == half] for half in (0, 1))
        found[split] = {
            "letter": _probe(known, letters, theirs, letter_of, LETTERS),
            "vowel": _probe(known, vowels, plain, vowel_of, VOWELS),
            "language": _probe(known, _languages(known, train), names, lambda one: one.language, LANGUAGES),
            "voice": _probe(known, first, second, lambda one: one.voice, voices),
        }
    return found


def _languages(known: list[Recording], train: Tensor) -> list[int]:
    by_voice: dict[str, list[int]] = {}
    for i in train.tolist():
        if known[i].source in ("stamp", "prompt") and known[i].language in LANGUAGES:
            by_voice.setdefault(known[i].voice, []).append(i)
    return [i for rows in by_voice.values() for i in sorted(rows, key=lambda i: bucket(known[i].key, 1 << 30))[:MOST]]


def _probe(
    known: list[Recording],
    fit: list[int],
    scored: list[int],
    label: Callable[[Recording], str | None],
    classes: str | tuple[str, ...],
) -> Probe:
    sides: list[Tensor] = []
    for rows in (fit, scored):
        labelled = [(i, classes.index(name)) for i in rows if (name := label(known[i])) is not None]
        sides += torch.tensor(labelled).unbind(1)
    return Probe(*sides)
