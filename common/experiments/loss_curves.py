"""How the training loss of each run went, compactly in results/curves/<slug>.jsonl, a line a run as in `items`."""

import json
from collections.abc import Sequence
from typing import NamedTuple

from common.experiments.journal import Journal, parse_object
from common.experiments.records import ItemKey

MOST_POINTS = 100
"""Kept of a run."""


class LossCurve(NamedTuple):
    """The mean training loss of consecutive intervals, from the first step on."""

    every: int
    """Steps of an interval; what is left at the end is in none."""
    losses: tuple[float, ...]

    def thinned(self) -> "LossCurve":
        """At most `MOST_POINTS`, of longer intervals."""
        k = -(-len(self.losses) // MOST_POINTS)
        if k <= 1:
            return self
        groups = [self.losses[i : i + k] for i in range(0, len(self.losses) // k * k, k)]
        return LossCurve(self.every * k, tuple(sum(group) / k for group in groups))

    def points(self) -> list[tuple[float, float]]:
        """(the middle of the interval in steps, the loss)."""
        return [((i + 0.5) * self.every, loss) for i, loss in enumerate(self.losses)]


class CurveLedger(Journal):
    """A folder of files of curves, usually `results/curves` of the repository."""

    def read(self, slug: str) -> dict[ItemKey, LossCurve]:
        """The curve of each run of a paper; if it has several lines, the last one counts. A broken line is left out.

        Raises:
            UserError: the file exists and cannot be opened.
        """
        found, _ = self.entries(slug, _parse, "curve")
        return dict(entry for _, entry in found)

    def append(self, slug: str, key: ItemKey, curve: LossCurve) -> None:
        """Adds the curve of a run, thinned, to four digits.

        Raises:
            UserError: no permission, or the disk is full; the file is as it was before.
        """
        self.write(slug, curve_line(key, curve))


def curve_line(key: ItemKey, curve: LossCurve) -> str:
    """The curve of a run as one line of JSON, without the line feed."""
    every, losses = curve.thinned()
    line = key._asdict() | {"every": every, "losses": [float(f"{loss:.4g}") for loss in losses]}
    return json.dumps(line, ensure_ascii=False, allow_nan=False)


def _parse(line: str) -> tuple[ItemKey, LossCurve]:
    data = parse_object(line)
    try:
        key = ItemKey(*(data[name] for name in ItemKey._fields))
        every, losses = data["every"], data["losses"]
    except KeyError as error:
        raise ValueError(f"the field {error} is missing") from None
    if [type(part) for part in key] != [str, str, str, int] or key.seed < 0:
        raise ValueError(f"it names no run: {key}")
    if type(every) is not int or every < 1 or not isinstance(losses, Sequence):
        raise ValueError(f"'every' is {every!r} and 'losses' {type(losses).__name__}; a count and a list are meant")
    if not all(type(loss) in (int, float) for loss in losses):
        raise ValueError("its losses are no numbers")
    return key, LossCurve(every, tuple(map(float, losses)))
