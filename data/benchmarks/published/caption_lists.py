"""Captioned pictures by JSON lists, as ALBEF and its successors distribute theirs, with retrieval on another list."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset
from torchvision.transforms.v2.functional import pil_to_tensor

from common.augmentation import ImageAugmentation, random_box
from common.batches import ImageText
from common.benchmark import Benchmark, Metrics, digest
from common.errors import UserError
from common.evaluation.embed import embed_dataset
from common.evaluation.image_text import image_text_retrieval, reranked_retrieval
from common.protocols import EmbedsImage, EmbedsText, RanksPairs
from common.rand_augment import DRAWS, rand_augment
from common.random import uniform
from common.sampling.batches import GlobalBatchSampler, ResumableLoader
from data.published import published_folder, read_json

PRETRAINING = ("coco.json", "vg.json", "sbu.json", "cc3m_train.json", "cc3m_val.json")
"""The lists of the paper's 4 million pictures; for 14 million cc12m.json comes in."""
_BOX = slice(1, 5)
_AUGMENT = 6
_COLOURS = 1000


class _Pairs(NamedTuple):
    """A training batch before it is on its device."""

    pixels: Tensor
    """uint8, shape (n, views, 3, s, s)."""
    text: list[str]
    ids: Tensor
    text_ids: Tensor


class _Rows(Dataset):
    """Takes a whole list of rows at once, reads and augments the pictures with several threads, and returns a batch."""

    def __init__(self, benchmark: "CaptionLists", order: GlobalBatchSampler) -> None:
        self.benchmark, self.order = benchmark, order
        self.rows, self.numbers = benchmark.rows(), benchmark.picture_numbers()

    def __getitem__(self, index: list[int]) -> _Pairs:
        ids, augmented = torch.tensor(index), DRAWS * self.benchmark.operations
        keys = [(self.order.seed, self.order.epoch, *view) for view in self.benchmark.view_keys()]
        draws = zip(*(uniform(ids, _AUGMENT + augmented, *key).tolist() for key in keys), strict=True)
        with ThreadPoolExecutor(self.benchmark.threads) as pool:
            pixels, text = zip(*pool.map(self._sample, index, draws), strict=True)
        return _Pairs(torch.stack(pixels), list(text), ids, self.numbers[ids])

    def _sample(self, row: int, draws: tuple[list[float], ...]) -> tuple[Tensor, str]:
        """All views of a picture, (views, 3, s, s), and one of its captions."""
        caption, path = self.rows[row]["caption"], self.benchmark.path(self.rows[row])
        if isinstance(caption, list):
            caption = caption[int(draws[0][0] * len(caption))]
        picture = Image.open(path).convert("RGB")
        return torch.stack([self._view(picture, drawn) for drawn in draws]), self.benchmark.clean(caption)

    def _view(self, picture: Image.Image, draws: list[float]) -> Tensor:
        side = self.benchmark.image_size
        box = random_box(picture.size, self.benchmark.crop, draws[_BOX])
        pixels = pil_to_tensor(picture.resize((side, side), Image.Resampling.BICUBIC, box))
        if draws[_AUGMENT - 1] < self.benchmark.flip:
            pixels = pixels.flip(2)
        return rand_augment(pixels, draws[_AUGMENT:])


class CaptionLists(Benchmark):
    """Learns from lists of `{"image", "caption"}`, scores retrieval on lists with several captions a picture.

    In a training list "caption" is a text or a list of them, of which one is drawn each epoch. Rows with equal
    "image_id", as fine-tuning lists have them, show the same picture and are positives of each other; without it every
    row is a picture of its own.

    Args:
        training: files to train on.
        scored: the files that "val" and "test" are read from.
        pictures: folder that the paths of pictures in the lists start from; an absolute path stays as it is.
        image_size: side of the pictures, in pixels.
        crop: smallest share of the area that a random resized crop keeps, with sides from 3/4 to 4/3.
        flip: probability that a picture is mirrored.
        operations: of RandAugment, see `rand_augment`.
        words: at which a caption is cut.
        shortlist: candidates that a fusion model puts in order.
        threads: read and decode pictures; one process beside the training has them all.
        views: of each picture, every one cropped, mirrored and augmented by itself.
        colours: how each is changed after that, the arguments of `ImageAugmentation` that move nothing.
        batch_size, seed: as in `Benchmark`.
        data_root: folder with the lists and pictures.
    """

    name = "caption_lists"
    primary = "recall@1/gallery1000"
    published = True

    def __init__(
        self,
        training: tuple[str, ...] = PRETRAINING,
        scored: tuple[str, str] = ("flickr30k_val.json", "flickr30k_test.json"),
        pictures: str = ".",
        image_size: int = 256,
        crop: float = 0.2,
        flip: float = 0.5,
        operations: int = 2,
        words: int = 30,
        shortlist: int = 128,
        threads: int = 16,
        batch_size: int = 512,
        seed: int = 0,
        data_root: str | None = None,
        views: int = 1,
        colours: dict[str, float] | None = None,
    ) -> None:
        super().__init__(batch_size, seed, data_root)
        if not 0 < crop <= 1 or not 0 <= flip <= 1:
            raise UserError(f"data.crop and data.flip are {crop} and {flip}; they must be in (0, 1] and [0, 1]")
        for name, value in (("words", words), ("threads", threads), ("shortlist", shortlist), ("views", views)):
            if value < 1:
                raise UserError(f"data.{name} is {value}; it must be at least 1")
        if not training or operations < 0:
            raise UserError("data.training must name a list, and data.operations be at least 0")
        self.training, self.scored_lists, self.pictures = tuple(training), tuple(scored), pictures
        self.image_size, self.crop, self.flip, self.operations = image_size, crop, flip, operations
        self.words, self.shortlist, self.threads, self.views = words, shortlist, threads, views
        self.colours = ImageAugmentation(**colours) if colours else None
        if self.colours is not None and self.colours.moves:
            raise UserError("data.colours move the picture, which crop and flip of the data do; they may not")
        self._rows: list[dict[str, Any]] = []

    def _folder(self) -> Path:
        return published_folder(
            self.data_root,
            title="Captioned pictures by JSON lists",
            files=[*self.training, *self.scored_lists],
            where="the README of https://github.com/salesforce/ALBEF, and the pictures from the owners of COCO, Visual "
            "Genome, SBU, Conceptual Captions and Flickr30K",
            terms="the lists are BSD 3-clause, pictures and captions belong to their owners",
        )

    def prepare_data(self) -> None:
        self._folder()

    def rows(self) -> list[dict[str, Any]]:
        """All training lists, one after the other."""
        if not self._rows:
            self._rows = [row for file in self.training for row in self._read(file)]
        return self._rows

    def _read(self, file: str) -> list[dict[str, Any]]:
        return read_json(self._folder() / file)

    def picture_numbers(self) -> Tensor:
        """Which picture each row shows, int64 (n,)."""
        known: dict[Any, int] = {}
        names = (("id", row["image_id"]) if "image_id" in row else k for k, row in enumerate(self.rows()))
        return torch.tensor([known.setdefault(name, k) for k, name in enumerate(names)])

    def path(self, row: dict[str, Any]) -> Path:
        return self._folder() / self.pictures / row["image"]

    def clean(self, caption: str) -> str:
        """In lower case, without punctuation, cut at `words`."""
        text = re.sub(r"[,.'!?\"()*#:;~]", "", caption.lower())
        text = text.replace("-", " ").replace("/", " ").replace("<person>", "person")
        return " ".join(text.split()[: self.words])

    def train_dataloader(self) -> ResumableLoader:
        order = GlobalBatchSampler(len(self.rows()), self.batch_size, self.seed)
        return ResumableLoader(_Rows(self, order), sampler=order, batch_size=None, num_workers=1, prefetch_factor=2)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Makes floats of a training batch on its device; the names of splits pass through."""
        if not isinstance(batch, _Pairs):
            return batch
        views = batch.pixels.transpose(0, 1).float().div_(255)
        if self.colours is not None:
            keys = [(self.seed, self.moment(), _COLOURS, *view) for view in self.view_keys()]
            views = torch.stack([self.colours(x, batch.ids, *key) for x, key in zip(views, keys, strict=True)])
        return ImageText(views, [batch.text], batch.ids, batch.text_ids)

    def view_keys(self) -> list[tuple[int, ...]]:
        """What the draws of each view depend on besides seed and epoch: the first is the same beside any others."""
        return [(), *((view,) for view in range(1, self.views))]

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """Retrieval among the pictures of a list and all their captions, by the cosine and re-ranked.

        Returns:
            As `image_text_retrieval`, and as `reranked_retrieval` if the module offers `match_scores`.

        Raises:
            UserError: the module does not offer `embed_image` and `embed_text`, or there is no such split.
        """
        self.check_request(module, split, EmbedsImage, EmbedsText)
        pixels, texts, text_ids = self.scored(split)
        image = F.normalize(embed_dataset(module.embed_image, pixels, 64, module), dim=1)
        text = F.normalize(embed_dataset(module.embed_text, texts, 256, module), dim=1)
        ids = torch.arange(len(pixels), device=image.device), text_ids.to(image.device)
        metrics = image_text_retrieval(image, text, *ids)
        if isinstance(module, RanksPairs):
            metrics |= reranked_retrieval(module, pixels, texts, image, text, *ids, shortlist=self.shortlist)
        return metrics

    def scored(self, split: str) -> tuple[Tensor, list[str], Tensor]:
        """The whole pictures of a split, uint8 (n, 3, s, s), their captions, and the picture of each, int64 (m,)."""
        rows = self._read(self.scored_lists[("val", "test").index(split)])
        with ThreadPoolExecutor(self.threads) as pool:
            pixels = torch.stack(list(pool.map(self._whole, rows)))
        texts = [self.clean(caption) for row in rows for caption in row["caption"]]
        counts = torch.tensor([len(row["caption"]) for row in rows])
        return pixels, texts, torch.arange(len(rows)).repeat_interleave(counts)

    def _whole(self, row: dict[str, Any]) -> Tensor:
        picture = Image.open(self.path(row)).convert("RGB")
        return pil_to_tensor(picture.resize((self.image_size, self.image_size), Image.Resampling.BICUBIC))

    def floor(self) -> dict[str, Metrics]:
        """One of 1,000 pictures at random, Flickr30K's test split."""
        return {"chance": {self.primary: 1 / 1_000}}

    def fingerprint(self) -> str:
        """Of the lists: hashing millions of pictures would take a day."""
        return digest(*((self._folder() / file).read_bytes() for file in (*self.training, *self.scored_lists)))
