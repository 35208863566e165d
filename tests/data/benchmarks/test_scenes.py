"""The benchmark of scenes: switches that do what they say, and scores of modules whose scores are known."""

import pytest
import torch
from torch import Tensor, nn

from common.errors import UserError
from common.random import uniform
from common.table import take
from data.benchmarks.worlds.scenes import Scenes
from data.scenes.layout import ASPECTS
from data.scenes.words import CLASSES, MENTIONS, phrases
from data.sources.tuxpaint_stamps import TUXPAINT_STAMPS


@pytest.fixture(scope="module")
def scenes(fetched) -> Scenes:
    return ready(fetched)


def ready(fetched, **switches) -> Scenes:
    fetched(TUXPAINT_STAMPS)
    benchmark = Scenes(**switches)
    benchmark.prepare_data()
    benchmark.setup()
    return benchmark


class Cheat(nn.Module):
    """Knows what every picture and every caption says: whatever it scores below 1 is the protocol's fault."""

    def __init__(self, benchmark: Scenes, split: str) -> None:
        super().__init__()
        parts = [benchmark.splits[split], benchmark.variants(split)[0]]
        self.said = {}
        self.shown = {}
        self.caption = {}
        for part in parts:
            for picture, text, number in zip(part.pixels, part.texts[0], part.text_ids.tolist(), strict=True):
                self.said[text] = number
                self.shown[picture.numpy().tobytes()] = number
                self.caption[picture.numpy().tobytes()] = text

    def embed_image(self, pixels: Tensor) -> Tensor:
        return scattered([self.shown[picture.numpy().tobytes()] for picture in pixels])

    def embed_text(self, texts: list[str]) -> Tensor:
        # What no scene of the split says may still be a prompt.
        return scattered([self.said.get(text, 0) for text in texts])

    def match_scores(self, pixels: Tensor, texts: list[str], pairs: Tensor) -> Tensor:
        image, text = self.embed_image(pixels), self.embed_text(texts)
        return (image[pairs[:, 0]] == text[pairs[:, 1]]).all(1).float()

    def captions(self, pixels: Tensor) -> list[str]:
        return [self.caption[picture.numpy().tobytes()] for picture in pixels]


class Constant(nn.Module):
    def embed_image(self, pixels: Tensor) -> Tensor:
        return torch.ones(len(pixels), 4)

    def embed_text(self, texts: list[str]) -> Tensor:
        return torch.ones(len(texts), 4)

    def captions(self, pixels: Tensor) -> list[str]:
        return ["an owl"] * len(pixels)


def scattered(numbers: list[int]) -> Tensor:
    return uniform(torch.tensor(numbers), 256, 1) - 0.5


def test_counts(scenes: Scenes) -> None:
    assert {split: len(part.ids) for split, part in scenes.splits.items()} == {
        "train": 20_000,
        "val": 1000,
        "test": 2000,
    }
    assert scenes.train.pixels.shape[1:] == (3, 48, 48)
    assert scenes.splits["test"].texts[0][0] == "a small strawberry at the top left"


def test_no_caption_stands_in_two_splits(scenes: Scenes) -> None:
    texts = {split: set(part.texts[0]) for split, part in scenes.splits.items()}
    ids = {split: set(part.text_ids.tolist()) for split, part in scenes.splits.items()}
    for said in (texts, ids):
        assert not said["train"] & said["val"] and not said["train"] & said["test"] and not said["val"] & said["test"]
    # The same number in every language, and one number a caption.
    assert len(dict(zip(scenes.train.texts[0], scenes.train.text_ids.tolist(), strict=True))) == len(texts["train"])


def test_fingerprint_is_pinned_and_the_same_for_every_seed(scenes: Scenes, fetched) -> None:
    assert scenes.fingerprint()[:8] == "95ea910a"
    assert ready(fetched, seed=7).fingerprint() == scenes.fingerprint()


def test_perfect_scores(scenes: Scenes) -> None:
    found = scenes.evaluate(Cheat(scenes, "val"), "val")
    assert found["recall@1/gallery1000"] == found["recall@1/gallery500_distractors"] == 1
    assert found["reranked16_recall@1/gallery500_distractors"] == 1
    for name in ("text", "image", *ASPECTS):
        assert found[f"distractor_accuracy/{name}"] == found[f"distractor_accuracy_matched/{name}"] == 1
    assert found["caption/exact"] == found["caption/phrase_f1"] == found["caption/bleu4"] == 1


def test_a_constant_scores_nothing(scenes: Scenes) -> None:
    found = scenes.evaluate(Constant(), "val")
    scores = {name: value for name, value in found.items() if "mrr" not in name and "log2_rank" not in name}
    assert {name: value for name, value in scores.items() if value} == pytest.approx({})
    assert found["mrr/gallery1000"] < 0.002 and found["log2_rank/gallery1000"] > 9.9


def test_floor(scenes: Scenes) -> None:
    floor = scenes.floor()
    assert scenes.primary in floor["chance"] and scenes.primary in floor["pixels to words"]
    assert floor["pixels to words"].keys() - floor["chance"].keys() == {"modality_gap"}
    assert 0.03 < floor["chance"]["zero_shot/top1"] < 0.06
    assert 0.0005 < floor["chance"][scenes.primary] < 0.001
    assert 0.1 < floor["pixels to words"][scenes.primary] < 0.15


def test_training_batches(scenes: Scenes) -> None:
    batches = iter(scenes.train_dataloader())
    stored = next(batches)
    batch = scenes.augmented(stored, 0)
    assert batch.pixels.shape == (128, 3, 48, 48) and batch.pixels.dtype == torch.float32
    assert len(batch.text) == 128 and len(batch.texts) == 1
    assert (batch.pixels - stored.pixels / 255).abs().max() < 0.2
    assert not torch.equal(scenes.augmented(stored, 1).pixels, batch.pixels)


def test_languages(fetched) -> None:
    one = ready(fetched, languages=["en", "de", "ja"], train_size=1000)
    stored = take(one.train, torch.arange(300))
    drawn = [one.augmented(stored, epoch).text for epoch in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    by_language = [sum(text in captions for text in drawn[0]) for captions in stored.texts]
    assert sum(by_language) == 300 and min(by_language) > 70
    every = ready(fetched, languages=["en", "de", "ja"], pairing="all", views=2, train_size=1000)
    batch = every.augmented(stored, 0)
    assert batch.texts == list(stored.texts)
    assert batch.views.shape == (2, 300, 3, 48, 48)
    # "gallery1000_de" stands beside "gallery1000".
    found = every.evaluate(Constant(), "val")
    assert {"recall@1/gallery1000", "recall@1/gallery1000_de", "recall@1/gallery1000_ja"} <= found.keys()


def test_caption_noise_exchanges_captions(scenes: Scenes, fetched) -> None:
    noisy = ready(fetched, caption_noise=0.4)
    assert torch.equal(noisy.train.ids, scenes.train.ids) and torch.equal(noisy.train.pixels, scenes.train.pixels)
    wrong = noisy.train.text_ids != scenes.train.text_ids
    assert wrong.double().mean() == pytest.approx(0.4, abs=0.02)
    assert sorted(noisy.train.texts[0]) == sorted(scenes.train.texts[0])
    said = dict(zip(scenes.train.texts[0], scenes.train.text_ids.tolist(), strict=True))
    assert [said[text] for text in noisy.train.texts[0]] == noisy.train.text_ids.tolist()
    assert noisy.splits["test"].texts == scenes.splits["test"].texts


def test_omission_shortens_training_captions_only(scenes: Scenes, fetched) -> None:
    short = ready(fetched, omission=0.3)
    assert sum(map(len, short.train.texts[0])) < 0.85 * sum(map(len, scenes.train.texts[0]))
    assert short.splits["test"].texts == scenes.splits["test"].texts
    said: dict[int, str] = {}
    for number, text in zip(short.train.text_ids.tolist(), short.train.texts[0], strict=True):
        assert (
            sorted(said.setdefault(number, text)) == sorted(text)
            or " of " in text
            or "above" in text
            or "below" in text
        )


def test_held_out_classes_are_never_trained_on(fetched) -> None:
    benchmark = ready(fetched, held_out=6, objects=(1, 3))
    names = [CLASSES[kind] for kind in benchmark.held_out.tolist()]
    assert len(names) == 6
    assert not any(f" {name}" in text for text in benchmark.train.texts[0] for name in names)
    assert any(f" {names[0]}" in text for text in benchmark.splits["test"].texts[0])
    assert all(text.count(" a ") + text.count(", ") <= 5 for text in benchmark.train.texts[0])
    classes = benchmark.regions(benchmark.train.ids[:500]).classes
    assert not torch.isin(classes, benchmark.held_out).any()
    found = benchmark.evaluate(Constant(), "val")
    assert {"zero_shot_seen/top1", "zero_shot_held_out/top1"} <= found.keys()


def test_domain_shift_and_tiny_objects_add_scores(fetched) -> None:
    benchmark = ready(fetched, domain_shift=True, tiny_objects=0.25, train_size=100)
    assert any("tiny" in text for text in benchmark.train.texts[0])
    assert not any("tiny" in text for text in benchmark.splits["val"].texts[0])
    found = benchmark.evaluate(Constant(), "val")
    for name in ("recall@1/gallery1000", "zero_shot/top1"):
        assert {name, f"{name}_shifted", f"{name}_tiny"} <= found.keys()


def test_fewer_mentions_make_more_captions_fit(fetched) -> None:
    benchmark = ready(fetched, mentions=("colour",), train_size=100)
    data = benchmark.splits["test"]
    assert not any("small" in text or "left" in text for text in data.texts[0])
    assert len(set(data.text_ids.tolist())) == len({tuple(sorted(phrases(text))) for text in data.texts[0]})
    # Where size and place are not said, changing them changes nothing that a caption could tell.
    assert set(benchmark.variants("val")[1].aspect.tolist()) == {ASPECTS.index("class"), ASPECTS.index("colour")}


def test_regions(scenes: Scenes) -> None:
    batch = take(scenes.train, torch.tensor([17, 3, 4000]))
    regions = scenes.regions(batch.ids)
    assert regions.masks.shape == (3, 5, 48, 48) and regions.boxes.shape == (3, 5, 4)
    for row in range(3):
        there = int((regions.classes[row] >= 0).sum())
        assert len(regions.phrases[row]) == there
        assert regions.masks[row].any(dim=(1, 2)).tolist() == [k < there for k in range(5)]
        for phrase, kind in zip(regions.phrases[row], regions.classes[row].tolist(), strict=False):
            assert f" {CLASSES[kind]} " in phrase
    with pytest.raises(UserError, match="not in the split 'val'"):
        scenes.regions(batch.ids, "val")


@pytest.mark.parametrize(
    ("switches", "message"),
    [
        ({"train_size": 20_001}, "data.train_size is 20001"),
        ({"objects": (3, 2)}, r"data.objects is \[3, 2\]"),
        ({"mentions": ("shape",)}, f"some of {', '.join(MENTIONS)}"),
        ({"omission": 1.2}, "data.omission is 1.2"),
        ({"caption_noise": -0.1}, "data.caption_noise is -0.1"),
        ({"tiny_objects": 1.0}, "data.tiny_objects is 1.0"),
        ({"held_out": 21}, "data.held_out is 21"),
        ({"languages": ["en", "xx"]}, "data.languages is .*en, de, fr, es, ja"),
        ({"pairing": "some"}, "data.pairing is 'some'"),
    ],
)
def test_bad_switches_are_refused(switches: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Scenes(**switches)


def test_a_train_size_that_the_other_switches_do_not_leave_is_refused(fetched) -> None:
    with pytest.raises(UserError, match="leave 11310"):
        ready(fetched, train_size=15_000, objects=(1, 2))
