"""Objects of larger scenes by their boxes, for towers that were trained on pictures of one object."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.benchmark import Metrics, digest
from common.errors import UserError
from common.evaluation.embed import evaluating
from common.evaluation.means import Mean, by_group
from common.evaluation.retrieval import retrieval_metrics, same_id
from common.protocols import EmbedsImage, EmbedsRegions, EmbedsText
from data.benchmarks.bases.image_text import Captioned, embedded
from data.benchmarks.worlds.single_objects import SingleObjects
from data.scenes.painting import SIDE
from data.scenes.pictures import VERSION, read_instances, read_pictures, scenes_of
from data.scenes.single import read_windows
from data.scenes.words import CLASSES, COLOURS, THINGS, Mention, Thing, Wording

AT_ONCE = 50
"""Enlarged scenes that a module looks at in one call."""


class ObjectBoxes(SingleObjects):
    """Trains on pictures of one object, as `SingleObjects`; tells the objects of `Scenes`, enlarged, by their boxes.

    A picture to train on is 48x48 and shows one object. A scene that is scored shows up to five and is so many times as
    large, so that an object is seen at places and in a grid that no training picture has.

    Args:
        enlarged: by how much scenes are enlarged; 1 leaves them at 48x48.
        window: pictures of one object, of all splits, are squares of so many pixels drawn around it, in the scale
            that they have, so that a scene is a larger picture of the same; null leaves them whole.
        mentions: as in `SingleObjects`; by default captions say the colour and neither size nor place.
        kwargs: as in `SingleObjects`.

    Raises:
        UserError: scenes are to be made smaller, or a window is larger than the pictures.
    """

    name = "object_boxes"
    primary = "boxes/mrr/gallery96"

    def __init__(
        self, *, enlarged: int = 2, window: int | None = None, mentions: tuple[Mention, ...] = ("colour",), **kwargs
    ) -> None:
        super().__init__(mentions=mentions, **kwargs)
        if enlarged < 1:
            raise UserError(f"data.enlarged is {enlarged}; it must be at least 1")
        if window is not None and not 1 <= window <= SIDE:
            raise UserError(f"data.window is {window}; it must be from 1 to {SIDE}, or null for the whole pictures")
        self.enlarged, self.window = enlarged, window

    def load(self) -> dict[str, Captioned]:
        found = super().load()
        if self.window is None:
            return found
        cut = read_windows(self.window, self.data_root)
        return {split: part._replace(pixels=cut[split]) for split, part in found.items()}

    def boxes(self, split: str) -> tuple[Tensor, Tensor, Tensor]:
        """The boxes of the objects that are seen, in pixels of the enlarged scenes.

        Returns:
            int64: left, top, right, bottom, the last two exclusive, (b, 4); the scene of each, ascending, (b,); which
            of `phrases` it is, (b,).
        """
        found = read_instances(split, 0.0, self.data_root)[1].long()
        rows, places = (found[..., 2] > found[..., 0]).nonzero(as_tuple=True)
        number = {thing[:2]: k for k, thing in enumerate(_things())}
        scenes = [placed.scene for placed in scenes_of()[split]]
        said = [number[scenes[row][place][:2]] for row, place in zip(rows.tolist(), places.tolist(), strict=True)]
        return found[rows, places] * self.enlarged, rows, torch.tensor(said)

    def phrases(self) -> list[str]:
        """All objects that there are, in the first language: "a red circle"."""
        own = self.wordings[0]
        wording = Wording(own.language, own.nouns[: len(THINGS)], ("colour",))
        return [wording.phrase(thing) for thing in _things()]

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """Each box looks for its phrase among all 96.

        Returns:
            `boxes/mrr/gallery96` and `boxes/recall@1/gallery96`, with an item for each scene; and if the module has
            `embed_image`, what `SingleObjects` returns.

        Raises:
            UserError: the module does not offer `embed_regions` and `embed_text`, or there is no such split.
        """
        self.setup()
        self.check_request(module, split, EmbedsRegions, EmbedsText)
        boxes, rows, said = self.boxes(split)
        query = self._embedded(module, boxes, rows, split)
        key = embedded(module, "embed_text", self.phrases()).to(query.device)
        right = same_id(said.to(query.device), torch.arange(len(key), device=query.device))
        found = retrieval_metrics(query, key, right)
        metrics: Metrics = {}
        for name in (f"mrr/gallery{len(key)}", f"recall@1/gallery{len(key)}"):
            metric = found[name]
            assert isinstance(metric, Mean)
            metrics[f"boxes/{name}"] = by_group(metric, rows)
        return metrics | (super().evaluate(module, split) if isinstance(module, EmbedsImage) else {})

    def _embedded(self, module: nn.Module, boxes: Tensor, rows: Tensor, split: str) -> Tensor:
        assert isinstance(module, EmbedsRegions)
        pixels, parts = read_pictures(split, data_root=self.data_root), []
        parameter = next(module.parameters(), None)
        device = parameter.device if parameter is not None else pixels.device
        size = pixels.shape[-1] * self.enlarged
        with evaluating(module), torch.no_grad():
            for start in range(0, len(pixels), AT_ONCE):
                inside = (rows >= start) & (rows < start + AT_ONCE)
                shown = F.interpolate(pixels[start : start + AT_ONCE].float(), (size, size), mode="bilinear")
                given = shown.round().to(torch.uint8).to(device), boxes[inside].to(device)
                parts.append(module.embed_regions(*given, (rows[inside] - start).to(device)).float())
        return F.normalize(torch.cat(parts), dim=1)

    def floor(self) -> dict[str, Metrics]:
        """Chance."""
        size = len(_things())
        chance = {f"boxes/mrr/gallery{size}": sum(1 / rank for rank in range(1, size + 1)) / size}
        return {"chance": chance | {f"boxes/recall@1/gallery{size}": 1 / size}}

    def fingerprint(self) -> str:
        boxes, rows, said = self.boxes("test")
        switches = () if self.window is None else (self.window,)
        return digest(super().fingerprint(), VERSION, self.enlarged, boxes, rows, said, *switches)


def _things() -> list[Thing]:
    return [
        Thing(kind, colour, 0, 0)
        for kind in range(len(CLASSES))
        for colour in ([-1] if kind < len(THINGS) else range(len(COLOURS)))
    ]
