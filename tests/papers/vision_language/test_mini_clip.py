"""mini-clip: its files hold the towers, and the ones of this repository know scenes."""

from pathlib import Path

import lightning as L
import pytest
import torch
from torch.nn import functional as F

from common.encoders.dual import DualEncoder
from common.errors import UserError
from common.evaluation.image_text import image_text_retrieval
from common.table import take
from data.benchmarks.worlds.scenes import Scenes
from papers.vision_language.clip.mini_clip import export
from papers.vision_language.clip.module import CLIP


def test_files_give_the_towers_back(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = CLIP(width=8, embed_dim=24, text_length=12, image_size=40)
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(tmp_path / "made.ckpt")
    export(tmp_path / "made.ckpt", tmp_path)
    loaded = DualEncoder.named("mini-clip", str(tmp_path)).eval()
    module.eval()
    pixels = torch.randint(0, 256, (3, 3, 40, 40), dtype=torch.uint8)
    texts = ["a large dog", "a small red star above a fox"]
    # Half precision is what the files have.
    torch.testing.assert_close(loaded.embed_image(pixels), module.embed_image(pixels), atol=5e-3, rtol=0)
    torch.testing.assert_close(loaded.texts(texts), module.embed_text(texts), atol=5e-3, rtol=0)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"encoder mini-clip: .*config\.json does not exist"):
        DualEncoder.named("mini-clip", str(tmp_path))


def test_the_checkpoint_finds_captions_of_scenes_it_was_not_trained_on(fetched) -> None:
    fetched(*Scenes.sources)
    scenes = Scenes()
    scenes.setup()
    data = take(scenes.splits["val"], torch.arange(200))
    encoder = DualEncoder.named("mini-clip").eval()
    with torch.no_grad():
        image, text = F.normalize(encoder.embed_image(data.pixels)), encoder.texts(data.texts[0])
    found = image_text_retrieval(image, text, data.text_ids, data.text_ids)
    assert found["recall@1/gallery200"] > 0.3  # chance is 0.005
