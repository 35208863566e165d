"""Scenes and emoji together: what mini-clip is trained on."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.benchmark import Metrics, digest
from common.sampling.batches import ResumableLoader
from common.sampling.tasks import SingleTaskSampler
from common.table import Table
from data.benchmarks.bases.image_text import Captioned, ImageTextBenchmark
from data.benchmarks.mini.emoji import Emoji
from data.benchmarks.worlds.scenes import Scenes

SIDE = 48
_EMOJI = 2**40
"""Added to the ids of emoji, which are numbered on their own."""


class CaptionedPictures(ImageTextBenchmark):
    """The 20,000 scenes and 3,780 emoji by three vendors, 48x48, in batches of one kind, with English captions.

    Args:
        batch_size, seed, data_root: as in `Benchmark`.
        brightness, contrast: of the augmentation, which leaves the geometry alone, for captions speak of it.
    """

    name = "captioned_pictures"
    primary = "recall@1/gallery2000"
    sources = (*Scenes.sources, *Emoji.sources)
    spoken = ("en",)
    version = 1

    def __init__(
        self,
        batch_size: int = 128,
        seed: int = 0,
        data_root: str | None = None,
        brightness: float = 0.2,
        contrast: float = 0.2,
    ) -> None:
        super().__init__(batch_size, seed, data_root, brightness=brightness, contrast=contrast)
        self.scenes = Scenes(batch_size=batch_size, seed=seed, data_root=data_root)
        self.emoji = Emoji(batch_size=batch_size, seed=seed, data_root=data_root)

    def load(self) -> dict[str, Captioned]:
        self.scenes.setup()
        self.emoji.setup()
        splits = {}
        for split, scenes in self.scenes.splits.items():
            emoji = self.emoji.splits[split]
            splits[split] = Captioned(
                torch.cat([scenes.pixels, enlarged(emoji.pixels)]),
                (scenes.texts[0] + emoji.texts[0],),
                torch.cat([scenes.ids, emoji.ids + _EMOJI]),
                torch.cat([scenes.text_ids, emoji.text_ids + _EMOJI]),
            )
        return splits

    def train_dataloader(self) -> ResumableLoader:
        self.setup()
        sizes = [len(part.splits["train"].ids) for part in (self.scenes, self.emoji)]
        return Table(self.train).loader_over(SingleTaskSampler(sizes, self.batch_size, self.seed))

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """What `Scenes` measures, and behind `emoji/` what `Emoji` does."""
        self.setup()
        emoji = self.emoji.evaluate(Enlarging(module), split)
        return self.scenes.evaluate(module, split) | {f"emoji/{name}": value for name, value in emoji.items()}

    def floor(self) -> dict[str, Metrics]:
        """Chance on both."""
        self.setup()
        emoji = {f"emoji/{name}": value for name, value in self.emoji.chance().items()}
        return {"chance": self.scenes.chance() | emoji}

    def fingerprint(self) -> str:
        return digest(super().fingerprint(), self.scenes.fingerprint(), self.emoji.fingerprint())

    def example(self) -> str:
        """Captions; `Scenes` and `Emoji` show the pictures."""
        self.setup()
        texts = self.splits["train"].texts[0]
        return "\n".join([*texts[:3], *texts[-3:]])


class Enlarging(nn.Module):
    """A module that sees pictures enlarged to 48 x 48."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def embed_image(self, pixels: Tensor) -> Tensor:
        return self.module.embed_image(enlarged(pixels))

    def embed_text(self, texts: list[str]) -> Tensor:
        return self.module.embed_text(texts)


def enlarged(pixels: Tensor) -> Tensor:
    """uint8 pictures of shape (n, 3, h, w) as (n, 3, 48, 48)."""
    larger = F.interpolate(pixels.float(), size=(SIDE, SIDE), mode="bilinear", align_corners=False)
    return larger.round().to(torch.uint8)
