"""Lightness and colour, against what scikit-image gives for a few pixels."""

import pytest
import torch

from common.colour import rgb_to_lab, rgb_to_ycbcr
from common.errors import UserError

RGB = [[255, 0, 10], [0, 0, 0], [255, 255, 255], [3, 200, 255], [12, 9, 1], [120, 130, 90]]
# scikit-image 0.25.2, color.rgb2lab and color.rgb2ycbcr.
LAB = [
    [53.26435252485955, 80.15733686156729, 64.76843709026228],
    [0.0, 0.0, 0.0],
    [100.0, -0.0024549378620508655, 0.004653421154054982],
    [75.16582366559261, -22.260479169179558, -38.452845200496654],
    [2.4907598943053486, -0.29855896893853096, 3.314477624290385],
    [52.615877091883036, -10.911740999610176, 20.484211153191044],
]
YCBCR = [
    [82.46005882352941, 94.5951568627451, 239.28572549019606],
    [16.0, 128.0, 128.0],
    [235.0, 128.0, 128.0],
    [142.56224705882352, 181.35689803921568, 37.54600000000001],
    [23.716529411764704, 124.04160392156862, 129.88906666666668],
    [121.16294117647058, 111.91360784313724, 126.46494117647059],
]


def picture(rows: list[list[float]]) -> torch.Tensor:
    """The pixels side by side, (1, 3, 1, 6)."""
    return torch.tensor(rows, dtype=torch.float64).T[None, :, None]


@pytest.mark.parametrize(("convert", "expected"), [(rgb_to_lab, LAB), (rgb_to_ycbcr, YCBCR)])
def test_it_is_what_the_released_code_computes(convert, expected: list[list[float]]) -> None:
    torch.testing.assert_close(convert(picture(RGB) / 255), picture(expected), rtol=1e-9, atol=1e-9)
    # In single precision the cube root of near black is the worst.
    torch.testing.assert_close(convert(picture(RGB).float() / 255), picture(expected).float(), rtol=1e-4, atol=1e-3)


def test_a_grey_picture_is_refused() -> None:
    with pytest.raises(UserError, match=r"pixels \(2, 1, 4, 4\): expected \(n, 3, h, w\)"):
        rgb_to_lab(torch.rand(2, 1, 4, 4))
