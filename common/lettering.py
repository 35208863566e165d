"""Texts as pixels: small letters of three by five, so that a caption fits a small picture."""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from common.errors import UserError

HEIGHT = 6
"""Of a row at least: five pixels and one between the rows."""
_SPACE = 3
"""As wide as a letter, so that letters without a mark between them stand in columns."""
_LETTERS = {
    **{"a": "010101111101101", "b": "110101110101110", "c": "011100100100011", "d": "110101101101110"},
    **{"e": "111100110100111", "f": "111100110100100", "g": "011100101101011", "h": "101101111101101"},
    **{"i": "111010010010111", "j": "001001001101010", "k": "101101110101101", "l": "100100100100111"},
    **{"m": "101111111101101", "n": "110101101101101", "o": "010101101101010", "p": "110101110100100"},
    **{"q": "010101101110011", "r": "110101110101101", "s": "011100010001110", "t": "111010010010010"},
    **{"u": "101101101101111", "v": "101101101101010", "w": "101101111111101", "x": "101101010101101"},
    **{"y": "101101010010010", "z": "111001010100111", ",": "000000000010100", ".": "000000000000010"},
}
"""Rows of three pixels, from the top."""
_UNKNOWN = "111111111111111"


@cache
def _glyph(letter: str) -> np.ndarray:
    """The letter without empty columns, bool of shape (5, w)."""
    if letter == " ":
        return np.zeros((HEIGHT - 1, _SPACE), dtype=bool)
    dots = np.array(list(_LETTERS.get(letter, _UNKNOWN))).reshape(HEIGHT - 1, 3) == "1"
    columns = np.flatnonzero(dots.any(axis=0))
    return dots[:, columns[0] : columns[-1] + 1]


def rendered(texts: list[str], height: int, width: int, channels: int = 3, row: int = HEIGHT) -> Tensor:
    """Texts as pictures: lower case, black on grey, one pixel between letters, broken at the edge and not at words.

    As CLIPPO renders them (Tschannen et al. 2023), with letters of three by five pixels instead of Unifont's sixteen.
    What does not fit is cut; a letter that there is none of is a block.

    Args:
        texts: n texts.
        height, width: of the pictures in pixels, at least 6 and 4.
        channels: copies.
        row: from the top of one row to that of the next, in pixels, at least 6.

    Returns:
        uint8 of shape (n, channels, height, width): 0 for letters, 127 for the ground.

    Raises:
        UserError: the picture has no room for a letter, or rows would overlap.
    """
    if row < HEIGHT:
        raise UserError(f"rows of text are {row} pixels high; they must be at least {HEIGHT}")
    if height < HEIGHT or width < 4:
        raise UserError(f"pictures of texts are {height} x {width}; they must be at least {HEIGHT} x 4 pixels")
    pixels = np.full((len(texts), height, width), 127, dtype=np.uint8)
    for picture, text in zip(pixels, texts, strict=True):
        top = left = 0
        for letter in text.lower():
            glyph = _glyph(letter)
            if left + glyph.shape[1] > width:
                top, left = top + row, 0
            if top + HEIGHT > height:
                break
            picture[top : top + HEIGHT - 1, left : left + glyph.shape[1]][glyph] = 0
            left += glyph.shape[1] + 1
    return torch.from_numpy(pixels)[:, None].expand(-1, channels, -1, -1).contiguous()
