"""LAION-400M as img2dataset writes it, with retrieval on MS-COCO: for the full recipes of CLIP and its kin."""

import io
import tarfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from common.augmentation import Crops, random_box
from common.batches import ImageText
from common.benchmark import Benchmark, Metrics, digest
from common.errors import UserError
from common.evaluation.embed import embed_dataset
from common.evaluation.image_text import image_text_retrieval
from common.paths import as_path
from common.protocols import EmbedsImage, EmbedsText
from common.random import uniform
from common.sampling.batches import GlobalBatchSampler, ResumableLoader
from data.benchmarks.bases.told_words import told
from data.captions import varied
from data.published import published_folder, read_json

SHARDS = "laion400m"
COCO = "coco/dataset_coco.json"
CAPTIONS = 5
"""Captions of a scored picture; a few have one or two more, which the protocol leaves out."""


class Shard(NamedTuple):
    """A tar of pictures with captions."""

    path: Path
    first: int
    """Global id of its first sample."""
    size: int


class _Pairs(NamedTuple):
    """A training batch before it is on its device."""

    pixels: Tensor
    """uint8, shape (n, 3, s, s)."""
    text: list[str]
    ids: Tensor


class ShardSampler(GlobalBatchSampler):
    """Shards in a new order each epoch, the samples of a shard in a new order, a batch a run of them.

    So a process opens only the shards of its own slice, and a batch of hundreds of thousands mixes dozens of shards.

    Args:
        shards: what there is.
        batch_size, seed: as in `GlobalBatchSampler`.
    """

    def __init__(self, shards: Sequence[Shard], batch_size: int, seed: int = 0) -> None:
        super().__init__(sum(shard.size for shard in shards), batch_size, seed)
        self.shards = shards

    def global_batches(self, rng: np.random.Generator) -> Iterator[np.ndarray]:
        rest = np.empty(0, np.int64)
        for number in rng.permutation(len(self.shards)):
            shard = self.shards[number]
            rest = np.concatenate([rest, shard.first + rng.permutation(shard.size)])
            while len(rest) >= self.batch_size:
                batch, rest = rest[: self.batch_size], rest[self.batch_size :]
                yield batch


class _Shards(Dataset):
    """Takes a whole list of ids at once, reads and crops the pictures with several threads, and returns a batch."""

    def __init__(self, shards: Sequence[Shard], order: GlobalBatchSampler, side: int, crop: float, threads: int):
        self.shards, self.order, self.side, self.crop, self.threads = shards, order, side, crop, threads
        self._firsts = [shard.first for shard in shards]

    def __getitem__(self, ids: list[int]) -> _Pairs:
        numbers = torch.tensor(ids)
        draws = uniform(numbers, 4, self.order.seed, self.order.epoch).tolist()
        for shard in {self._shard(number) for number in ids}:
            _contents(shard.path)  # before the threads, of which each would read it
        with ThreadPoolExecutor(self.threads) as pool:
            pixels, text = zip(*pool.map(self._sample, ids, draws), strict=True)
        return _Pairs(torch.stack(pixels), list(text), numbers)

    def _shard(self, number: int) -> Shard:
        return self.shards[int(np.searchsorted(self._firsts, number, side="right")) - 1]

    def _sample(self, number: int, draws: list[float]) -> tuple[Tensor, str]:
        shard = self._shard(number)
        (start, length), (from_, count) = _contents(shard.path)[number - shard.first]
        with shard.path.open("rb") as file:
            file.seek(start)
            picture = Image.open(io.BytesIO(file.read(length))).convert("RGB")
            file.seek(from_)
            caption = file.read(count).decode("utf-8")
        box = random_box(picture.size, self.crop, draws)
        return _pixels(picture.resize((self.side, self.side), Image.Resampling.BICUBIC, box)), caption


class Laion400M(Benchmark):
    """400 million pictures of the web with their alternative texts; scores retrieval on the Karpathy split of MS-COCO.

    Args:
        image_size: side of the pictures, in pixels.
        crop: smallest share of the area that a random resized crop keeps, with sides from 3/4 to 4/3; 1 keeps the whole
            picture.
        scored: pictures of MS-COCO are "cropped" to the largest square in the middle, as by CLIP, or "resized" whole,
            as by big_vision.
        threads: read and decode pictures; one process beside the training has them all.
        words: file with the place of each word of a list, JSON; batches then have `ImageText.concepts`, which of them
            their captions hold.
        local_views: further views of each picture, in `ImageText.local`, made on the device out of the crop.
        local: how, the arguments of `Crops`.
        text_views: further captions of each picture, in `ImageText.text_views`, see `varied`.
        batch_size, seed: as in `Benchmark`.
        data_root: folder with `laion400m`, img2dataset's output in webdataset format, and `coco`, Karpathy's
            `dataset_coco.json` beside the folder `val2014` of pictures.
    """

    name = "laion400m"
    primary = "recall@1/gallery5000"
    published = True

    def __init__(
        self,
        image_size: int = 224,
        crop: float = 0.9,
        scored: Literal["cropped", "resized"] = "cropped",
        threads: int = 16,
        batch_size: int = 32_768,
        seed: int = 0,
        data_root: str | None = None,
        words: str | None = None,
        local_views: int = 0,
        local: dict[str, float] | None = None,
        text_views: int = 0,
    ) -> None:
        super().__init__(batch_size, seed, data_root)
        if min(local_views, text_views) < 0:
            raise UserError(f"data.local_views is {local_views}, data.text_views {text_views}; both must be at least 0")
        if not 0 < crop <= 1:
            raise UserError(f"data.crop is {crop}; it must be in (0, 1]")
        if threads < 1:
            raise UserError(f"data.threads is {threads}; it must be at least 1")
        if scored not in ("cropped", "resized"):
            raise UserError(f"data.scored is {scored!r}; it must be 'cropped' or 'resized'")
        self.image_size, self.crop, self.scored_as, self.threads = image_size, crop, scored, threads
        self.words = words
        self.local_views, self.local, self.text_views = local_views, Crops(**local or {}), text_views

    def _folder(self) -> Path:
        return published_folder(
            self.data_root,
            title="LAION-400M and MS-COCO",
            files=[f"{SHARDS}/00000.tar", f"{SHARDS}/00000_stats.json", COCO, "coco/val2014"],
            where="https://laion.ai/blog/laion-400-open-dataset by img2dataset (--output_format webdataset), "
            "https://cocodataset.org and https://cs.stanford.edu/people/karpathy/deepimagesent",
            terms="the list of addresses is CC BY 4.0, pictures belong to their owners; COCO's captions are CC BY 4.0",
        )

    def prepare_data(self) -> None:
        self._folder()

    def shards(self) -> list[Shard]:
        """The shards in the order of their numbers; img2dataset writes down how many pictures each has."""
        found: list[Shard] = []
        for path in sorted((self._folder() / SHARDS).glob("*.tar")):
            size = read_json(path.with_name(f"{path.stem}_stats.json"))["successes"]
            found.append(Shard(path, found[-1].first + found[-1].size if found else 0, size))
        return found

    def captions(self) -> Iterator[str]:
        """The captions alone, shard by shard: to learn a vocabulary from."""
        for shard in self.shards():
            with shard.path.open("rb") as file:
                for _, (start, length) in _contents(shard.path):
                    file.seek(start)
                    yield file.read(length).decode("utf-8")

    def train_dataloader(self) -> ResumableLoader:
        shards = self.shards()
        order = ShardSampler(shards, self.batch_size, self.seed)
        pictures = _Shards(shards, order, self.image_size, self.crop, self.threads)
        return ResumableLoader(pictures, sampler=order, batch_size=None, num_workers=1, prefetch_factor=1)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Makes floats of a training batch on its device, and further views; the names of splits pass through."""
        if not isinstance(batch, _Pairs):
            return batch
        pixels, key = batch.pixels.float().div_(255), (self.seed, self.moment())
        found = ImageText(pixels[None], [batch.text], batch.ids, batch.ids)
        if self.local_views:
            local = [self.local(pixels, batch.ids, *key, 1 + view) for view in range(self.local_views)]
            found = found._replace(local=torch.stack(local))
        if self._columns is not None:
            found = found._replace(concepts=told(batch.text, self._columns).to(batch.ids.device))
        return found._replace(text_views=[varied(batch.text, batch.ids, *key, -1 - n) for n in range(self.text_views)])

    @cached_property
    def _columns(self) -> dict[str, int] | None:
        return None if self.words is None else read_json(as_path(self.words, "data.words"))

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """Retrieval among the 5,000 pictures of Karpathy's "val" or "test" split and five captions of each.

        Returns:
            `image_to_text/recall@k/gallery25000`, `text_to_image/recall@k/gallery5000`, and their mean
            `recall@k/gallery5000`, for k of 1, 5 and 10.

        Raises:
            UserError: the module does not offer `embed_image` and `embed_text`, or there is no such split.
        """
        self.check_request(module, split, EmbedsImage, EmbedsText)
        paths, captions = self.scored(split)
        device = next((p.device for p in module.parameters()), torch.device("cpu"))

        def embed(part: list[Path]) -> Tensor:
            with ThreadPoolExecutor(self.threads) as pool:
                return module.embed_image(torch.stack(list(pool.map(self._scored, part))).to(device))

        image = F.normalize(embed_dataset(embed, paths, 256, module), dim=1)
        flat = [caption for five in captions for caption in five]
        text = F.normalize(embed_dataset(module.embed_text, flat, 1024, module), dim=1)
        ids = torch.arange(len(paths), device=image.device)
        return image_text_retrieval(image, text, ids, ids.repeat_interleave(CAPTIONS))

    def _scored(self, path: Path) -> Tensor:
        """A scored picture, uint8, shape (3, s, s)."""
        picture = Image.open(path).convert("RGB")
        width, height = picture.size
        side = min(picture.size)
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side) if self.scored_as == "cropped" else None
        return _pixels(picture.resize((self.image_size, self.image_size), Image.Resampling.BICUBIC, box))

    def scored(self, split: str) -> tuple[list[Path], list[list[str]]]:
        """The pictures of a split and the first five captions of each."""
        folder = self._folder() / "coco"
        rows = read_json(self._folder() / COCO)["images"]
        rows = [row for row in rows if row["split"] == split]
        captions = [[sentence["raw"] for sentence in row["sentences"][:CAPTIONS]] for row in rows]
        return [folder / row["filepath"] / row["filename"] for row in rows], captions

    def floor(self) -> dict[str, Metrics]:
        """One of 5,000 pictures at random."""
        return {"chance": {self.primary: 1 / 5_000}}

    def fingerprint(self) -> str:
        """Of the shards' names and sizes, and of the scored captions: hashing 10 TB would take a day."""
        sizes = [(shard.path.name, shard.size, shard.path.stat().st_size) for shard in self.shards()]
        return digest(sizes, (self._folder() / COCO).read_bytes())


def _pixels(picture: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


@lru_cache(maxsize=64)
def _contents(path: Path) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Where in a shard each sample's picture and caption lie, (start, length) in bytes, in the order of their keys."""
    places: dict[str, dict[str, tuple[int, int]]] = {}
    with tarfile.open(path) as tar:
        for member in tar:
            key, _, kind = member.name.partition(".")
            places.setdefault(key, {})[kind] = member.offset_data, member.size
    return [(found["jpg"], found["txt"]) for _, found in sorted(places.items())]
