"""MS COCO's captions of 2017 as it distributes them, one a picture: for the full recipe of the contrastive gap."""

from pathlib import Path
from typing import Any

from common.benchmark import Metrics
from common.errors import UserError
from data.benchmarks.published.caption_lists import CaptionLists
from data.published import published_folder, read_json

TRAIN, VAL = (f"annotations/captions_{part}2017.json" for part in ("train", "val"))


class CocoCaptions(CaptionLists):
    """Learns from the 118,287 training pictures with one caption each, scores retrieval among 5,000 pictures with one.

    Both splits that are scored are the validation pictures: the captions of the test pictures were never published.

    Args:
        caption: which of a picture's captions, in the order of the file from 0.
        image_size: side of the pictures, which are brought to a square whole, in pixels.
        threads, batch_size, seed: as in `CaptionLists`.
        data_root: folder with `annotations`, `train2017` and `val2017`.

    Raises:
        UserError: `caption` is below 0.
    """

    name = "coco_captions"
    primary = "recall@1/gallery5000"

    def __init__(
        self,
        caption: int = 1,
        image_size: int = 224,
        threads: int = 16,
        batch_size: int = 64,
        seed: int = 0,
        data_root: str | None = None,
    ) -> None:
        sizes = dict(image_size=image_size, crop=1.0, flip=0.0, operations=0, threads=threads)
        common = dict(batch_size=batch_size, seed=seed, data_root=data_root)
        super().__init__(training=(TRAIN,), scored=(VAL, VAL), **sizes, **common)
        if caption < 0:
            raise UserError(f"data.caption is {caption}; it must be at least 0")
        self.caption = caption

    def _folder(self) -> Path:
        return published_folder(
            self.data_root,
            title="MS COCO 2017",
            files=[TRAIN, VAL, "train2017", "val2017"],
            where="https://cocodataset.org",
            terms="captions are CC BY 4.0, pictures belong to their owners",
        )

    def _read(self, file: str) -> list[dict[str, Any]]:
        """The rows of `CaptionLists`; to be scored, too, a picture has its one caption.

        Raises:
            UserError: a picture has too few captions.
        """
        found, told = read_json(self._folder() / file), {}
        for annotation in found["annotations"]:
            told.setdefault(annotation["image_id"], []).append(annotation["caption"])
        folder, rows = "train2017" if file == TRAIN else "val2017", []
        for picture in found["images"]:
            captions = told.get(picture["id"], [])
            if len(captions) <= self.caption:
                name = picture["file_name"]
                raise UserError(f"{file}: {name} has {len(captions)} captions; data.caption {self.caption} needs more")
            caption = captions[self.caption]
            own = caption if file == TRAIN else [caption]
            rows.append({"image": f"{folder}/{picture['file_name']}", "caption": own, "image_id": picture["id"]})
        return rows

    def clean(self, caption: str) -> str:
        """As it is; the tokenizer has its own rules."""
        return caption.strip()

    def floor(self) -> dict[str, Metrics]:
        """One of 5,000 pictures at random."""
        return {"chance": {self.primary: 1 / 5_000}}
