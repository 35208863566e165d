"""Shoulder exercises under a watch, described: motion <-> text, on people who are not trained on."""

import numpy as np
import torch
from torch import Tensor

from data.benchmarks.bases.captioned_motion import CaptionedMotion, Described
from data.benchmarks.bases.captions import Attribute, Grammar
from data.sources.seglearn import SEGLEARN, Series, read_watch

RATE = 50
"""Samples a second as recorded."""
WINDOW, STRIDE, POOL = 4 * RATE, 2 * RATE, 8
"""Windows of 4 s, one every 2 s; each frame is the mean of 8 samples, so 25 frames a window."""
SUBJECTS = {"test": (4, 9), "val": (2, 7), "train": (1, 3, 5, 6, 8, 10)}
CAPTIONS = 4
EXERCISES = ("PEN", "ABD", "FEL", "IR", "ER", "TRAP", "ROW")
PERIODS = (1.35, 1.85)
"""Seconds a repetition: below the first it is quick, from the second on slow."""

GRAMMAR = Grammar(
    frames=(
        "{who} {exercise} {arm} {tempo} {range}",
        "{tempo} {who} {exercise} {arm} {range}",
        "{arm} {who} {exercise} {range} {tempo}",
    ),
    attributes={
        "who": Attribute((("a person", "someone", "the patient", "a trainee"),)),
        "exercise": Attribute(
            (
                ("does a pendulum exercise", "lets the hanging arm swing in circles", "swings like a pendulum"),
                ("does shoulder abduction", "lifts the hand out to the side", "makes sideways raises"),
                ("does forward elevation", "lifts the hand up in front", "makes front raises"),
                ("does internal rotation", "turns the bent forearm inwards", "pulls the hand in to the belly"),
                ("does external rotation", "turns the bent forearm outwards", "pulls the hand away from the belly"),
                ("does trapezius extension", "pulls the hand back beside the hip", "makes straight-arm pulls"),
                ("does an upright row", "pulls the hand up to the chin", "raises the elbow beside the chin"),
            ),
            weight=6,
        ),
        "arm": Attribute(
            (
                ("with the left arm", "on the left side", "using the left arm"),
                ("with the right arm", "on the right side", "using the right arm"),
            ),
            weight=3,
            said=0.9,
        ),
        "tempo": Attribute(
            (
                ("quickly", "at a fast pace", "in rapid succession"),
                ("at a moderate pace", "at an even tempo", "neither fast nor slow"),
                ("slowly", "at a slow pace", "without hurry"),
            ),
            weight=2,
            said=0.7,
        ),
        "range": Attribute(
            (
                ("with small movements", "through a short range"),
                ("through the usual range", "with movements of normal size"),
                ("with wide movements", "through a large range"),
            ),
            # Not 1: cosines would fall exactly on the thresholds 0.6 and 0.9, where rounding decides.
            weight=1.2,
            said=0.4,
        ),
    },
)


class Motion(CaptionedMotion):
    """2,229 windows of 7 shoulder exercises by 10 people on both sides, 4 captions each; 6 inertial channels, 6.25 Hz.

    The captions come out of a grammar: exercise and arm are the recording's labels, tempo (time between repetitions)
    and range (swing of the main axis, against the same exercise of the people to train on) are measured in the window.
    A caption says some of it, so several windows answer to one caption. The similarity of two captions is known from
    what they say.

    Six people are trained on, two validate and two test.
    """

    name = "motion"
    sources = (SEGLEARN,)
    dissimilar = 32
    grammar = GRAMMAR
    version = 1

    def load(self) -> dict[str, Described]:
        series = read_watch(self.data_root)
        windows = [window for one in series for window in _windows(one)]
        frames = torch.stack([frame for frame, _, _ in windows])
        period, swing = (torch.tensor(column) for column in list(zip(*windows, strict=True))[1:])
        counts = torch.tensor([len(range(0, len(one.signal) - WINDOW + 1, STRIDE)) for one in series])
        exercise, arm, subject = (
            torch.tensor(values).repeat_interleave(counts)
            for values in (
                [EXERCISES.index(one.exercise) for one in series],
                [one.side for one in series],
                [one.subject for one in series],
            )
        )
        rows = {
            split: torch.isin(subject, torch.tensor(people)).nonzero().flatten() for split, people in SUBJECTS.items()
        }
        train = rows["train"]
        frames = (frames - frames[train].mean(dim=(0, 1))) / frames[train].std(dim=(0, 1))
        size = torch.zeros_like(exercise)
        for number in range(len(EXERCISES)):
            here = exercise == number
            size[here] = torch.bucketize(swing[here], swing[train][exercise[train] == number].quantile(_THIRDS))
        values = {
            "exercise": exercise,
            "arm": arm,
            "tempo": torch.bucketize(period, torch.tensor(PERIODS)),
            "range": size,
        }
        splits = {}
        for split, index in rows.items():
            text, meaning = GRAMMAR.captions({name: value[index] for name, value in values.items()}, index, CAPTIONS)
            motion = [frames[i] for i in index.tolist() for _ in range(CAPTIONS)]
            start = torch.arange(len(index) + 1) * CAPTIONS
            splits[split] = Described(motion, text, meaning, start, index, exercise[index])
        return splits


_THIRDS = torch.tensor([1 / 3, 2 / 3])


def _windows(series: Series) -> list[tuple[Tensor, float, float]]:
    """Pooled frames, the period in seconds and the swing in radians of each window.

    Both are measured on the axis about which the arm turns most in the whole series.
    """
    turn = series.signal[:, 3:] - series.signal[:, 3:].mean(0)
    turn = turn @ np.linalg.svd(turn, full_matrices=False)[2][0]
    # Nobody repeats faster than in 0.9 s: shorter lags are movements within a repetition.
    usual = _strongest_lag(turn, round(0.9 * RATE), round(3.4 * RATE))
    found = []
    for start in range(0, len(turn) - WINDOW + 1, STRIDE):
        window = turn[start : start + WINDOW]
        period = _strongest_lag(window, round(0.8 * usual), round(1.25 * usual)) / RATE
        swing = np.ptp(np.cumsum(window)) / RATE
        pooled = series.signal[start : start + WINDOW].reshape(-1, POOL, 6).mean(1)
        found.append((torch.from_numpy(pooled).float(), period, float(swing)))
    return found


def _strongest_lag(signal: np.ndarray, shortest: int, longest: int) -> int:
    """The shift in samples, within the limits, at which the signal is most like itself."""
    centred = signal - signal.mean()
    # The mean product and not the sum, which favours short lags as more of the signal overlaps.
    likeness = np.correlate(centred, centred, "full")[len(centred) - 1 :] / np.arange(len(centred), 0, -1)
    return shortest + int(np.argmax(likeness[shortest : longest + 1]))
