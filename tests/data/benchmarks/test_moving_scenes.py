"""The benchmark of moving scenes: what moves is what the caption says, and scores of modules whose scores are known."""

import pytest
import torch
from torch import Tensor, nn

from common.errors import UserError
from common.random import uniform
from common.table import take
from data.benchmarks.worlds.moving_scenes import MovingScenes
from data.scenes.motion import COUNTS, VERBS, clips_of, meaning
from data.scenes.words import CLASSES
from data.sources.tuxpaint_stamps import TUXPAINT_STAMPS


@pytest.fixture(scope="module")
def scenes(fetched) -> MovingScenes:
    return ready(fetched)


def ready(fetched, **switches) -> MovingScenes:
    fetched(TUXPAINT_STAMPS)
    benchmark = MovingScenes(**switches)
    benchmark.prepare_data()
    benchmark.setup()
    return benchmark


class Cheat(nn.Module):
    """Knows what every clip and every caption says: whatever it scores below 1 is the protocol's fault."""

    def __init__(self, benchmark: MovingScenes, split: str) -> None:
        super().__init__()
        data = benchmark.splits[split]
        numbers = data.text_ids.tolist()
        self.said = dict(zip(data.texts[0], numbers, strict=True))
        self.shown = {clip.numpy().tobytes(): number for clip, number in zip(data.pixels, numbers, strict=True)}

    def embed_video(self, frames: Tensor) -> Tensor:
        return scattered([self.shown[clip.numpy().tobytes()] for clip in frames])

    def embed_text(self, texts: list[str]) -> Tensor:
        return scattered([self.said.get(text, 0) for text in texts])

    def match_scores(self, pixels: Tensor, texts: list[str], pairs: Tensor) -> Tensor:
        video, text = self.embed_video(pixels), self.embed_text(texts)
        return (video[pairs[:, 0]] == text[pairs[:, 1]]).all(1).float()


class Constant(nn.Module):
    def embed_video(self, frames: Tensor) -> Tensor:
        return torch.ones(len(frames), 4)

    def embed_text(self, texts: list[str]) -> Tensor:
        return torch.ones(len(texts), 4)


def scattered(numbers: list[int]) -> Tensor:
    return uniform(torch.tensor(numbers), 256, 1) - 0.5


def test_counts(scenes: MovingScenes) -> None:
    assert scenes.sizes() == COUNTS == {"train": 6000, "val": 500, "test": 1000}
    assert scenes.train.pixels.shape == (6000, 8, 3, 32, 32)
    assert scenes.splits["test"].texts[0][:2] == ["a blue crescent grows", "an orange cross grows"]


def test_captions_in_every_language(fetched) -> None:
    benchmark = ready(fetched, languages=["en", "de", "fr", "es", "ja"], train_size=100)
    assert [captions[2] for captions in benchmark.splits["test"].texts] == [
        "a tent moves down and a white heart shrinks",
        "ein Zelt bewegt sich nach unten und ein weißes Herz schrumpft",
        "une tente descend et un cœur blanc rétrécit",
        "una tienda de campaña baja y un corazón blanco se encoge",
        "テントが したに うごく、 しろい ハートが ちいさく なる",
    ]
    said: dict[str, int] = {}
    for captions in benchmark.splits["test"].texts:
        for text, number in zip(captions, benchmark.splits["test"].text_ids.tolist(), strict=True):
            assert said.setdefault(text, number) == number


def test_no_caption_stands_in_two_splits() -> None:
    said = {split: {meaning(one.clip) for one in part} for split, part in clips_of().items()}
    assert not said["train"] & said["val"] and not said["train"] & said["test"] and not said["val"] & said["test"]


def test_fingerprint_is_pinned_and_the_same_for_every_seed(scenes: MovingScenes, fetched) -> None:
    assert scenes.fingerprint()[:8] == "3f35d094"
    assert ready(fetched, seed=7).fingerprint() == scenes.fingerprint()


def test_objects_do_what_the_caption_says(scenes: MovingScenes) -> None:
    """Measured on the masks: where the object is, how large, and in how many frames."""
    tracks = scenes.tracks(scenes.splits["test"].ids, "test")
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    seen = 0
    for masks, kinds, verbs in zip(tracks.masks, tracks.classes.tolist(), tracks.verbs.tolist(), strict=True):
        if kinds[1] >= 0:
            continue  # a neighbour may hide a part
        mask = masks[:, 0].double()
        area = mask.sum((1, 2))
        down, right = ((mask * where).sum((1, 2)) / area for where in (y, x))
        match VERBS[verbs[0]]:
            case "left":
                assert right[0] - right[-1] > 6 and (down[0] - down[-1]).abs() < 2
            case "right":
                assert right[-1] - right[0] > 6 and (down[0] - down[-1]).abs() < 2
            case "up":
                assert down[0] - down[-1] > 6 and (right[0] - right[-1]).abs() < 2
            case "down":
                assert down[-1] - down[0] > 6 and (right[0] - right[-1]).abs() < 2
            case "grow":
                assert area[-1] > 2 * area[0]
            case "shrink":
                assert area[0] > 2 * area[-1]
            case "jump":
                assert down.max() - down.min() > 4 and (down[0] - down[-1]).abs() < 2
            case "blink":
                assert (area == 0).sum() == 4
            case "tremble":
                assert (right[1:] - right[:-1]).abs().min() >= 1 and (down - down[0]).abs().max() < 2
            case "spin":
                assert (area / area.mean() - 1).abs().max() < 0.6
        seen += 1
    assert seen > 300


def test_perfect_scores(scenes: MovingScenes) -> None:
    found = scenes.evaluate(Cheat(scenes, "val"), "val")
    perfect = {name for name in found if "recall" in name or "choice" in name}
    assert {"recall@1/gallery500", "reranked16_recall@1/gallery500", "verb_choice5/top1"} <= perfect
    assert {"exchange_choice2_matched/top1", "video_to_text/recall@1/gallery500"} <= perfect
    assert {found[name] for name in perfect} == {1.0}


def test_a_constant_scores_nothing(scenes: MovingScenes) -> None:
    found = scenes.evaluate(Constant(), "val")
    scores = {name: value for name, value in found.items() if "mrr" not in name and "log2_rank" not in name}
    assert set(scores.values()) == {0.0} and max(v for name, v in found.items() if "mrr" in name) < 0.003


def test_choices_differ_in_what_they_say(scenes: MovingScenes) -> None:
    texts, choices = scenes.choices("val")
    by_name = {choice.name: choice for choice in choices}
    assert [choice.wrong.shape for choice in choices][:2] == [(500, 4), (500, 4)]
    for choice in choices:
        for row, wrong in zip(choice.rows.tolist(), choice.wrong.tolist(), strict=True):
            others = [texts[i] for i in wrong]
            assert len({texts[row], *others}) == 1 + len(others)
    exchange = by_name["exchange_choice2"]
    for row, (wrong,) in zip(exchange.rows.tolist(), exchange.wrong.tolist(), strict=True):
        assert sorted(texts[row].split()) == sorted(texts[wrong].split())


def test_floor(scenes: MovingScenes) -> None:
    floor = scenes.floor()
    assert floor["pixels to words"].keys() - floor["chance"].keys() == {"modality_gap"}
    assert floor["chance"]["verb_choice5/top1"] == 0.2
    assert 0.095 < floor["chance"]["zero_shot_verb/top1"] < 0.105
    assert floor["chance"][scenes.primary] < 0.004
    assert 0.1 < floor["pixels to words"][scenes.primary] < 0.15


def test_training_batches(fetched) -> None:
    benchmark = ready(fetched, verb_swaps=3)
    stored = next(iter(benchmark.train_dataloader()))
    batch = benchmark.augmented(stored, 0)
    assert batch.frames.shape == (64, 8, 3, 32, 32)
    # Alike for all frames: the backdrop rests.
    factor = batch.frames[0, :, 0, 0, 0] / (stored.pixels[0, :, 0, 0, 0] / 255)
    assert factor.std() < 0.02
    assert [len(captions) for captions in batch.verb_swapped] == [64, 64, 64]
    for row, (text, verb) in enumerate(zip(batch.text, batch.verbs, strict=True)):
        others = [captions[row] for captions in batch.verb_swapped]
        assert len({text, *others}) == 4
        assert verb in text
        kept = text.split(verb)[0]
        assert all(other.startswith(kept) or verb in text.replace(kept, "", 1) for other in others)
    assert benchmark.augmented(stored, 0).verb_swapped == batch.verb_swapped
    assert benchmark.augmented(stored, 1).verb_swapped != batch.verb_swapped


def test_skewed_verbs_are_drawn_more_often(fetched) -> None:
    for skew, least, most in ((0.0, 0.05, 0.15), (2.0, 0.4, 0.8)):
        benchmark = ready(fetched, verb_swaps=1, verb_skew=skew)
        batch = benchmark.augmented(take(benchmark.train, torch.arange(1000)), 0)
        pairs = zip(batch.text, batch.verb_swapped[0], strict=True)
        left = sum(other.count("moves left") > text.count("moves left") for text, other in pairs)
        assert least < left / 1000 < most


def test_caption_noise_exchanges_captions_and_their_swaps(scenes: MovingScenes, fetched) -> None:
    noisy = ready(fetched, caption_noise=0.5, verb_swaps=1)
    wrong = noisy.train.text_ids != scenes.train.text_ids
    assert wrong.double().mean() == pytest.approx(0.5, abs=0.03)
    batch = noisy.augmented(take(noisy.train, torch.arange(200)), 0)
    assert all(verb in text for text, verb in zip(batch.text, batch.verbs, strict=True))


def test_tracks(scenes: MovingScenes) -> None:
    data = take(scenes.train, torch.tensor([5, 900]))
    tracks = scenes.tracks(data.ids)
    assert tracks.masks.shape == (2, 8, 2, 32, 32)
    for text, kinds in zip(data.texts[0], tracks.classes.tolist(), strict=True):
        assert all(CLASSES[kind] in text for kind in kinds if kind >= 0)
    with pytest.raises(UserError, match="not in the split 'val'"):
        scenes.tracks(data.ids, "val")


@pytest.mark.parametrize(
    ("switches", "message"),
    [
        ({"train_size": 0}, "data.train_size is 0"),
        ({"caption_noise": 2.0}, "data.caption_noise is 2.0"),
        ({"verb_swaps": 9}, "data.verb_swaps is 9; it must be from 0 to 8"),
        ({"verb_skew": -1.0}, "data.verb_skew is -1.0"),
        ({"views": 2}, "data.views is 2"),
    ],
)
def test_bad_switches_are_refused(switches: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        MovingScenes(**switches)
