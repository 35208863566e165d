"""Parts of a map: what is read between its cells, and means over boxes, against torch's own and by hand."""

import pytest
import torch
from torch.nn import functional as F

from common.encoders.regions import between, mean_in_boxes, resized


def test_between_cells_is_read_linearly_and_beyond_an_end_the_end() -> None:
    weights = between(torch.tensor([-3.0, 0.0, 0.25, 1.5, 2.0, 7.0]), 3)
    expected = [[1, 0, 0], [1, 0, 0], [0.75, 0.25, 0], [0, 0.5, 0.5], [0, 0, 1], [0, 0, 1]]
    torch.testing.assert_close(weights, torch.tensor(expected))


@pytest.mark.parametrize(("cells", "size"), [(6, 18), (3, 7), (4, 4), (1, 5)])
def test_a_map_is_enlarged_as_by_torch(cells: int, size: int) -> None:
    features = torch.randn(2, 5, cells, 3, dtype=torch.double)
    way, across = resized(cells, size, features), resized(3, 9, features)
    found = torch.einsum("ih,jw,ndhw->ndij", way, across, features)
    torch.testing.assert_close(found, F.interpolate(features, size=(size, 9), mode="bilinear"))


def test_cells_count_by_how_much_of_them_is_inside() -> None:
    features = torch.arange(24, dtype=torch.double).view(2, 3, 4, 1)
    boxes = torch.tensor(
        [[0.0, 0.0, 1.0, 1.0], [0.25, 1 / 3, 0.5, 2 / 3], [0.125, 0.0, 0.5, 0.5], [0.3, 0.4, 0.31, 0.41]]
    )
    found = mean_in_boxes(features, boxes.double(), torch.tensor([1, 0, 0, 1]))[:, 0]
    # Of the third: half of column 0 and all of 1, all of row 0 and half of 1.
    third = sum(
        a * b * (4 * row + column) for column, a in ((0, 1 / 3), (1, 2 / 3)) for row, b in ((0, 2 / 3), (1, 1 / 3))
    )
    torch.testing.assert_close(found, torch.tensor([17.5, 5.0, third, 17.0], dtype=torch.double), rtol=1e-6, atol=1e-6)


def test_a_mean_passes_its_gradient_on() -> None:
    features = torch.randn(2, 3, 4, 2, dtype=torch.double, requires_grad=True)
    boxes = torch.tensor([[0.1, 0.2, 0.7, 0.9], [0.0, 0.0, 0.3, 1.0]], dtype=torch.double)
    torch.autograd.gradcheck(lambda x: mean_in_boxes(x, boxes, torch.tensor([1, 0])), features)
