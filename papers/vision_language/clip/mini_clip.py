"""Makes the files of the checkpoint `mini-clip` after its training.

papers fit clip --config data/checkpoints/mini_clip/recipe.yaml
python -m papers.vision_language.clip.mini_clip logs/mini_clip/checkpoints/last.ckpt logs/mini_clip
"""

import json
import sys
from inspect import signature
from pathlib import Path

import torch
from safetensors.torch import save_file

from common.encoders.dual import DualEncoder
from common.training.log_table import write_log
from papers.vision_language.clip.module import CLIP

FOLDER = Path(__file__).parents[3] / "data" / "checkpoints" / "mini_clip"
# The towers' arguments under the names that the method gives them.
RENAMED = {"image": "image_encoder", "text": "text_encoder"}


def export(checkpoint: Path, folder: Path = FOLDER) -> None:
    """Writes both towers in half precision, and the arguments that build them."""
    module = CLIP.load_from_checkpoint(checkpoint, map_location="cpu", weights_only=True)
    tensors = {
        key: tensor.to(torch.float16).contiguous() if tensor.is_floating_point() else tensor
        for key, tensor in module.encoder.state_dict().items()
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = {name: module.hparams[RENAMED.get(name, name)] for name in signature(DualEncoder).parameters}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    export(Path(sys.argv[1]))
    write_log(Path(sys.argv[2]), FOLDER / "log.csv")
