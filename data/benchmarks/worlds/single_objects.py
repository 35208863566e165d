"""One object a picture: classes by name, and links between pictures by what they share or by a group nobody names."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.batches import ImageText
from common.benchmark import Metrics, digest
from common.errors import UserError
from common.evaluation.embed import evaluating
from common.evaluation.image_text import class_scores, zero_shot_accuracy
from common.evaluation.likelihood import fit_scale, log_likelihood
from common.evaluation.means import Mean
from common.evaluation.retrieval import rank_metrics
from common.protocols import EmbedsImage, EmbedsRelated, EmbedsText
from common.random import uniform
from common.sampling.batches import ResumableLoader
from common.sampling.neighbors import NeighborSampler
from common.table import Table, take
from data.benchmarks.bases.drawn import DrawnCaptions
from data.benchmarks.bases.image_text import AT_ONCE, Captioned, embedded, rows_of
from data.benchmarks.worlds.scenes import PixelsToWords, prompts
from data.scenes.layout import number_of
from data.scenes.pictures import read_nouns
from data.scenes.single import (
    COUNTS,
    GROUPS,
    RELATIONS,
    TEMPLATES,
    VERSION,
    WORDINGS,
    group_graph,
    group_of,
    read_singles,
    relation_partners,
    shuffled_graph,
    things_in,
)
from data.scenes.small import concepts_of
from data.scenes.words import CLASSES, MENTIONS, Mention, Wording, meaning

SHOTS, EPISODES = 5, 200
"""Pictures of each group that are known, and draws of them."""
WRONG = 10
"""Candidates of each of two kinds that a query by relation has beside the right one."""
SIZE = 1 + 2 * WRONG
OF = f"of{SIZE}"


class SingleObjects(DrawnCaptions):
    """Pictures of one object at 48x48, 6,000 to train on, 1,000 and 2,000 to score: "a large red circle at the top".

    Split by what captions say as `Scenes` is, so that mini-clip, which was trained there, has seen no test caption. The
    seed draws what is trained on. Pictures may be linked, and then a batch holds neighbours beside each other.

    Args:
        train_size: pairs to train on, drawn by the seed from the 6,000.
        mentions: what captions say of an object besides what it is: some of "size", "colour" and "place".
        structure: links, in `ImageText.neighbours`. "groups": a graph whose links mostly join classes of one of eight
            hidden groups of five. "relations": each picture with one other for each of `RELATIONS`, with which it
            shares that and nothing else; the column of the neighbour is the relation.
        homophily: of the groups' graph, share of links that are drawn within the group.
        degree: of that graph, mean number of neighbours, even.
        shuffled: links go between as many pictures, but arbitrary ones: a control.
        concepts: batches have `ImageText.concepts`: what the picture shows, also where its caption is another's, in the
            columns of `data.scenes.small.CONCEPTS`; for an upper bound that knows the classes.
        kwargs: as in `DrawnCaptions`.

    Raises:
        UserError: an argument is out of range.
    """

    name = "single_objects"
    primary = "mrr/gallery2000"
    counts = COUNTS
    version = VERSION

    def __init__(
        self,
        *,
        batch_size: int = 64,
        train_size: int = 3000,
        mentions: tuple[Mention, ...] = MENTIONS,
        structure: Literal["none", "groups", "relations"] = "none",
        homophily: float = 0.8,
        degree: int = 6,
        shuffled: bool = False,
        concepts: bool = False,
        **kwargs,
    ) -> None:
        super().__init__(batch_size=batch_size, train_size=train_size, **kwargs)
        if set(mentions) - set(MENTIONS):
            raise UserError(f"data.mentions is {list(mentions)}; it must hold some of {', '.join(MENTIONS)}")
        if structure not in ("none", "groups", "relations"):
            raise UserError(f"data.structure is {structure!r}; it must be 'none', 'groups' or 'relations'")
        if not 0 <= homophily <= 1:
            raise UserError(f"data.homophily is {homophily}; it must be in [0, 1]")
        if degree < 2 or degree % 2:
            raise UserError(f"data.degree is {degree}; it must be even, at least 2")
        self.mentions, self.structure, self.shuffled = tuple(mentions), structure, shuffled
        self.homophily, self.degree, self.concepts = homophily, degree, concepts

    def load(self) -> dict[str, Captioned]:
        nouns = read_nouns(self.data_root)
        self.wordings = [Wording(language, nouns[language], self.mentions) for language in self.languages]
        self.stored = read_singles(self.data_root)
        return {split: self._captioned(split) for split in COUNTS}

    def _captioned(self, split: str) -> Captioned:
        pixels, numbers, table = self.stored[split]
        scenes = [(thing,) for thing in things_in(table)]
        texts = tuple([wording.caption(scene) for scene in scenes] for wording in self.wordings)
        said = torch.tensor([number_of(meaning(scene, self.mentions)) for scene in scenes])
        return Captioned(pixels, texts, numbers, said)

    def training_set(self, train: Captioned) -> Captioned:
        drawn = uniform(train.ids, 1, self.seed, 5).flatten().argsort(stable=True)[: self.train_size]
        rows = drawn.sort().values
        train, self.things = take(train, rows), self.stored["train"].things[rows]
        self._neighbours = self._linked(train.ids)
        return self.mixed_up(train)[0]

    def _linked(self, ids: Tensor) -> Tensor | None:
        """The rows of the neighbours of each picture that is trained on, -1 for none, (n, k)."""
        if self.structure == "none":
            return None
        if self.structure == "relations":
            found = relation_partners(self.things, ids, self.seed, 7)
        else:
            found = group_graph(self.things[:, 0], ids, self.homophily, self.degree, self.seed, 7)
        return shuffled_graph(found, ids, self.seed, 8) if self.shuffled else found

    def train_dataloader(self) -> ResumableLoader:
        self.setup()
        if self._neighbours is None:
            return super().train_dataloader()
        nearest = self._neighbours.shape[1]
        order = NeighborSampler(self._neighbours, self.batch_size, self.seed, nearest=nearest, farther=0)
        return Table(self.train).loader_over(order)

    def augmented(self, batch: Captioned, epoch: int) -> ImageText:
        """With the neighbours where there are links, and the concepts if they are asked for."""
        found = super().augmented(batch, epoch)
        assert isinstance(found, ImageText)
        rows = rows_of(batch.ids, self.train.ids, "train")
        if self.concepts:
            shown = concepts_of([(thing,) for thing in things_in(self.things[rows])])
            found = found._replace(concepts=shown.to(batch.ids.device))
        if self._neighbours is None:
            return found
        linked = self._neighbours[rows]
        neighbours = torch.where(linked >= 0, self.train.ids[linked.clamp(min=0)], -1)
        words = WORDINGS if self.structure == "relations" else ()
        return found._replace(neighbours=neighbours.to(batch.ids.device), relations=words)

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """Retrieval both ways, classes by name, and what the links are about.

        Returns:
            Besides what `ImageTextBenchmark` returns, in the first language: `zero_shot/mrr`, `zero_shot/top1`: the
            rank of the right class among 40, by the nearest prompt of each, whatever it says of size, colour and place;
            `zero_shot/log_likelihood`, with its scale fitted on the validation part.
            With groups `groups/top1`: each picture is of the group with the nearest mean of five other pictures, the
            mean over 200 draws of these.
            With relations, if the module has `embed_related`, what `_related` says.

        Raises:
            UserError: the module does not offer `embed_image` and `embed_text`, or there is no such split.
        """
        self.setup()
        self.check_request(module, split, EmbedsImage, EmbedsText)
        image = {part: embedded(module, "embed_image", self.splits[part].pixels) for part in {"val", split}}
        metrics = self.retrieval(module, self.splits[split], image[split]) | self._classes(module, image, split)
        if self.structure == "groups":
            metrics["groups/top1"] = few_shot(image[split].cpu(), group_of(self.stored[split].things[:, 0]))
        if self.structure == "relations" and isinstance(module, EmbedsRelated):
            metrics |= self._related(module, split)
        return metrics

    def _classes(self, module: nn.Module, image: dict[str, Tensor], split: str) -> Metrics:
        told, classes = prompts(self.wordings[0])
        given = embedded(module, "embed_text", told)

        def asked(part: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
            labels = self.stored[part].things[:, 0].to(given.device)
            return image[part], given, classes.to(given.device), labels

        scores, own = class_scores(*asked(split))
        ranks = (scores >= scores.gather(1, own[:, None])).sum(1)
        return {
            "zero_shot/mrr": rank_metrics(ranks)["mrr"],
            "zero_shot/top1": zero_shot_accuracy(*asked(split)),
            "zero_shot/log_likelihood": log_likelihood(scores, own, fit_scale(*class_scores(*asked("val")))),
        }

    def queries(self, split: str) -> tuple[Tensor, Tensor]:
        """Queries by relation, (picture, relation), (q, 2), and their candidates, the right one first, (q, 21).

        One relation a picture, drawn among those under which it has a partner and enough that share something else.
        """
        things, ids = self.stored[split].things, self.stored[split].numbers
        partners, draws = relation_partners(things, ids, 9), uniform(ids, len(RELATIONS), 10)
        chances, asked, others = uniform(ids, len(things), 12), [], []
        for row in range(len(things)):
            same = (things[row] == things) & (things >= 0)
            something = same.any(1)
            fits = [r for r in range(len(RELATIONS)) if partners[row, r] >= 0]
            for relation in sorted(fits, key=draws[row].__getitem__):
                near, far = something & ~same[:, relation], ~something
                if min(int(near.sum()), int(far.sum())) < WRONG:
                    continue
                wrong = [_first(mask, chances[row]) for mask in (near, far)]
                asked.append((row, relation))
                others.append(torch.cat([partners[row, relation, None], *wrong]))
                break
        return torch.tensor(asked), torch.stack(others)

    def _related(self, module: nn.Module, split: str) -> Metrics:
        """A picture with its caption looks for its partner under a relation, in words that were not trained on.

        Beside it stand 10 that share another attribute with it and not this one, and 10 that share nothing.

        Returns:
            `related/mrr/of21` and `related/recall@5/of21`, by the cosine of what is between picture and caption on both
            sides, and the first for each relation as `related_kind/mrr/of21`; `related_ti/mrr/of21` by the caption of
            the one and the picture of the other, and so on; `relation/top1`: under the relation that joins two they
            are more alike than under the other three.
        """
        (asked, candidates), data = self.queries(split), self.splits[split]
        sides = embed_related(module, data.pixels, data.texts[0], [TEMPLATES[-1].format(name) for name in RELATIONS])
        sides["a"] = F.normalize(sides["i"] + sides["t"], dim=-1)
        row, relation = asked.unbind(1)
        metrics: Metrics = {}
        for one, other in (("a", "a"), ("t", "i"), ("i", "t"), ("t", "t"), ("i", "i")):
            query, keys = sides[one][relation, row], sides[other][relation[:, None], candidates]
            scores = (keys @ query[:, :, None]).squeeze(2)
            ranks = (scores >= scores[:, :1]).sum(1)
            found = rank_metrics(ranks, at=(5,))
            if one == "a":
                metrics |= {f"related/{name}/{OF}": found[name] for name in ("mrr", "recall@5")}
                for number, name in enumerate(RELATIONS):
                    metrics[f"related_{name}/mrr/{OF}"] = rank_metrics(ranks[relation == number])["mrr"]
            else:
                metrics[f"related_{one}{other}/mrr/{OF}"] = found["mrr"]
        under = (sides["a"][:, row] * sides["a"][:, candidates[:, 0]]).sum(-1)
        beaten = (under >= under.gather(0, relation[None])).sum(0)
        return metrics | {"relation/top1": Mean((beaten == 1).double())}

    def floor(self) -> dict[str, Metrics]:
        """Chance, and a linear map from pixels to counted words."""
        linear = self.evaluate(PixelsToWords(self.train))
        classes = prompts(self.wordings[0])[1]
        hit = float((classes == self.stored["test"].things[:, :1]).double().mean())
        chance = self.chance() | {"zero_shot/top1": hit, "zero_shot/log_likelihood": -math.log(len(CLASSES))}
        chance |= {"groups/top1": 1 / GROUPS} if self.structure == "groups" else {}
        if self.structure == "relations":
            by = ["related", *(f"related_{name}" for name in (*RELATIONS, "ti", "it", "tt", "ii"))]
            chance |= dict.fromkeys([f"{name}/mrr/{OF}" for name in by], sum(1 / r for r in range(1, SIZE + 1)) / SIZE)
            chance |= {f"related/recall@5/{OF}": 5 / SIZE, "relation/top1": 1 / len(RELATIONS)}
        return {"chance": chance, "pixels to words": linear}

    def fingerprint(self) -> str:
        """Over the pictures that there are, their captions, and the switches; what a seed draws follows from these."""
        self.setup()
        parts = [x for part in self.splits.values() for x in (list(part.texts), part.ids, part.text_ids)]
        links = (self.structure, self.homophily, self.degree, self.shuffled) if self.structure != "none" else ()
        return digest(VERSION, self.train_size, self.caption_noise, links, *parts)


def _first(mask: Tensor, chances: Tensor) -> Tensor:
    """The `WRONG` rows of the mask that come first in a drawn order."""
    rows = mask.nonzero().flatten()
    return rows[chances[rows].argsort(stable=True)[:WRONG]]


def embed_related(module: nn.Module, pixels: Tensor, texts: Sequence[str], relations: list[str]) -> dict[str, Tensor]:
    """Normalized rows of pictures, "i", and captions, "t", under each relation, on the CPU, (r, n, d), in eval mode."""
    assert isinstance(module, EmbedsRelated)
    parameter = next(module.parameters(), None)
    device = parameter.device if parameter is not None else pixels.device
    parts = []
    with evaluating(module), torch.no_grad():
        for start in range(0, len(pixels), AT_ONCE):
            rows = slice(start, start + AT_ONCE)
            parts.append(module.embed_related(pixels[rows].to(device), list(texts[rows]), relations))
    sides = (torch.cat(side, dim=1).float().cpu() for side in zip(*parts, strict=True))
    return {name: F.normalize(side, dim=-1) for name, side in zip("it", sides, strict=True)}


def few_shot(rows: Tensor, labels: Tensor) -> Mean:
    """How often the nearest mean of `SHOTS` other rows, by cosine, is that of a row's own label.

    Args:
        rows: normalized, (n, d).
        labels: int64 (n,), each of more rows than are known.

    Returns:
        The mean over the rows of the share of the `EPISODES` draws, in which it is not among the known, that are right.
    """
    draws = uniform(torch.arange(len(rows)), EPISODES, 13)
    names = labels.unique()
    right, asked = torch.zeros(2, len(rows), dtype=torch.float64).unbind(0)
    for episode in draws.unbind(1):
        known = torch.stack([_known(episode, labels == name) for name in names])
        means = F.normalize(rows[known].mean(1), dim=1)
        free = torch.ones(len(rows), dtype=torch.bool)
        free[known.flatten()] = False
        found = names[(rows @ means.T).argmax(1)] == labels
        right += (found & free).double()
        asked += free.double()
    return Mean(right / asked)


def _known(draws: Tensor, of_label: Tensor) -> Tensor:
    rows = of_label.nonzero().flatten()
    return rows[draws[rows].argsort(stable=True)[:SHOTS]]
