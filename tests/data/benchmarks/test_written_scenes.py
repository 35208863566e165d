"""Written scenes: what is drawn, what is read in place of pictures, and scores of modules whose scores are known."""

import pytest
import torch
from torch import Tensor, nn

from common.errors import UserError
from common.random import uniform
from common.table import take
from data.benchmarks.worlds.small_scenes import SmallScenes
from data.benchmarks.worlds.written_scenes import GALLERY, Pixels, WrittenScenes
from data.sources.tuxpaint_stamps import TUXPAINT_STAMPS


def ready(fetched, **switches) -> WrittenScenes:
    fetched(TUXPAINT_STAMPS)
    benchmark = WrittenScenes(**switches)
    benchmark.setup()
    return benchmark


@pytest.fixture(scope="module")
def written(fetched) -> WrittenScenes:
    return ready(fetched)


def bag(text: str) -> tuple[str, ...]:
    return tuple(sorted(text.split(" and ")))


class Knows(nn.Module):
    """Embeds pictures by their captions and captions by the objects that they name, in any order."""

    def __init__(self, benchmark: WrittenScenes) -> None:
        super().__init__()
        self.shown = {}
        for split in ("val", "test"):
            part = benchmark.splits[split]
            self.shown |= {x.numpy().tobytes(): text for x, text in zip(part.pixels, part.texts[0], strict=True)}

    def embed_image(self, pixels: Tensor) -> Tensor:
        return self.embed_text([self.shown[picture.numpy().tobytes()] for picture in pixels])

    def embed_text(self, texts: list[str]) -> Tensor:
        return uniform(torch.tensor([hash(bag(text)) % 2**40 for text in texts]), 256, 1) - 0.5


def test_counts_and_a_known_sample(written: WrittenScenes) -> None:
    assert written.sizes() == {"train": 8000, "val": 1000, "test": 2500} and len(written.train.ids) == 6000
    assert written.splits["test"].pixels.shape == (2500, 3, 24, 24)
    assert written.splits["test"].texts[0][:2] == [
        "a large ladybug and a large purple ring",
        "a large lion and a large carrot",
    ]
    assert max(len(text) for part in written.splits.values() for text in part.texts[0]) == 51
    assert written.fingerprint()[:8] == "89b51f24"


def test_pictures_are_those_of_small_scenes_and_no_two_splits_mean_the_same(written: WrittenScenes, fetched) -> None:
    small = SmallScenes()
    small.setup()
    parts = [small.splits[split] for split in small.splits]
    pictures = {n: x for part in parts for n, x in zip(part.ids.tolist(), part.pixels, strict=True)}
    for part in written.splits.values():
        assert (part.ids.diff() > 0).all()
        assert all(torch.equal(pictures[n], x) for n, x in zip(part.ids.tolist(), part.pixels, strict=True))
    bags = {split: {bag(text) for text in part.texts[0]} for split, part in written.splits.items()}
    assert not bags["train"] & bags["test"] and not bags["train"] & bags["val"] and not bags["val"] & bags["test"]


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_question_has_one_answer_which_reads_otherwise(written: WrittenScenes, split: str) -> None:
    asked, there = written.questions(split)
    assert len(there) == GALLERY[split] == len({bag(text) for text in there})
    assert [bag(text) for text in asked] == [bag(text) for text in there[: len(asked)]]
    assert not set(asked) & set(there) and len(asked) == {"val": 498, "test": 1207}[split]
    trained = {bag(text) for text in written.splits["train"].texts[0]}
    assert not {bag(text) for text in asked} & trained


def test_scores(written: WrittenScenes) -> None:
    found = written.evaluate(Knows(written))
    assert found["mrr/gallery2500"] == found["sentences/mrr/gallery4000"] == 1
    assert found["sentences/log2_rank/gallery4000"] == 0
    assert found["sentences/mrr/gallery4000"].items.shape == (1207,)
    floor = written.floor()
    assert floor["pixels to words"]["mrr/gallery2500"] > 2 * floor["chance"]["mrr/gallery2500"]
    assert floor["pixels of the sentences"].keys() < floor["chance"].keys()
    assert Pixels().embed_text(["a", "owl"]).sum(1).tolist() == [10.0, 27.0]


def test_a_share_of_the_samples_are_sentences(written: WrittenScenes, fetched) -> None:
    mixed = ready(fetched, sentences=0.5)
    assert mixed.fingerprint() == written.fingerprint()
    whole = take(mixed.train, torch.arange(2000))
    batch = mixed.augmented(whole, 0)
    one, other = batch.sentences
    assert len(batch.ids) + len(one) == 2000 and len(one) == pytest.approx(1000, abs=80)
    assert batch.views.shape == (1, len(batch.ids), 3, 24, 24) and len(batch.text) == len(batch.ids)
    by_id = dict(zip(whole.ids.tolist(), whole.texts[0], strict=True))
    assert [by_id[n] for n in batch.ids.tolist()] == batch.text
    assert all(a == " and ".join(reversed(b.split(" and "))) and a != b for a, b in zip(one, other, strict=True))
    trained = {bag(text) for text in mixed.train.texts[0]}
    assert {bag(text) for text in one} <= trained and len(set(one)) > 600
    # A sample is what it is in any batch, and something else in another epoch.
    halves = [mixed.augmented(take(mixed.train, torch.arange(*part)), 0) for part in ((0, 700), (700, 2000))]
    assert [text for half in halves for text in half.sentences[1]] == other
    assert mixed.augmented(whole, 1).sentences[0] != one
    assert not written.augmented(whole, 0).sentences
    loaded = mixed.augmented(next(iter(mixed.train_dataloader())), 0)
    assert len(loaded.ids) + len(loaded.sentences[0]) == 64


def test_mismatched_sentences_read_alike_and_mean_nothing(fetched) -> None:
    mixed, wrong = (ready(fetched, sentences=0.5, mismatched=flag) for flag in (False, True))
    right, given = (x.augmented(take(x.train, torch.arange(2000)), 0) for x in (mixed, wrong))
    assert right.sentences[0] == given.sentences[0] and torch.equal(right.ids, given.ids)
    same = [bag(a) == bag(b) for a, b in zip(*given.sentences, strict=True)]
    assert sum(same) < 20 and {bag(text) for text in given.sentences[1]} <= {bag(x) for x in mixed.train.texts[0]}


@pytest.mark.parametrize(
    ("switch", "message"),
    [
        ({"sentences": 1.5}, "data.sentences"),
        ({"mismatched": True}, "data.mismatched"),
        ({"train_size": 8001}, "from 1 to 8000"),
    ],
)
def test_what_is_out_of_range_is_named(switch: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        WrittenScenes(**switch)
