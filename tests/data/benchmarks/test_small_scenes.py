"""Scenes at 24 pixels: what is drawn and by which seed, and scores of modules whose scores are known."""

import math
import re

import pytest
import torch
from torch import Tensor, nn

from common.batches import ImageText
from common.errors import UserError
from common.evaluation.means import Mean
from common.random import uniform
from common.table import take
from data.benchmarks.bases.image_text import Captioned
from data.benchmarks.worlds.scenes import Scenes
from data.benchmarks.worlds.small_scenes import MATCHED, SmallScenes
from data.scenes.layout import ASPECTS
from data.scenes.pictures import read_pictures
from data.scenes.small import CHANGED, CONCEPTS, OBJECTS, concepts_of
from data.scenes.words import CLASSES, COLOURS, SIZES
from data.sources.tuxpaint_stamps import TUXPAINT_STAMPS


@pytest.fixture(scope="module")
def small(fetched) -> SmallScenes:
    return ready(fetched)


def ready(fetched, **switches) -> SmallScenes:
    fetched(TUXPAINT_STAMPS)
    benchmark = SmallScenes(**switches)
    benchmark.prepare_data()
    benchmark.setup()
    return benchmark


class Cheat(nn.Module):
    """Knows what pictures and captions say, as far as a scene is not among the `unknown`."""

    def __init__(self, benchmark: SmallScenes, unknown: int = 0) -> None:
        super().__init__()
        self.said, self.shown = {}, {}
        for split in ("val", "test"):
            part = benchmark.splits[split]
            for picture, text, number in zip(part.pixels, part.texts[0], part.text_ids.tolist(), strict=True):
                self.said[text] = number
                self.shown[picture.numpy().tobytes()] = number
        self.unknown = set(part.text_ids[:unknown].tolist())

    def embed_image(self, pixels: Tensor) -> Tensor:
        numbers = [self.shown[picture.numpy().tobytes()] for picture in pixels]
        return scattered([-1 if number in self.unknown else number for number in numbers])

    def embed_text(self, texts: list[str]) -> Tensor:
        return scattered([self.said.get(text, hash(text)) for text in texts])

    def match_scores(self, pixels: Tensor, texts: list[str], pairs: Tensor) -> Tensor:
        image, text = self.embed_image(pixels), self.embed_text(texts)
        return (image[pairs[:, 0]] == text[pairs[:, 1]]).all(1).float()

    def caption_log_likelihood(self, pixels: Tensor, texts: list[str]) -> Tensor:
        pairs = torch.arange(len(texts)).repeat(2, 1).T
        return self.match_scores(pixels, texts, pairs) - 1


class Constant(nn.Module):
    def embed_image(self, pixels: Tensor) -> Tensor:
        return torch.ones(len(pixels), 4)

    def embed_text(self, texts: list[str]) -> Tensor:
        return torch.ones(len(texts), 4)


def scattered(numbers: list[int]) -> Tensor:
    return uniform(torch.tensor(numbers), 256, 1) - 0.5


def test_counts_and_a_known_sample(small: SmallScenes) -> None:
    assert small.sizes() == {"train": 12_000, "val": 2000, "test": 4000}
    assert len(small.train.ids) == 8000
    assert small.splits["test"].pixels.shape == (4000, 3, 24, 24)
    assert small.splits["test"].texts[0][1] == "a large ladybug above a large purple ring"
    assert small.stored["test"].changed.shape[1:] == (OBJECTS, 4)
    second = (small.stored["test"].original == 1).nonzero().flatten()
    assert [small.changed_texts("test")[i] for i in second.tolist()] == [
        "a large frog above a large purple ring",
        "a large ladybug above a large red ring",
        "a small ladybug above a large purple ring",
        "a large ladybug below a large purple ring",
    ]
    assert small.fingerprint()[:8] == "07792b52"


def test_captions_and_pictures_fit(small: SmallScenes) -> None:
    """A red object makes a picture redder than a green one."""
    test = small.splits["test"]
    alone = [i for i, scene in enumerate(small.stored["test"].scenes.tolist()) if scene[1][0] < 0]
    red, green = ([i for i in alone if f"large {colour} " in test.texts[0][i]] for colour in ("red", "green"))
    means = [test.pixels[rows].double().mean(dim=(0, 2, 3)) for rows in (red, green)]
    assert (means[0] - means[1])[0] - (means[0] - means[1])[1] > 8


def test_no_split_and_no_other_benchmark_shares_what_is_scored(small: SmallScenes, fetched) -> None:
    texts = {split: set(part.texts[0]) for split, part in small.splits.items()}
    assert not texts["train"] & texts["test"] and not texts["train"] & texts["val"] and not texts["val"] & texts["test"]
    numbers = torch.cat([part.ids for part in small.splits.values()])
    assert len(numbers.unique()) == len(numbers)
    other = Scenes()
    other.setup()
    assert not set(numbers.tolist()) & {number for part in other.splits.values() for number in part.ids.tolist()}
    # Dealt out by another hash: of what is tested here, as much is trained on there as of anything.
    shared = texts["test"] & {text for part in other.splits.values() for text in part.texts[0]}
    assert len(shared & set(other.splits["train"].texts[0])) > 0.7 * len(shared)
    assert read_pictures("test").shape[-1] == 2 * small.splits["test"].pixels.shape[-1]


def test_the_seed_draws_what_is_trained_on(small: SmallScenes, fetched) -> None:
    other = ready(fetched, seed=1)
    shared = torch.isin(other.train.ids, small.train.ids).double().mean()
    assert shared == pytest.approx(8000 / 12_000, abs=0.02)
    assert torch.equal(other.splits["test"].ids, small.splits["test"].ids)
    assert other.fingerprint() == small.fingerprint()
    assert ready(fetched, train_size=100).fingerprint() != small.fingerprint()


def test_caption_noise_exchanges_captions(small: SmallScenes, fetched) -> None:
    noisy = ready(fetched, caption_noise=0.2)
    assert torch.equal(noisy.train.ids, small.train.ids)
    wrong = noisy.train.text_ids != small.train.text_ids
    assert wrong.double().mean() == pytest.approx(0.2, abs=0.02)
    assert sorted(noisy.train.texts[0]) == sorted(small.train.texts[0])
    assert noisy.splits["test"].texts == small.splits["test"].texts


def test_perfect_scores(small: SmallScenes) -> None:
    found = small.evaluate(Cheat(small))
    assert found["mrr/gallery4000"] == found["recall@1/gallery4000"] == 1
    assert found["log2_rank/gallery4000"] == 0
    assert found["log_likelihood/gallery4000"] == pytest.approx(0, abs=1e-6)
    for way in ("", "matched_"):
        names = [f"{way}attribute_accuracy", *(f"{way}attribute_accuracy/{name}" for name in ASPECTS)]
        assert all(found[name] == 1 for name in names)
    assert found["caption_log_likelihood"] == 0


def test_items_tell_which_pairs_are_wrong(small: SmallScenes) -> None:
    found = small.evaluate(Cheat(small, unknown=100))
    wrong = torch.isin(small.splits["test"].text_ids, small.splits["test"].text_ids[:100])
    for name in ("mrr/gallery4000", "log_likelihood/gallery4000"):
        assert isinstance(found[name], Mean) and found[name].items.shape == (4000,)
        assert found[name].items[wrong].max() < found[name].items[~wrong].min()
    # Captions in the order of the first scenes; each has a variant at least.
    assert found["attribute_log_likelihood"].items.shape == (CHANGED["test"],)
    assert found["matched_attribute_log_likelihood"].items.shape == (MATCHED,)
    assert found["caption_log_likelihood"] == -wrong.double().mean()


def test_a_constant_scores_as_chance_or_worse(small: SmallScenes) -> None:
    found = small.evaluate(Constant())
    assert found["recall@10/gallery4000"] == found["attribute_accuracy"] == 0
    assert found["mrr/gallery4000"] < 0.001
    assert found["attribute_log_likelihood"] == pytest.approx(-math.log(2))
    chance = small.splits["test"].text_ids.unique(return_counts=True)[1].double()
    assert found["log_likelihood/gallery4000"] == pytest.approx(float((chance * (chance / 4000).log()).sum() / 4000))


def test_separability_is_told_if_asked_for(small: SmallScenes, monkeypatch: pytest.MonkeyPatch) -> None:
    class Apart(Constant):
        def embed_text(self, texts: list[str]) -> Tensor:
            return -torch.ones(len(texts), 4)

    assert "linear_separability" not in small.evaluate(Constant(), "val")
    monkeypatch.setattr(small, "separability", True)
    assert small.evaluate(Constant(), "val")["linear_separability"] == 0.5
    assert small.evaluate(Apart(), "val")["linear_separability"] == 1


def test_classes_are_told_by_prompts_if_asked_for(small: SmallScenes, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "zero_shot/top1" not in small.evaluate(Constant(), "val")
    monkeypatch.setattr(small, "zero_shot", True)
    found = small.evaluate(Cheat(small), "val")
    alone = sum(len(scene) == 1 for scene in small.scenes("val"))
    assert found["zero_shot/top1"] == 1 and found["zero_shot/top1"].items.shape == (alone,) and alone > 300
    assert found["zero_shot/log_likelihood"] > -1e-6 and found["zero_shot/log_likelihood"].items.shape == (alone,)
    constant, chance = small.evaluate(Constant(), "val"), small.floor()["chance"]
    assert constant["zero_shot/top1"] == 0
    assert constant["zero_shot/log_likelihood"] == pytest.approx(chance["zero_shot/log_likelihood"])
    assert -4 < chance["zero_shot/log_likelihood"] < -3
    assert 1 / 45 < chance["zero_shot/top1"] < 1 / 15


def test_floor(small: SmallScenes) -> None:
    floor = small.floor()
    linear, chance = floor["pixels to words"], floor["chance"]
    assert linear.keys() - chance.keys() == {"modality_gap"}
    assert 0.004 < chance[small.primary] < 0.006
    assert 0.1 < linear[small.primary] < 0.13
    assert linear["log_likelihood/gallery4000"] > chance["log_likelihood/gallery4000"] + 0.5


def test_languages(fetched) -> None:
    several = ready(fetched, languages=["en", "de"], train_size=50, pairing="all")
    found = several.evaluate(Constant(), "val")
    assert {"mrr/gallery2000", "mrr/gallery2000_de"} <= found.keys()
    assert found["languages/mrr/gallery2000"] == found["mrr/gallery2000"]
    assert found["languages/log2_rank_variance/gallery2000"] == found["languages/rank_variance/gallery2000"] == 0
    texts = batch_of(several, 4)[1].texts
    assert [len(said) for said in texts] == [4, 4] and "ein" in texts[1][0]


def batch_of(benchmark: SmallScenes, size: int) -> tuple[Captioned, ImageText]:
    batch = take(benchmark.train, torch.arange(size))
    return batch, benchmark.augmented(batch, 3)


def test_further_views_and_captions(fetched) -> None:
    local = {"size": 12, "crop": 0.1, "largest": 0.5, "flip": 0.5}
    views = ("reordered", "thinned", "part", "object")
    switches = dict(mentions=("size", "colour"), omission=0.3, caption_noise=0.2, train_size=400, concepts=True)
    several = ready(fetched, local_views=2, local=local, text_views=views, **switches)
    plain = ready(fetched, **switches)
    whole, batch = batch_of(several, 300)
    assert batch.views.shape == (1, 300, 3, 24, 24) and batch.local.shape == (2, 300, 3, 12, 12)
    assert torch.equal(batch.views, batch_of(plain, 300)[1].views) and plain.train.texts == several.train.texts
    reordered, thinned, part, one = batch.text_views

    def phrases(text: str) -> list[str]:
        return re.split(", | and ", text)

    for i, text in enumerate(batch.text):
        said = sorted(phrases(text))
        assert sorted(phrases(reordered[i])) == said
        assert set(phrases(part[i])) <= set(said) and one[i] in said
        assert thinned[i] and len(thinned[i].split()) <= len(text.split())
    words = [sum(len(text.split()) for text in texts) for texts in (batch.text, thinned)]
    assert words[1] / words[0] == pytest.approx(0.9, abs=0.03)
    assert {len(phrases(text)) for text in part} == {1, 2, 3}
    assert several.augmented(whole, 4).text_views != batch.text_views
    # The concepts are what the caption says, noise and omission included, and a caption without places tells no class
    # of another picture.
    for text, row in zip(batch.text, batch.concepts, strict=True):
        named = {name for name, there in zip((*CLASSES, *COLOURS, *SIZES[:2]), row, strict=False) if there}
        assert all(re.search(rf"\b{name}\b", text) for name in named)
        assert len(named & set(CLASSES)) <= len(phrases(text)) and named & set(CLASSES)
    assert several.fingerprint() != ready(fetched, **switches | {"omission": 0.0}).fingerprint()


def test_omission_leaves_objects_out(small: SmallScenes, fetched) -> None:
    short = ready(fetched, omission=0.3)
    lengths = [torch.tensor([len(text.split()) for text in x.train.texts[0]]) for x in (small, short)]
    assert (lengths[1] < lengths[0]).double().mean() == pytest.approx(0.45, abs=0.1)
    assert short.splits["test"].texts == small.splits["test"].texts


def test_boxes_are_around_what_is_said(fetched) -> None:
    boxed = ready(fetched, boxes=True, omission=0.3, train_size=500)
    _, batch = batch_of(boxed, 500)
    assert batch.boxes.shape == (500, OBJECTS, 4) and batch.boxes.max() <= 1
    told = (batch.boxes[..., 2:] > batch.boxes[..., :2]).all(2)
    assert torch.equal(told.sum(1), torch.tensor([len(scene) for scene in boxed._told]))
    # A place is a ninth of the picture: what is at its top lies above what is at its bottom.
    top, bottom = ([i for i, text in enumerate(batch.text) if text.endswith(f"at the {x}")] for x in ("top", "bottom"))
    middle = batch.boxes[..., [1, 3]].mean(2)
    single = told.sum(1) == 1
    high, low = ([middle[i][told[i]].item() for i in rows if single[i]] for rows in (top, bottom))
    assert max(high) < min(low)
    with pytest.raises(UserError, match="boxes"):
        SmallScenes(boxes=True, flip=0.5)


def test_without_places_no_variant_has_the_captions_own_words(fetched) -> None:
    bare = ready(fetched, mentions=("size", "colour"), train_size=400)
    original, texts = bare.stored["test"].original, bare.changed_texts("test")
    own = bare.splits["test"].texts[0]
    assert all(text != own[i] for i, text in zip(original.tolist(), texts, strict=True))
    found = bare.evaluate(Constant(), "val")
    assert "attribute_accuracy/class" in found and "attribute_accuracy/place" not in found


def test_phrases_and_concepts_are_asked_for(small: SmallScenes, monkeypatch: pytest.MonkeyPatch) -> None:
    class Seer(nn.Module):
        """Features that are the concepts themselves; embeds no text."""

        def embed_image(self, pixels: Tensor) -> Tensor:
            return torch.zeros(len(pixels), 3)

        def image_features(self, pixels: Tensor) -> Tensor:
            return torch.stack([known[picture.numpy().tobytes()] for picture in pixels])

    known = {}
    for split in ("train", "val", "test"):
        pixels, there = small.splits[split].pixels, concepts_of(small.scenes(split)).float()
        known |= {picture.numpy().tobytes(): row for picture, row in zip(pixels, there, strict=True)}
    monkeypatch.setattr(small, "probe", True)
    found = small.evaluate(Seer(), "val")
    assert {name: value for name, value in found.items() if value < 0.99} == {}
    assert {f"probe_{name}/map" for name in CONCEPTS} | {"probe_class/picture_map"} == found.keys()
    monkeypatch.setattr(small, "probe", False)
    monkeypatch.setattr(small, "phrases", True)
    found = small.evaluate(Constant(), "val")
    assert found["phrases/map/gallery192"] < 0.05 and len(found["phrases/map/gallery192"].items) == 2000


@pytest.mark.parametrize(
    ("switch", "message"),
    [
        ({"train_size": 12_001}, "from 1 to 12000"),
        ({"train_size": 0}, "from 1"),
        ({"caption_noise": 1.5}, "in \\[0, 1\\]"),
        ({"omission": 1.5}, "in \\[0, 1\\]"),
        ({"mentions": ["weight"]}, "data.mentions"),
        ({"text_views": ["sung"]}, "data.text_views"),
        ({"local_views": -1}, "data.local_views"),
    ],
)
def test_what_is_out_of_range_is_named(switch: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        SmallScenes(**switch)


def test_a_caption_in_reverse_is_asked_for(small: SmallScenes, monkeypatch: pytest.MonkeyPatch) -> None:
    class Bag(Constant):
        """Counts words, so the order of objects is nothing to it; where they stand is said of each."""

        def embed_text(self, texts: list[str]) -> Tensor:
            words = [sorted(text.replace(",", " and").split(" and ")) for text in texts]
            return scattered([hash(tuple(part.strip() for part in line)) % 2**40 for line in words])

        def embed_image(self, pixels: Tensor) -> Tensor:
            return torch.ones(len(pixels), 256)

    monkeypatch.setattr(small, "reworded", True)
    found = small.evaluate(Bag(), "val")
    (name,) = [name for name in found if name.startswith("reworded/mrr/")]
    assert int(name.split("gallery")[1]) == 2000 + len(small.changed_texts("val"))
    gallery = {*small.splits["val"].texts[0], *small.changed_texts("val")}
    turned = [scene for scene in small.scenes("val") if len(scene) > 1]
    turned = [scene for scene in turned if small.wordings[0].caption(scene[::-1]) not in gallery]
    # Scenes of three are lists, in any order; two that stand in a relation read otherwise in reverse.
    lists = torch.tensor([len(scene) == 3 for scene in turned])
    assert len(found[name].items) == len(turned) > 1000
    assert found[name].items[lists].mean() > 0.99 and found[name].items[~lists].mean() < 0.01
