"""Emoji: concepts and their variants apart, switches that do what they say, known scores of modules that cheat."""

from collections import Counter

import pytest
import torch
from torch import Tensor, nn

from common.errors import UserError
from common.random import uniform
from common.table import take
from data.benchmarks.bases.emoji_concepts import ALIKE, VENDORS, family_of, read_concepts
from data.benchmarks.bases.rendering import luma
from data.benchmarks.mini.emoji import Emoji, MeanPicture, colours, pixels
from data.benchmarks.mini.emoji_groups import EmojiGroups
from data.sources.emoji_pictures import Emoji as Concept


@pytest.fixture(scope="module")
def emoji(fetched) -> Emoji:
    return ready(fetched, Emoji, batch_size=64)


@pytest.fixture(scope="module")
def groups(fetched) -> EmojiGroups:
    return ready(fetched, EmojiGroups)


def ready(fetched, kind: type, **switches):
    fetched(*kind.sources)
    benchmark = kind(**switches)
    benchmark.prepare_data()
    benchmark.setup()
    return benchmark


def scattered(numbers: list[int]) -> Tensor:
    return uniform(torch.tensor(numbers), 256, 1) - 0.5


class Cheat(nn.Module):
    """Knows which concept every picture shows and every name names."""

    def __init__(self, benchmark: Emoji) -> None:
        super().__init__()
        self.shown, self.named = {}, {}
        for part in (*benchmark.splits.values(), *benchmark.unseen.values()):
            for picture, number in zip(part.pixels, part.text_ids.tolist(), strict=True):
                self.shown[picture.numpy().tobytes()] = number
            for names in part.texts:
                self.named |= dict(zip(names, part.text_ids.tolist(), strict=True))

    def embed_image(self, pixels: Tensor) -> Tensor:
        return scattered([self.shown[picture.numpy().tobytes()] for picture in pixels])

    def embed_text(self, texts: list[str]) -> Tensor:
        return scattered([self.named[text] for text in texts])


class Constant(nn.Module):
    def embed_image(self, pixels: Tensor) -> Tensor:
        return torch.ones(len(pixels), 4)

    def embed_text(self, texts: list[str]) -> Tensor:
        return torch.ones(len(texts), 4)


def test_no_concept_and_no_variant_is_in_two_splits(emoji: Emoji) -> None:
    concepts = read_concepts()
    assert {split: len(part.emoji) for split, part in concepts.items()} == {"train": 1260, "val": 186, "test": 354}
    split_of: dict[str, str] = {}
    for split, part in concepts.items():
        assert part.pixels.shape == (len(part.emoji), 4, 3, 32, 32)
        for concept in part.emoji:
            assert split_of.setdefault(family_of(concept), split) == split
    for language in ("en", "de", "ja", "ar"):
        names = [name.lower() for part in concepts.values() for name in part.names[language]]
        assert len(set(names)) == len(names) == 1800
    # Flags and clock faces are found in every split, in proportion.
    counts = [Counter(concept.subcategory for concept in part.emoji) for part in concepts.values()]
    assert [count["country-flag"] for count in counts] == [171, 24, 49]
    assert [count["time"] for count in counts] == [22, 3, 6]


def test_no_two_concepts_are_drawn_alike() -> None:
    concepts = read_concepts()
    everything = torch.cat([part.pixels for part in concepts.values()]).flatten(2).float() / 255
    for vendor in range(len(VENDORS)):
        # Euclidean distance over the root of the number of values is the root mean square.
        distance = torch.cdist(everything[:, vendor], everything[:, vendor]) / everything.shape[2] ** 0.5
        assert distance.fill_diagonal_(1).min() >= ALIKE


def test_variants_are_of_one_family() -> None:
    def family(code: str, subcategory: str = "person") -> str:
        return family_of(Concept(code, "", "", subcategory))

    runner = {family(code) for code in ("1F3C3", "1F3C3-200D-2640-FE0F", "1F3C3-200D-2642-FE0F-200D-27A1-FE0F")}
    assert runner == {"1F3C3"}
    assert family("1F468-200D-1F680") == family("1F469-200D-1F680") == family("1F9D1-200D-1F680") != family("1F680")
    assert family("1F468-200D-1F469-200D-1F466", "family") == family("1F46A", "family")
    assert family("1F550") != family("1F551")


def test_counts(emoji: Emoji) -> None:
    assert emoji.sizes() == {"train": 3 * 1260, "val": 260, "test": 1000}
    assert {split: len(part.ids) for split, part in emoji.unseen.items()} == {"val": 3 * 186, "test": 3 * 354}
    row = emoji.train.texts[0].index("elephant")
    assert emoji.train.texts[0].count("elephant") == 3
    # Grey all over, on white.
    red, green, blue = emoji.train.pixels[row, :, 16, 16].int().tolist()
    assert max(red, green, blue) - min(red, green, blue) < 40
    assert (emoji.train.pixels[row, :, 0, 0] == 255).all()


def test_an_unknown_style_is_scored_on_known_concepts_and_known_styles_on_unknown_ones(emoji: Emoji) -> None:
    train = {*emoji.train.text_ids.tolist()}
    val, test = ({*emoji.splits[split].text_ids.tolist()} for split in ("val", "test"))
    assert val | test == train and not val & test
    held_out = VENDORS.index("fluent")
    assert {number % 4 for number in emoji.train.ids.tolist()} == set(range(4)) - {held_out}
    assert {number % 4 for split in ("val", "test") for number in emoji.splits[split].ids.tolist()} == {held_out}
    unseen = [{*part.text_ids.tolist()} for part in emoji.unseen.values()]
    assert not unseen[0] & unseen[1] and not (unseen[0] | unseen[1]) & train
    assert held_out not in {number % 4 for part in emoji.unseen.values() for number in part.ids.tolist()}


def test_splits_are_the_same_for_every_seed_and_fingerprints_are_pinned(emoji: Emoji, groups: EmojiGroups) -> None:
    """The benchmark of a record is the benchmark of today."""
    assert emoji.fingerprint()[:8] == "1fc9fe52"
    assert groups.fingerprint()[:8] == "e11cbce5"
    other = Emoji(seed=7, batch_size=32)
    other.setup()
    assert other.fingerprint() == emoji.fingerprint()


def test_known_scores(emoji: Emoji) -> None:
    perfect = emoji.evaluate(Cheat(emoji))
    assert {value for name, value in perfect.items() if "recall" in name} == {1.0}
    assert {"recall@1/gallery1000", "unseen/recall@1/gallery1062"} <= perfect.keys()
    nothing = emoji.evaluate(Constant(), "val")
    assert {value for name, value in nothing.items() if "recall" in name} == {0.0}
    assert {"recall@1/gallery260", "unseen/text_to_image/recall@1/gallery558"} <= nothing.keys()


def test_pixels_say_more_of_a_style_than_colours_do(emoji: Emoji) -> None:
    scores = [emoji.evaluate(MeanPicture(emoji.train, describe), "val") for describe in (pixels, colours)]
    known = [score["recall@1/gallery260"] for score in scores]
    unknown = [score["unseen/recall@1/gallery558"] for score in scores]
    assert 0.4 < known[0] < 0.5 and 0.15 < known[1] < 0.25
    # The words that a name shares with those of the train split.
    assert min(unknown) > 0.05 and max(unknown) < 0.12


def test_chance_is_one_of_the_gallery(emoji: Emoji) -> None:
    chance = emoji.floor()["chance"]
    assert chance["recall@1/gallery1000"] == pytest.approx(1 / 1000)
    assert chance["unseen/image_to_text/recall@1/gallery354"] == pytest.approx(1 / 354)
    assert chance["unseen/text_to_image/recall@1/gallery1062"] == pytest.approx(1 / 354)


def test_languages_and_vendors(fetched) -> None:
    switched = ready(fetched, Emoji, held_out="google", vendors=["twitter"], languages=["de", "zh"], pairing="all")
    assert switched.sizes() == {"train": 1260, "val": 260, "test": 1000}
    batch = switched.augmented(take(switched.train, torch.arange(8)), 0)
    assert len(batch.texts) == 2 and batch.pixels.shape == (8, 3, 32, 32)
    row = switched.train.texts[0].index("elefant")
    assert switched.train.texts[1][row] == "大象"
    metrics = switched.evaluate(Cheat(switched), "val")
    assert metrics["recall@1/gallery260_zh"] == metrics["unseen/recall@1/gallery186_zh"] == 1.0


@pytest.mark.parametrize(
    ("kind", "switch", "message"),
    [
        (Emoji, {"held_out": "apple"}, "data.held_out is 'apple'; it must be one of google, twitter"),
        (Emoji, {"held_out": "google", "vendors": ["google"]}, "must hold some of twitter, fluent, openmoji, each"),
        (Emoji, {"languages": ["en", "la"]}, r"data.languages is \['en', 'la'\]"),
        (EmojiGroups, {"vendors": []}, r"data.vendors is \[\]; it must hold some of google"),
        (EmojiGroups, {"labels": "group"}, "data.labels is 'group'; it must be 'subgroup' or 'concept'"),
    ],
)
def test_bad_switches_are_named(kind: type, switch: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        kind(**switch)


def test_groups_are_scored_on_as_many_concepts_each(groups: EmojiGroups) -> None:
    assert groups.sizes() == {"train": 3264, "val": 240, "test": 480}
    assert groups.splits["test"].labels.bincount().tolist() == [16] * 30
    assert groups.splits["val"].labels.bincount().tolist() == [8] * 30
    assert groups.gallery(groups.gallery_per_class).labels.bincount().tolist() == [52] * 30
    concepts = [{*(part.ids // 4).tolist()} for part in groups.splits.values()]
    assert not concepts[0] & concepts[1] and not concepts[0] & concepts[2] and not concepts[1] & concepts[2]


def test_concepts_as_classes(fetched) -> None:
    concepts = ready(fetched, EmojiGroups, labels="concept", vendors=["google", "openmoji"])
    assert concepts.train.labels.bincount().tolist() == [2] * 1260
    assert concepts.gallery(concepts.gallery_per_class).labels.bincount().tolist() == [26] * 30
    assert concepts.sizes()["test"] == 480


def test_scores_of_groups(groups: EmojiGroups) -> None:
    class Knows(nn.Module):
        """Knows the concept of every picture and the class of most."""

        def __init__(self) -> None:
            super().__init__()
            self.known = {}
            for part in groups.concepts.values():
                labels = [*groups.classes, *{c.subcategory for c in part.emoji} - {*groups.classes}]
                for drawings, number, concept in zip(part.pixels, part.numbers, part.emoji, strict=True):
                    row = torch.cat(
                        [scattered([labels.index(concept.subcategory)])[0], scattered([int(number)])[0] / 9]
                    )
                    self.known |= {drawing.numpy().tobytes(): row for drawing in drawings}

        def embed_image(self, pixels: Tensor) -> Tensor:
            return torch.stack([self.known[picture.numpy().tobytes()] for picture in pixels])

    perfect = groups.evaluate(Knows())
    assert perfect["knn20_cosine/top1"] == perfect["probe_linear/top1"] == 1.0
    assert perfect["fluent_to_openmoji/recall@1/gallery354"] == 1.0
    nothing = groups.evaluate(Constant(), "val")
    assert nothing["knn20_cosine/top1"] == pytest.approx(1 / 30)
    assert nothing["fluent_to_openmoji/recall@10/gallery186"] == 0.0


def test_floor_of_groups(groups: EmojiGroups) -> None:
    floor = groups.floor()
    assert floor["chance"].keys() == floor["raw pixels"].keys()
    assert floor["chance"]["probe_linear/top1"] == pytest.approx(1 / 30)
    assert floor["chance"]["fluent_to_openmoji/median_rank/gallery354"] == 177.5
    assert floor["chance"]["fluent_to_openmoji/recall@5/gallery354"] == pytest.approx(5 / 354)
    assert 0.3 < floor["raw pixels"]["probe_linear/top1"] < 0.4
    assert 0.15 < floor["raw pixels"]["fluent_to_openmoji/recall@1/gallery354"] < 0.3


def test_grey_pictures_and_a_long_tail(fetched, groups: EmojiGroups) -> None:
    grey = ready(fetched, EmojiGroups, colour=False, long_tail=4)
    assert grey.splits["test"].pixels.shape == (480, 1, 32, 32)
    assert grey.splits["test"].pixels.equal(luma(groups.splits["test"].pixels))
    assert grey.fingerprint() != groups.fingerprint()
    sizes = grey.train.labels.bincount()
    assert sizes.sort(descending=True).values.equal(sizes)
    assert sizes[0] / sizes[29] == pytest.approx(4, abs=0.3)
    assert ready(fetched, EmojiGroups, colour=False, labels="concept").train.pixels.shape[1] == 1
