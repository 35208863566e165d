"""Described motion capture: moments apart, mirror images, captions that say what the root does."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from data.benchmarks.mini.mocap import CAPTIONS, GAP, GRAMMAR, SHARES, WINDOW, Mocap, _both_sides, _measured
from data.sources.pybullet_motions import PYBULLET_MOTIONS, Motion, read_motions


@pytest.fixture(scope="module")
def mocap(fetched: Callable[..., None]) -> Mocap:
    fetched(PYBULLET_MOTIONS)
    benchmark = Mocap()
    benchmark.prepare_data()
    benchmark.setup()
    return benchmark


def walker(velocity: tuple[float, float, float], turn: float, seconds: float = 2.0) -> Motion:
    """A stiff figure that moves evenly and turns about the vertical, at another rate than the benchmark's."""
    time = np.arange(round(seconds * 50)) / 50
    frames = np.zeros((len(time), 44))
    frames[:, 0] = 1 / 50
    frames[:, 1:4] = np.array(velocity) * time[:, None] + np.array([0, 0.9, 0])
    frames[:, 4], frames[:, 6] = np.cos(turn * time / 2), np.sin(turn * time / 2)
    for start in (8, 12, 16, 21, 25, 30, 35, 39):
        frames[:, start] = 1.0
    frames[:, 20], frames[:, 34] = 0.3, -0.7  # the knees
    return Motion("walker", frames, False)


@pytest.mark.parametrize(
    ("velocity", "turn", "said"),
    [
        ((1.0, 0.0, 0.0), 0.0, (1, 0, 0)),
        ((-1.0, 0.0, 0.0), 0.0, (2, 0, 0)),
        ((0.0, 0.0, -1.0), 0.0, (3, 0, 0)),
        ((0.0, 0.0, 1.0), 0.0, (4, 0, 0)),
        ((0.0, 0.5, 0.0), 2.0, (0, 1, 1)),
        ((0.0, -0.5, 0.0), -2.0, (0, 2, 2)),
    ],
)
def test_travel_turn_and_height_are_measured(
    velocity: tuple[float, float, float], turn: float, said: tuple[int, int, int]
) -> None:
    """x is ahead, y is up, z to the right; a positive angle about y turns left."""
    channels, mirrored = _both_sides(walker(velocity, turn))
    assert channels.shape == (60, 44)
    measured = _measured(channels[10:22][None])
    assert tuple(int(measured[name]) for name in ("travel", "turn", "height")) == said
    swapped = {0: 0, 1: 1, 2: 2, 3: 4, 4: 3}[said[0]], {0: 0, 1: 2, 2: 1}[said[1]], said[2]
    measured = _measured(mirrored[10:22][None])
    assert tuple(int(measured[name]) for name in ("travel", "turn", "height")) == swapped
    speed = channels[10:20, 1:5].mean(0)
    torch.testing.assert_close(speed[3], torch.tensor(turn), atol=0.02, rtol=0)
    torch.testing.assert_close(speed[1], torch.tensor(velocity[1]), atol=0.01, rtol=0)
    # The knees change sides.
    assert channels[0, 8 + 12] == pytest.approx(0.3) and channels[0, 8 + 26] == pytest.approx(-0.7)
    assert mirrored[0, 8 + 12] == pytest.approx(-0.7) and mirrored[0, 8 + 26] == pytest.approx(0.3)


def test_a_walk_goes_ahead_and_a_backflip_back(mocap: Mocap) -> None:
    clips = {clip.name: _both_sides(clip)[0] for clip in read_motions()}
    assert len(clips) == 15 == len(GRAMMAR.attributes["action"].wordings)
    ahead = {name: float(channels[:, 1].mean()) for name, channels in clips.items()}
    assert ahead["walk"] == pytest.approx(0.97, abs=0.02) and ahead["run"] == pytest.approx(3.5, abs=0.1)
    assert ahead["backflip"] < -0.5 and ahead["crawl"] > 0.2
    climb = {name: float(channels[-1, 0] - channels[0, 0]) for name, channels in clips.items()}
    assert sorted(climb, key=climb.get)[-2:] == ["getup_faceup", "getup_facedown"]
    # The vertical stands upright in the root of one who walks.
    assert float(clips["walk"][:, 6].min()) > 0.9


def test_counts(mocap: Mocap) -> None:
    assert {split: len(part.ids) for split, part in mocap.splits.items()} == {"train": 676, "val": 36, "test": 110}
    for part in mocap.splits.values():
        assert {frames.shape for frames in part.motion} == {(WINDOW, 44)}
        assert len(part.text) == CAPTIONS * len(part.ids)
    assert mocap.splits["train"].labels.unique().numel() == 15 and mocap.splits["test"].labels.unique().numel() == 11


def test_no_frame_stands_in_two_splits(mocap: Mocap) -> None:
    assert GAP > 0 and [first for first, _ in SHARES.values()][1:] == [last for _, last in SHARES.values()][:-1]
    seen: dict[bytes, str] = {}
    for split, part in mocap.splits.items():
        for window in part.scored_motions():
            for frame in window:
                assert seen.setdefault(frame.numpy().tobytes(), split) == split


def test_the_similarity_of_captions_keeps_off_the_thresholds(mocap: Mocap) -> None:
    meaning = mocap.splits["train"].meaning.unique(dim=0).double()
    cosine = meaning @ meaning.T
    for threshold in (0.6, 0.9):
        assert float((cosine - threshold).abs().min()) > 1e-4


def test_the_fingerprint_is_pinned(mocap: Mocap) -> None:
    assert mocap.fingerprint()[:8] == "f78f08a7"


def test_a_constant_and_the_floor(mocap: Mocap) -> None:
    class Constant(nn.Module):
        def embed_motion(self, motions: list[Tensor]) -> Tensor:
            return torch.ones(len(motions), 3)

    constant = mocap.evaluate(Constant())
    assert set(constant) == {"knn20_cosine/top1", "probe_linear/top1"} and max(constant.values()) < 0.25
    floor = mocap.floor()
    assert floor["channel statistics"]["probe_linear/top1"] == pytest.approx(0.78, abs=0.05)
    assert floor["linear map of channel statistics to words"][mocap.primary] > 2 * floor["chance"][mocap.primary]
