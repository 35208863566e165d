"""Pictures whose captions were translated, as CCRK's authors distribute them, with retrieval on xFlickr&CO of IGLUE."""

import json
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional as F

from common.batches import ImageText
from common.benchmark import Metrics, digest
from common.errors import UserError
from common.evaluation.embed import embed_dataset
from common.evaluation.image_text import image_text_retrieval, over_languages
from common.lines import read_lines
from common.protocols import EmbedsImage, EmbedsText
from common.random import uniform
from data.benchmarks.published.caption_lists import CaptionLists
from data.published import published_folder

TEN = ("cs", "de", "en", "es", "fr", "id", "ja", "ru", "tr", "zh")
_DRAWN = 7


class MultilingualLists(CaptionLists):
    """Learns from lines of `{"image_path", "caption": {language: text}}`, scores retrieval in each of some languages.

    A training list is a folder of files, a row a line. The lists that are scored have lines of `{"img_path",
    "sentences": [text]}`, one file a language, the pictures in the same order.

    Args:
        training: folders, all their files.
        languages: of the training captions, in the released order, which is that of the alphabet.
        pairing: a picture meets its captions in "all" languages at once or in "one", drawn anew each epoch.
        scored_languages: of the lists that are scored, the main one first.
        scored: the lists that "val" and "test" are read from, with {language} in their names.
        kwargs: as in `CaptionLists`.

    Raises:
        UserError: an argument is out of range.
    """

    name = "multilingual_lists"
    primary = "languages/mrr/gallery2000"

    def __init__(
        self,
        *,
        training: tuple[str, ...] = ("cc3m-mm-data-all",),
        languages: tuple[str, ...] = TEN,
        pairing: Literal["one", "all"] = "all",
        scored_languages: tuple[str, ...] = ("en", "de", "ja", "zh"),
        scored: tuple[str, str] = ("xFlickrCO/annotations/{language}/test.jsonl",) * 2,
        **kwargs,
    ) -> None:
        first = scored_languages[0] if scored_languages else ""
        super().__init__(training=training, scored=tuple(file.format(language=first) for file in scored), **kwargs)
        if pairing not in ("one", "all"):
            raise UserError(f"data.pairing is {pairing!r}; it must be 'one' or 'all'")
        if not languages or not scored_languages:
            raise UserError("data.languages and data.scored_languages must hold at least one each")
        self.languages, self.pairing, self.scored_languages = tuple(languages), pairing, tuple(scored_languages)
        self.scored_by_language = tuple(scored)

    def _folder(self) -> Path:
        lists = [file.format(language=one) for file in self.scored_by_language for one in self.scored_languages]
        return published_folder(
            self.data_root,
            title="Captions translated into ten languages",
            files=[*self.training, *dict.fromkeys(lists)],
            where="the README of https://github.com/BUAADreamer/CCRK, xFlickr&CO from https://github.com/e-bug/iglue, "
            "and the pictures from the owners of Conceptual Captions, Flickr30K and COCO",
            terms="translations and lists are MIT, pictures and captions belong to their owners",
        )

    def _read(self, file: str) -> list[dict[str, Any]]:
        """The rows of a list, or of all files of a folder, under the names that `CaptionLists` has for them."""
        place = self._folder() / file
        rows = []
        for part in sorted(place.iterdir()) if place.is_dir() else [place]:
            for number, line in enumerate(read_lines(part), start=1):
                try:
                    rows.append(_row(json.loads(line)))
                except (json.JSONDecodeError, KeyError, TypeError) as error:
                    raise UserError(f"{part}:{number}: no picture with captions ({error})") from None
        return rows

    def rows(self) -> list[dict[str, Any]]:
        """All training lists, one after the other; the caption of a row is a list in the order of the languages.

        Raises:
            UserError: a row lacks a language.
        """
        if not self._rows:
            self._rows = [row for file in self.training for row in self._read(file)]
            for number, row in enumerate(self._rows):
                lacking = [language for language in self.languages if language not in row["caption"]]
                if lacking:
                    raise UserError(f"data.languages holds {lacking[0]!r}, which row {number} ({row['image']}) lacks")
                row["captions"] = [row["caption"][language] for language in self.languages]
                row["caption"] = row["captions"][0]
        return self._rows

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """As in `CaptionLists`, with the captions in all languages or in a drawn one."""
        found = super().on_after_batch_transfer(batch, dataloader_idx)
        if not isinstance(found, ImageText):
            return found
        rows = [self.rows()[number]["captions"] for number in found.ids.tolist()]
        texts = [[self.clean(row[k]) for row in rows] for k in range(len(self.languages))]
        if self.pairing == "one":
            drawn = uniform(found.ids, 1, self.seed, self.moment(), _DRAWN).flatten() * len(self.languages)
            texts = [[texts[k][i] for i, k in enumerate(drawn.long().tolist())]]
        return found._replace(texts=texts)

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """Retrieval among the pictures of the lists by the cosine, one gallery a language.

        Returns:
            As `image_text_retrieval`, with `_xx` behind it for captions in the second and further languages; and as
            `over_languages`, if all pictures have one caption each.

        Raises:
            UserError: the module does not offer `embed_image` and `embed_text`, or there is no such split; the
                languages have not the same pictures.
        """
        self.check_request(module, split, EmbedsImage, EmbedsText)
        file = self.scored_by_language[("val", "test").index(split)]
        rows = {language: self._read(file.format(language=language)) for language in self.scored_languages}
        pixels, _, _ = self.scored(split)
        image = F.normalize(embed_dataset(module.embed_image, pixels, 64, module), dim=1)
        pictures = [row["image"] for row in rows[self.scored_languages[0]]]
        metrics, found = {}, []
        for language, lines in rows.items():
            if [row["image"] for row in lines] != pictures:
                other = self.scored_languages[0]
                raise UserError(
                    f"{file.format(language=language)}: its pictures are not those of {other!r} in their order"
                )
            texts = [self.clean(text) for row in lines for text in row["caption"]]
            owners = torch.arange(len(lines)).repeat_interleave(torch.tensor([len(row["caption"]) for row in lines]))
            text = F.normalize(embed_dataset(module.embed_text, texts, 256, module), dim=1)
            ids = torch.arange(len(lines), device=image.device), owners.to(image.device)
            found.append(image_text_retrieval(image, text, *ids))
            suffix = f"_{language}" if found[1:] else ""
            metrics |= {f"{name}{suffix}": value for name, value in found[-1].items()}
        alone = all(len(row["caption"]) == 1 for lines in rows.values() for row in lines)
        return metrics | (over_languages(found) if alone and found[1:] else {})

    def floor(self) -> dict[str, Metrics]:
        """One of 2,000 pictures at random."""
        return {"chance": {self.primary: sum(1 / rank for rank in range(1, 2_001)) / 2_000}}

    def fingerprint(self) -> str:
        """Of the names and sizes of the training files, and of the lists that are scored."""
        folder = self._folder()
        files = [part for name in self.training for part in sorted((folder / name).iterdir())]
        return digest([(part.name, part.stat().st_size) for part in files], *map(self._bytes, self.scored_by_language))

    def _bytes(self, file: str) -> bytes:
        return b"".join((self._folder() / file.format(language=one)).read_bytes() for one in self.scored_languages)


def _row(line: dict[str, Any]) -> dict[str, Any]:
    """A line under the names that `CaptionLists` has; xFlickr&CO's pictures are of two data sets, in two folders."""
    if "sentences" in line:
        folder = "val2014" if "COCO" in line["img_path"] else "flickr30k-images"
        return {"image": f"{folder}/{line['img_path']}", "caption": line["sentences"]}
    return {"image": line["image_path"], "caption": line["caption"]}
