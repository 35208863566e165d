"""The base of benchmarks of pictures with captions, in one language or several."""

import textwrap
from abc import abstractmethod
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn
from torch.nn import functional as F

from common.augmentation import ImageAugmentation
from common.batches import ImageText, VideoText
from common.benchmark import Benchmark, Metrics, digest
from common.errors import UserError
from common.evaluation.embed import embed_dataset, evaluating
from common.evaluation.geometry import linear_separability, modality_gap
from common.evaluation.image_text import chance_retrieval, image_text_retrieval, over_languages
from common.protocols import Captions, EmbedsImage, EmbedsText, ScoresCaptions
from common.random import uniform
from common.sampling.batches import ResumableLoader
from common.table import Table, take

AT_ONCE = 250
"""Pictures or texts that a module embeds in one call."""


class Captioned(NamedTuple):
    """Pictures with captions as they are stored; a batch of them has the same fields."""

    pixels: Tensor
    """uint8, shape (n, channels, height, width), or frames of shape (n, f, channels, height, width)."""
    texts: tuple[list[str], ...]
    """n captions a language, in the order of the benchmark's languages."""
    ids: Tensor
    """Which picture it is, whatever the switches, int64, shape (n,)."""
    text_ids: Tensor
    """What the caption says, the same number in every language, int64, shape (n,)."""


class ImageTextBenchmark(Benchmark):
    """Learns from pictures with captions; scores retrieval in both directions.

    Args:
        batch_size, seed, data_root: as in `Benchmark`.
        languages: of the captions; metrics of the first carry no suffix.
        pairing: a picture meets its caption in "one" language, drawn anew each epoch, or in "all" of them at once.
        views: augmented views of each picture.
        separability: scoring also says whether a hyperplane parts pictures from captions.
        augmentation: the arguments of `ImageAugmentation`. Flips and turns contradict captions with left and right.
    """

    spoken: ClassVar[tuple[str, ...]]
    """The languages there are."""
    version: ClassVar[int]
    """Of what makes the pixels out of the sources, see `Benchmark.origin`."""
    added_later: ClassVar[dict[str, Any]] = {"separability": False}

    def __init__(
        self,
        batch_size: int = 128,
        seed: int = 0,
        data_root: str | None = None,
        languages: list[str] | None = None,
        pairing: Literal["one", "all"] = "one",
        views: int = 1,
        separability: bool = False,
        **augmentation,
    ) -> None:
        super().__init__(batch_size, seed, data_root)
        self.languages = tuple(languages or self.spoken[:1])
        unknown = [language for language in self.languages if language not in self.spoken]
        if unknown or len(set(self.languages)) < len(self.languages):
            allowed = ", ".join(self.spoken)
            raise UserError(f"data.languages is {list(self.languages)}; it must hold some of {allowed}, each once")
        if pairing not in ("one", "all"):
            raise UserError(f"data.pairing is {pairing!r}; it must be 'one' or 'all'")
        if views < 1:
            raise UserError(f"data.views is {views}; it must be at least 1")
        self.pairing = pairing
        self.views = views
        self.separability = separability
        self.augmentation = ImageAugmentation(**augmentation)
        self.splits: dict[str, Captioned] = {}

    @abstractmethod
    def load(self) -> dict[str, Captioned]:
        """Builds the fixed "train", "val" and "test" splits, with captions in `self.languages`."""

    def training_set(self, train: Captioned) -> Captioned:
        """What methods train on, made from the train split; the switches of a subclass go here."""
        return train

    def build(self) -> None:
        self.splits = self.load()
        self.train = self.training_set(self.splits["train"])

    def train_dataloader(self) -> ResumableLoader:
        self.setup()
        return Table(self.train).loader(self.batch_size, self.seed)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Augments a training batch on its device; the names of splits that validation and test yield pass through."""
        if not isinstance(batch, Captioned):
            return batch
        epoch = self.moment()
        return self.augmented(batch, epoch)

    def augmented(self, batch: Captioned, epoch: int) -> ImageText | VideoText:
        """A batch at one epoch; the same sample looks and reads the same in any batch and on any process."""
        pixels = batch.pixels.float() / 255
        views = [self.augmentation(pixels, batch.ids, self.seed, epoch, view) for view in range(self.views)]
        return ImageText(torch.stack(views), self.paired_texts(batch, epoch), batch.ids, batch.text_ids)

    def paired_texts(self, batch: Captioned, epoch: int) -> list[list[str]]:
        """The captions that a batch meets at one epoch, in one drawn language or in all."""
        if self.pairing == "all" or len(batch.texts) == 1:
            return list(batch.texts)
        drawn = (uniform(batch.ids, 1, self.seed, epoch, -1).flatten() * len(batch.texts)).long().tolist()
        return [[batch.texts[language][i] for i, language in enumerate(drawn)]]

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """Retrieval by the cosine in both directions, and how far apart pictures and captions lie.

        Returns:
            `image_to_text/recall@k/galleryN`, `text_to_image/recall@k/galleryN`, their mean `recall@k/galleryN`, and
            `modality_gap`, all with `_xx` behind them for captions in the second and further languages. With the switch
            also `linear_separability`. With several languages also what `over_languages` says.

        Raises:
            UserError: the module does not offer `embed_image` and `embed_text`, or there is no such split.
        """
        self.setup()
        self.check_request(module, split, EmbedsImage, EmbedsText)
        data = self.splits[split]
        return self.retrieval(module, data, embedded(module, "embed_image", data.pixels))

    def retrieval(self, module: nn.Module, data: Captioned, image: Tensor) -> Metrics:
        """The metrics of `evaluate` for some pictures, of which `image` are the normalized rows."""
        metrics: Metrics = {}
        found = []
        ids = data.text_ids.to(image.device)
        for language, captions in zip(self.languages, data.texts, strict=True):
            text = embedded(module, "embed_text", captions)
            found.append(image_text_retrieval(image, text, ids, ids))
            scores = found[-1] | {"modality_gap": modality_gap(image, text)}
            if self.separability:
                scores["linear_separability"] = linear_separability(image, text)
            suffix = "" if language == self.languages[0] else f"_{language}"
            metrics |= {f"{name}{suffix}": value for name, value in scores.items()}
        return metrics | (over_languages(found) if found[1:] else {})

    def chance(self, split: str = "test") -> Metrics:
        """The expected recalls of a method that knows nothing, in the first language."""
        self.setup()
        ids = self.splits[split].text_ids
        return chance_retrieval(ids, ids)

    def sizes(self) -> dict[str, int]:
        self.setup()
        return {split: len(part.ids) for split, part in self.splits.items()}

    def example(self) -> Image.Image:
        """Test pictures from all over the split, with their captions in the first language."""
        self.setup()
        test = self.splits["test"]
        test = take(test, torch.arange(24) * (len(test.ids) // 24))
        return captioned_sheet(test.pixels, test.texts[0])

    def fingerprint(self) -> str:
        self.setup()
        parts = (self.train, self.splits["val"], self.splits["test"])
        origin = self.origin(self.version, *(part.pixels for part in parts))
        return digest(origin, *(x for part in parts for x in (list(part.texts), part.ids, part.text_ids)))


def embedded(module: nn.Module, function: str, items: Tensor | list[str]) -> Tensor:
    """Normalized rows of all `items` by the module's method of that name, shape (n, d)."""
    return F.normalize(embed_dataset(getattr(module, function), items, AT_ONCE, module), dim=1)


def rows_of(ids: Tensor, numbers: Tensor, split: str) -> Tensor:
    """Where `ids` stand among the ascending `numbers` of a split.

    Raises:
        UserError: an id is not among them.
    """
    rows = torch.searchsorted(numbers, ids.cpu()).clamp(max=len(numbers) - 1)
    if not torch.equal(numbers[rows], ids.cpu()):
        raise UserError(f"ids hold a sample that is not in the split {split!r}")
    return rows


def described(module: nn.Module, pixels: Tensor) -> list[str]:
    """The captions that the module, one of `Captions`, gives to pictures or clips, in eval mode."""
    assert isinstance(module, Captions)
    device = _device(module, pixels)
    with evaluating(module):
        return [text for part in pixels.split(AT_ONCE) for text in module.captions(part.to(device))]


def caption_log_likelihood(module: nn.Module, pixels: Tensor, texts: list[str]) -> Tensor:
    """How likely the module, one of `ScoresCaptions`, finds each picture's caption, in eval mode, shape (n,)."""
    assert isinstance(module, ScoresCaptions)
    device, starts = _device(module, pixels), range(0, len(texts), AT_ONCE)
    with evaluating(module):
        found = [
            module.caption_log_likelihood(pixels[k : k + AT_ONCE].to(device), texts[k : k + AT_ONCE]) for k in starts
        ]
    return torch.cat(found)


def _device(module: nn.Module, pixels: Tensor) -> torch.device:
    parameter = next(module.parameters(), None)
    return parameter.device if parameter is not None else pixels.device


def captioned_sheet(pixels: Tensor, texts: list[str], columns: int = 6, width: int = 150) -> Image.Image:
    """Pictures in rows, each with its caption below, for a look at them.

    Args:
        pixels: uint8, shape (n, 3, h, w).
        texts: n captions, in a script that DejaVu Sans has.
        columns: pictures in a row.
        width: of a picture on the sheet.
    """
    from matplotlib.font_manager import findfont  # slow to import, and only sheets need it

    # Pillow's own font lacks letters such as ñ.
    font = ImageFont.truetype(findfont("DejaVu Sans"), 9)
    wrapped = [textwrap.fill(text, width // 6) for text in texts]
    height = width * pixels.shape[-2] // pixels.shape[-1]
    step = width + 10, height + 12 * max(text.count("\n") + 1 for text in wrapped) + 12
    sheet = Image.new("RGB", (columns * step[0], -(-len(texts) // columns) * step[1]), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (picture, text) in enumerate(zip(pixels, wrapped, strict=True)):
        corner = i % columns * step[0], i // columns * step[1]
        large = Image.fromarray(picture.permute(1, 2, 0).numpy()).resize((width, height), Image.Resampling.NEAREST)
        sheet.paste(large, corner)
        draw.text((corner[0], corner[1] + height + 2), text, fill="black", font=font, spacing=2)
    return sheet
