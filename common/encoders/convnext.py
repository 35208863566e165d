"""ConvNeXt (Liu et al. 2022) without a classifier, with weights as timm publishes them."""

import re
from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.convnext import ConvNeXt as Body

from common.encoders.pretrained import load_exactly
from common.encoders.weights import are_read
from common.errors import UserError
from common.paths import as_path

# What torchvision calls the parts of a block that timm gives names.
_PARTS = {"gamma": "layer_scale", "conv_dw": "block.0", "norm": "block.2", "mlp.fc1": "block.3", "mlp.fc2": "block.5"}


class ConvNeXt(nn.Module):
    """Pixels in, the normalized mean of the last feature map out; by default ConvNeXt-B, 87.6 M parameters.

    Args:
        depths: blocks of the four stages.
        widths: their channels; the last is the width of the vectors.
        weights: folder with a `model.safetensors` in timm's names; None starts afresh. On the meta device, which holds
            no weights, it is never read.

    Raises:
        UserError: the folder has no such file, or it holds another architecture.
    """

    def __init__(
        self,
        depths: Sequence[int] = (3, 3, 27, 3),
        widths: Sequence[int] = (128, 256, 512, 1024),
        weights: str | None = None,
    ) -> None:
        super().__init__()
        self.output_dim = widths[-1]
        stages = zip(widths, [*widths[1:], None], depths, strict=True)
        self.body = Body([CNBlockConfig(*stage) for stage in stages], stochastic_depth_prob=0.0)
        self.body.classifier[-1] = nn.Identity()
        if weights is not None and are_read(self.body.features[0][0].weight):
            load_exactly(self.body, _read(as_path(weights, "model.weights") / "model.safetensors"), "convnext")

    def forward(self, pixels: Tensor) -> Tensor:
        """Maps float pixels in [0, 1] of shape (n, 3, h, w) to vectors of shape (n, widths[-1])."""
        mean, deviation = (pixels.new_tensor(x)[:, None, None] for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
        return self.body((pixels - mean) / deviation)


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise UserError(
            f"model.weights: {path} does not exist; get it with `hf download "
            f"timm/convnext_base.fb_in22k_ft_in1k_384 model.safetensors --local-dir {path.parent}`"
        )
    found = {}
    for key, tensor in load_file(path).items():
        renamed = _renamed(key)
        found[renamed] = tensor[:, None, None] if renamed.endswith("layer_scale") else tensor
    return found


def _renamed(key: str) -> str:
    if block := re.fullmatch(r"stages\.(\d)\.blocks\.(\d+)\.(gamma|conv_dw|norm|mlp\.fc[12])(\.\w+)?", key):
        stage, number, part, kind = block.groups()
        return f"features.{2 * int(stage) + 1}.{number}.{_PARTS[part]}{kind or ''}"
    if between := re.fullmatch(r"stages\.(\d)\.downsample\.(.+)", key):
        return f"features.{2 * int(between[1])}.{between[2]}"
    return re.sub(r"^stem\.", "features.0.", re.sub(r"^head\.norm\.", "classifier.0.", key))
