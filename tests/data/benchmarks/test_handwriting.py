"""Strokes that are moved, bent and brushed: what the numbers say is what is drawn."""

import numpy as np
import pytest
import torch

from data.benchmarks.bases.handwriting import PER_CHARACTER, PER_STROKE, brushed, resampled, stroke_table, written


def test_points_are_equally_far_apart_along_a_line() -> None:
    corner = np.array([[0.0, 0.0], [3.0, 0.0], [3.0, 0.0], [3.0, 1.0]])
    assert resampled(corner, 5).tolist() == [[0, 0], [1, 0], [2, 0], [3, 0], [3, 1]]


def test_characters_of_various_strokes_in_one_table() -> None:
    line = np.array([[0.0, 0.0], [1.0, 1.0]])
    lines, counts = stroke_table([[line], [line, -line]], 3)
    assert lines.shape == (2, 2, 3, 2) and counts.tolist() == [1, 2]
    assert lines[1, 1].tolist() == [[0, 0], [-0.5, -0.5], [-1, -1]]


def test_without_jitter_the_lines_stay() -> None:
    lines = torch.rand(3, 2, 6, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1
    z = torch.randn(3, 2 * PER_STROKE + PER_CHARACTER, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(written(lines, z, 0), lines)
    moved = written(lines, z) - lines
    assert 0.05 < float(moved.square().mean().sqrt()) < 0.5
    assert not torch.equal(moved[:, 0].mean(1), moved[:, 1].mean(1)), "each stroke has a place of its own"


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        # Of the stroke: length, place to the right and down, bends; of the whole: turn, slant, width, height, shift.
        (0, [[-0.56, 0.0], [0.56, 0.0]]),
        (1, [[-0.42, 0.0], [0.58, 0.0]]),
        (2, [[-0.5, 0.08], [0.5, 0.08]]),
        (3, [[-0.45, 0.0], [0.5, 0.0]]),
        (8, [[-0.5, 0.0], [0.5, 0.05]]),
        (9, [[-0.4944, -0.0747], [0.4944, 0.0747]]),
        (10, [[-0.5, 0.0], [0.5, 0.0]]),
        (11, [[-0.56, 0.0], [0.56, 0.0]]),
        (12, [[-0.5, 0.0], [0.5, 0.0]]),
        (13, [[-0.42, 0.0], [0.58, 0.0]]),
        (14, [[-0.5, 0.08], [0.5, 0.08]]),
    ],
)
def test_what_each_number_does_to_a_level_stroke(number: int, expected: list[list[float]]) -> None:
    level = torch.tensor([[[[-0.5, 0.0], [0.0, 0.0], [0.5, 0.0]]]])
    z = torch.zeros(1, PER_STROKE + PER_CHARACTER)
    z[0, number] = 1
    torch.testing.assert_close(written(level, z)[0, 0, [0, 2]], torch.tensor(expected), atol=1e-4, rtol=0)


def test_a_brush_leaves_what_is_near_the_line() -> None:
    lines = torch.tensor([[[[2.0, 3.0], [6.0, 3.0]], [[0.0, 0.0], [0.0, 8.0]]]])
    ink = brushed(lines, torch.tensor([1]), torch.tensor([1.0]), 9)
    assert ink.shape == (1, 1, 9, 9)
    column = ink[0, 0, :, 4].tolist()
    assert column == pytest.approx([0, 0, 0.5, 1, 0.5, 0, 0, 0, 0])
    assert ink[0, 0, 3].tolist() == pytest.approx([0, 0.5, 1, 1, 1, 1, 1, 0.5, 0]), "its ends are round"
    both = brushed(lines, torch.tensor([2]), torch.tensor([1.0]), 9)
    assert ink[0, 0, 8, 0] == 0 and both[0, 0, 8, 0] == 1, "the second stroke is drawn where there is one"
    mixed = brushed(lines.repeat(2, 1, 1, 1), torch.tensor([1, 2]), torch.ones(2), 9)
    torch.testing.assert_close(mixed, torch.cat([ink, both]))
