"""Motion capture of a humanoid, described: another moment of the same performances."""

import numpy as np
import torch
from torch import Tensor

from data.benchmarks.bases.captioned_motion import CaptionedMotion, Described
from data.benchmarks.bases.captions import Attribute, Grammar
from data.sources.pybullet_motions import PYBULLET_MOTIONS, Motion, read_motions

RATE = 30
"""Frames a second after resampling."""
WINDOW = 12
SHARES = {"train": (0.0, 0.5), "val": (0.5, 0.7), "test": (0.7, 1.0)}
"""Where in a clip's time each split lies."""
GAP = 3
"""Frames left out between two splits."""
STRIDES = {"train": 1, "val": 2, "test": 2}
CAPTIONS = 4

GRAMMAR = Grammar(
    frames=("{who} {action} {travel} {turn} {height}", "{height} {who} {action} {turn} {travel}"),
    attributes={
        "who": Attribute((("a person", "someone", "the figure"),)),
        "action": Attribute(
            (
                ("does a backflip", "flips over backwards"),
                ("does a cartwheel", "turns a wheel over the hands"),
                ("crawls", "moves on hands and knees"),
                ("dances with the arms", "performs a dance"),
                ("dances in steps", "performs another dance"),
                ("gets up from lying face down", "stands up from the belly"),
                ("gets up from lying on the back", "stands up from the back"),
                ("jumps", "makes a leap"),
                ("kicks", "strikes with the foot"),
                ("punches", "strikes with the fist"),
                ("rolls over the ground", "does a forward roll"),
                ("runs", "jogs"),
                ("spins", "twirls"),
                ("does a spin kick", "kicks out of a turn"),
                ("walks", "strolls"),
            ),
            weight=6,
        ),
        "travel": Attribute(
            (
                ("on the spot", "without leaving the place"),
                ("forwards", "moving ahead"),
                ("backwards", "moving back"),
                ("to the left", "moving leftwards"),
                ("to the right", "moving rightwards"),
            ),
            # Odd weights: cosines would fall exactly on the thresholds of the protocols, where rounding decides.
            weight=2.2,
            said=0.7,
        ),
        "turn": Attribute(
            (
                ("without a turn", "facing one way"),
                ("in a left turn", "turning left"),
                ("in a right turn", "turning right"),
            ),
            weight=1.3,
            said=0.5,
        ),
        "height": Attribute(
            (("at one height", "staying level"), ("rising", "on the way up"), ("sinking", "on the way down")),
            weight=1.7,
            said=0.5,
        ),
    },
)


class Mocap(CaptionedMotion):
    """15 clips of 15 actions and their mirror images, cut into windows of 0.4 s; 44 channels at 30 Hz, 4 captions each.

    A clip is trained on in its first half; of those of two seconds and more a later part validates and the last tests,
    0.1 s apart. So what is scored is another moment of a performance that is known, which is easier than another
    performance; and windows overlap. The channels are the root's height, velocity (ahead, up, to the right, m/s), rate
    of turn (rad/s, to the left), tilt (the vertical as the root sees it), and the rotations of 12 joints.
    """

    name = "mocap"
    sources = (PYBULLET_MOTIONS,)
    dissimilar = 16
    grammar = GRAMMAR
    version = 1

    def load(self) -> dict[str, Described]:
        clips = [frames for clip in read_motions(self.data_root) for frames in _both_sides(clip)]
        rows: dict[str, list[tuple[int, int]]] = {split: [] for split in SHARES}
        for number, frames in enumerate(clips):
            for split, (first, last) in SHARES.items():
                start = round(first * len(frames)) + (GAP if first else 0)
                stop = round(last * len(frames)) - WINDOW
                rows[split] += [(number, at) for at in range(start, stop + 1, STRIDES[split])]
        windows = {split: torch.stack([clips[n][at : at + WINDOW] for n, at in found]) for split, found in rows.items()}
        mean, std = windows["train"].mean(dim=(0, 1)), windows["train"].std(dim=(0, 1))
        splits, first = {}, 0
        for split, found in rows.items():
            ids = torch.arange(first, first + len(found))
            first += len(found)
            action = torch.tensor([number // 2 for number, _ in found])
            text, meaning = GRAMMAR.captions({"action": action, **_measured(windows[split])}, ids, CAPTIONS)
            frames = (windows[split] - mean) / (std + 1e-6)
            motion = [window for window in frames for _ in range(CAPTIONS)]
            splits[split] = Described(motion, text, meaning, torch.arange(len(found) + 1) * CAPTIONS, ids, action)
        return splits


def _measured(windows: Tensor) -> dict[str, Tensor]:
    """What the captions tell of windows of shape (n, t, 44)."""
    ahead, up, right = windows.mean(dim=1)[:, 1:4].unbind(dim=1)
    # Of a body on its head the heading is not defined, and its rate leaps for a frame or two.
    turn = windows[:, :, 4].median(dim=1).values
    sideways = right.abs() > ahead.abs()
    travel = torch.where(sideways, torch.where(right < 0, 3, 4), torch.where(ahead > 0, 1, 2))
    moves = torch.hypot(ahead, right) > 0.3
    return {
        "travel": torch.where(moves, travel, 0),
        "turn": torch.where(turn.abs() < 0.5, 0, torch.where(turn > 0, 1, 2)),
        "height": torch.where(up.abs() < 0.2, 0, torch.where(up > 0, 1, 2)),
    }


# Columns of a clip's frames: duration, root position, root quaternion (w first), then the joints. The chest and the
# neck have no side; hip, knee, ankle, shoulder and elbow come for the right, then for the left.
_QUATERNIONS = (4, 8, 12, 16, 21, 25, 30, 35, 39)
_RIGHT, _LEFT = slice(16, 30), slice(30, 44)


def _both_sides(clip: Motion) -> tuple[Tensor, Tensor]:
    """The channels of a clip and of its mirror image, shape (t, 44) each."""
    frames = _resampled(clip.frames)
    mirrored = frames.copy()
    mirrored[:, _RIGHT], mirrored[:, _LEFT] = frames[:, _LEFT], frames[:, _RIGHT]
    mirrored[:, 3] *= -1
    for start in _QUATERNIONS:  # the reflection of z turns about x and y the other way
        mirrored[:, start + 1 : start + 3] *= -1
    return _channels(frames), _channels(mirrored)


def _resampled(frames: np.ndarray) -> np.ndarray:
    """The same clip at `RATE`; what is between two frames is interpolated, quaternions along their chord."""
    frames = frames.copy()
    for start in _QUATERNIONS:
        part = frames[:, start : start + 4]
        # q and -q are one rotation: take the sign that is nearer to the frame before.
        signs = np.sign((part[1:] * part[:-1]).sum(1) + 1e-12)
        part[1:] *= np.cumprod(signs)[:, None]
    time = np.concatenate([[0], np.cumsum(frames[:-1, 0])])
    new = np.arange(0, time[-1], 1 / RATE)
    found = np.stack([np.interp(new, time, column) for column in frames.T], axis=1)
    for start in _QUATERNIONS:
        found[:, start : start + 4] /= np.linalg.norm(found[:, start : start + 4], axis=1, keepdims=True)
    return found


def _channels(frames: np.ndarray) -> Tensor:
    position, root = frames[:, 1:4], frames[:, 4:8]
    # The part of the rotation that is about the vertical y, to the left as seen from above. It stays as it is where the
    # body turns over, as the direction that the chest faces does not.
    heading = np.unwrap(2 * np.arctan2(root[:, 2], root[:, 0]))
    velocity = np.gradient(position, 1 / RATE, axis=0)
    cos, sin = np.cos(heading), np.sin(heading)
    forwards = velocity[:, 0] * cos - velocity[:, 2] * sin
    rightwards = velocity[:, 0] * sin + velocity[:, 2] * cos
    vertical = _rotated(root * np.array([1, -1, -1, -1]), np.array([0.0, 1.0, 0.0]))
    travel = [position[:, 1], forwards, velocity[:, 1], rightwards, np.gradient(heading, 1 / RATE)]
    return torch.from_numpy(np.column_stack([*travel, vertical, frames[:, 8:]])).float()


def _rotated(quaternions: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """The vector under each rotation, (t, 4) and (3,) -> (t, 3)."""
    w, axis = quaternions[:, :1], quaternions[:, 1:]
    twice = 2 * np.cross(axis, vector)
    return vector + w * twice + np.cross(axis, twice)
