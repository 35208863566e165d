"""ConvNeXt with timm's weights gives what timm's own module gave, recorded in tests/golden/encoders."""

import json
import zlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from common.encoders.convnext import ConvNeXt
from common.errors import UserError

GOLDEN = Path(__file__).parents[2] / "golden" / "encoders" / "timm_convnext.json"
DEPTHS, WIDTHS = (1, 1, 2, 1), (8, 12, 16, 20)


def weight(key: str, shape: list[int]) -> Tensor:
    """Anybody can make these: a cosine whose frequency is the name's checksum."""
    wave = torch.arange(torch.Size(shape).numel(), dtype=torch.float64) * (1 + zlib.crc32(key.encode()) % 97 / 97)
    return 0.3 * wave.cos().reshape(shape).float() + key.endswith(("norm.weight", "stem.1.weight"))


@pytest.fixture
def golden() -> dict:
    return json.loads(GOLDEN.read_text())


@pytest.fixture
def folder(golden: dict, tmp_path: Path) -> Path:
    weights = {key: weight(key, shape) for key, shape in golden["shapes"].items()}
    # The published file has the classifier, too.
    save_file({**weights, "head.fc.weight": torch.zeros(5, 20)}, tmp_path / "model.safetensors")
    return tmp_path


def test_same_output_as_timm(golden: dict, folder: Path) -> None:
    pixels = (torch.arange(2 * 3 * 64 * 96) % 251).reshape(2, 3, 64, 96).float() / 255
    with torch.no_grad():
        found = ConvNeXt(DEPTHS, WIDTHS, str(folder))(pixels)
    torch.testing.assert_close(found, torch.tensor(golden["output"]), atol=1e-5, rtol=1e-5)


def test_the_base_has_the_size_of_timms() -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in ConvNeXt(weights="nowhere").parameters()) == 87_566_464


def test_weights_that_do_not_fit_are_named(folder: Path) -> None:
    with pytest.raises(UserError, match=r"model\.weights: nowhere/model\.safetensors does not exist; get it with"):
        ConvNeXt(DEPTHS, WIDTHS, "nowhere")
    with pytest.raises(UserError, match=r"encoder convnext: its model\.safetensors lacks features\.1\.1\."):
        ConvNeXt((2, 1, 2, 1), WIDTHS, str(folder))
