"""ABC notation as text: what is music in it, and when two tunes are the same."""

import re
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

_COMMENT = re.compile(r"%.*")
_FIELD_LINE = re.compile(r"(?m)^[A-Za-z]:.*$")
# Chord names and remarks in quotes, decorations, grace notes, fields within a line.
_BESIDES = re.compile(r'"[^"]*"|![^!\n]*!|\+[^+\n]*\+|\{[^}]*\}|\[[A-Za-z]:[^\]]*\]')
_NOTE = re.compile(r"([A-Ga-g])([,']*)")
_CHORD = re.compile(r"\[([_^=]*[A-Ga-g][,']*)[^\]]*\]")
_KEPT = set("ABCDEFGabcdefgz,'^_=/<>()|:[]-0123456789")
_STEPS = {letter: step for step, letter in enumerate("CDEFGAB")}


def music_of(notes: str) -> str:
    """The notes, rests, bars and repeats alone, without spaces.

    Lyrics, decorations, chord names and spacing go: they tell who typed a tune and not how it sounds.
    """
    text = _BESIDES.sub("", _FIELD_LINE.sub("", _COMMENT.sub("", notes)))
    return "".join(letter for letter in text if letter in _KEPT)


def steps_of(music: str) -> tuple[int, ...]:
    """The moves of the melody from note to note, in steps of the scale; repeated notes count once.

    The same for a tune in another key, octave or note length, with other accidentals, or with a repeat written out.
    """
    pitches = [
        _STEPS[letter.upper()] + 7 * (letter.islower() + octave.count("'") - octave.count(","))
        for letter, octave in _NOTE.findall(_CHORD.sub(r"\1", music))
    ]
    moves = (after - before for before, after in pairwise(pitches))
    return tuple(move for move in moves if move)


def same_tune(melodies: Sequence[tuple[int, ...]], run: int) -> list[int]:
    """Groups melodies that share `run` moves in a row anywhere, directly or through others.

    Args:
        melodies: as from `steps_of`; one shorter than `run` is compared as a whole.
        run: moves in a row; fewer find more settings of a tune, and more tunes that only share a turn of phrase.

    Returns:
        For each melody the number of its group: the position of the group's first melody.
    """
    holders: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for position, moves in enumerate(melodies):
        for start in range(max(1, len(moves) - run + 1)):
            holders[moves[start : start + run]].append(position)
    parent = list(range(len(melodies)))

    def root(position: int) -> int:
        while parent[position] != position:
            parent[position] = parent[parent[position]]
            position = parent[position]
        return position

    for group in holders.values():
        for other in group[1:]:
            first, second = sorted((root(group[0]), root(other)))
            parent[second] = first
    return [root(position) for position in range(len(melodies))]
