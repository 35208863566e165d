"""Described motions: splits by people, captions that say what is measured, and TMR's four protocols."""

import copy
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from common.batches import CaptionedMotions
from common.errors import UserError
from common.random import uniform
from data.benchmarks.bases.captioned_motion import CaptionedMotion, ChannelStatistics
from data.benchmarks.bases.captions import Attribute, Grammar
from data.benchmarks.mini.motion import CAPTIONS, GRAMMAR, Motion
from data.benchmarks.published.humanml3d import HumanML3D, KitML
from data.sources.seglearn import SEGLEARN

GREETING = Grammar(
    ("{who} waves {hand}", "{hand} {who} waves"),
    {
        "who": Attribute((("she",), ("he",)), weight=1),
        "hand": Attribute((("twice", "two times"), ("once",)), weight=3, said=0.5),
    },
)


@pytest.fixture(scope="module")
def motion(fetched: Callable[..., None]) -> Motion:
    fetched(SEGLEARN)
    benchmark = Motion()
    benchmark.prepare_data()
    benchmark.setup()
    return benchmark


class Cheat(nn.Module):
    """Knows which motion of the test split each of its texts describes."""

    def __init__(self, benchmark: CaptionedMotion) -> None:
        super().__init__()
        part = benchmark.splits["test"]
        self.texts = dict(zip(part.scored_texts(), part.ids.tolist(), strict=True))
        self.motions = {
            frames.numpy().tobytes(): int(number)
            for part in benchmark.splits.values()
            for number, frames in zip(part.ids, part.scored_motions(), strict=True)
        }

    def place(self, numbers: list[int]) -> Tensor:
        return uniform(torch.tensor(numbers), 16, 0) - 0.5

    def embed_motion(self, motions: list[Tensor]) -> Tensor:
        return self.place([self.motions[frames.numpy().tobytes()] for frames in motions])

    def embed_text(self, texts: list[str]) -> Tensor:
        return self.place([self.texts[text] for text in texts])


class Constant(nn.Module):
    def embed_motion(self, motions: list[Tensor]) -> Tensor:
        return torch.ones(len(motions), 3)

    def embed_text(self, texts: list[str]) -> Tensor:
        return torch.ones(len(texts), 3)


def test_a_grammar_says_what_is_so() -> None:
    values = {"who": torch.tensor([0, 1, 1]), "hand": torch.tensor([0, 1, 0])}
    texts, meanings = GREETING.captions(values, torch.tensor([5, 9, 12]), 40)
    assert len(texts) == 120 and meanings.shape == (120, 4)
    assert set(texts[:40]) == {"She waves.", *(f"{a}" for a in ("She waves twice.", "Twice she waves.")),
                               "She waves two times.", "Two times she waves."}  # fmt: skip
    assert set(texts[40:80]) == {"He waves.", "He waves once.", "Once he waves."}
    spoken = dict(zip(texts, meanings, strict=True))
    cosine = lambda a, b: float(spoken[a] @ spoken[b])  # noqa: E731
    assert cosine("She waves twice.", "Two times she waves.") == pytest.approx(1)
    assert cosine("She waves twice.", "He waves two times.") == pytest.approx(3 / 4)
    assert cosine("He waves once.", "He waves.") == pytest.approx(1 / 2)
    assert cosine("She waves twice.", "He waves once.") == 0
    share = sum("waves." not in t or "ce" in t.split()[0] or "times" in t.split()[1] for t in texts) / 120
    assert 0.3 < share < 0.7
    again, _ = GREETING.captions({name: chosen[1:] for name, chosen in values.items()}, torch.tensor([9, 12]), 40)
    assert again == texts[40:], "captions belong to the sample and not to its place"


def test_counts_and_people(motion: Motion) -> None:
    sizes = {split: len(part.ids) for split, part in motion.splits.items()}
    assert sizes == {"test": 366, "val": 510, "train": 1353} and sum(sizes.values()) == 2229
    ids = torch.cat([part.ids for part in motion.splits.values()])
    assert ids.sort().values.equal(torch.arange(2229))
    for part in motion.splits.values():
        assert len(part.text) == len(part.motion) == len(part.meaning) == CAPTIONS * len(part.ids)
        assert {frames.shape for frames in part.motion} == {(25, 6)}
        assert part.labels.unique().tolist() == list(range(7))
    frames = torch.stack(motion.splits["train"].scored_motions())
    torch.testing.assert_close(frames.mean(dim=(0, 1)), torch.zeros(6), atol=1e-4, rtol=0)
    torch.testing.assert_close(frames.std(dim=(0, 1)), torch.ones(6), atol=1e-4, rtol=0)


def test_no_recording_stands_in_two_splits(motion: Motion) -> None:
    seen: dict[bytes, str] = {}
    for split, part in motion.splits.items():
        for frames in part.motion:
            assert seen.setdefault(frames.numpy().tobytes(), split) == split


def test_captions_agree_with_the_labels(motion: Motion) -> None:
    part = motion.splits["val"]
    exercises = GRAMMAR.attributes["exercise"].wordings
    for number, label in enumerate(part.labels.tolist()):
        for text in part.text[CAPTIONS * number : CAPTIONS * (number + 1)]:
            said = [value for value, phrases in enumerate(exercises) if any(p in text.lower() for p in phrases)]
            assert said == [label]
            arms = [value for value, phrases in enumerate(GRAMMAR.attributes["arm"].wordings)
                    if any(p in text.lower() for p in phrases)]  # fmt: skip
            assert len(arms) <= 1
    assert part.text[0] == "The patient does a pendulum exercise with the right arm through a large range."


def test_tempo_is_that_of_the_recording() -> None:
    from data.benchmarks.mini.motion import RATE, _windows
    from data.sources.seglearn import Series

    for period in (1.0, 1.6, 2.4):
        time = np.arange(20 * RATE) / RATE
        turn = np.sin(2 * np.pi * time / period)[:, None] * np.array([0.3, 2.0, 0.1])
        windows = _windows(Series(np.hstack([0 * turn, turn]), "PEN", 1, 0))
        assert len(windows) == 9
        # An angular velocity of 2 sin(w t) swings the arm through 4 / w.
        for frames, found, swing in windows:
            assert frames.shape == (25, 6)
            assert found == pytest.approx(period, abs=0.06)
            assert swing == pytest.approx(np.linalg.norm([0.3, 2, 0.1]) * period / np.pi, rel=0.25)


def test_the_similarity_of_captions_is_graded(motion: Motion) -> None:
    part = motion.splits["train"]
    assert torch.allclose(part.meaning.norm(dim=1), torch.ones(len(part.meaning)))
    meaning = part.meaning[:: CAPTIONS * 3]
    cosine = (meaning @ meaning.T).fill_diagonal_(0)
    assert 0.09 < float((cosine > 0.6).float().mean()) < 0.14, "what TMR's filter would remove"
    assert len(cosine.unique()) > 30
    # No caption stands so close to a threshold of the protocols that rounding decides.
    for threshold in (0.6, 0.9):
        assert float((cosine - threshold).abs().min()) > 1e-3


def test_batches(motion: Motion) -> None:
    small = copy.copy(motion)
    small.batch_size = 32
    batch = next(iter(small.train_dataloader()))
    assert isinstance(batch, CaptionedMotions) and batch.motion.shape == (32, 25, 6)
    assert batch.length.tolist() == [25] * 32 and batch.meaning.shape == (32, 15)
    part = motion.splits["train"]
    row = {int(number): place for place, number in enumerate(part.ids)}
    for number, text, frames, meaning in zip(batch.ids, batch.text, batch.motion, batch.meaning, strict=True):
        place = row[int(number)]
        which = part.text[CAPTIONS * place : CAPTIONS * (place + 1)].index(text)
        assert torch.equal(frames, part.motion[CAPTIONS * place])
        assert torch.equal(meaning, part.meaning[CAPTIONS * place + which])
    # Another epoch draws other captions for the same motion, the same epoch the same.
    texts = []
    everything = copy.copy(motion)
    everything.batch_size = 1353
    for epoch in (0, 1, 0):
        loader = everything.train_dataloader()
        loader.order.set_epoch(epoch)
        whole = next(iter(loader))
        texts.append(dict(zip(whole.ids.tolist(), whole.text, strict=True)))
    assert texts[0] == texts[2]
    assert 0.6 < np.mean([texts[0][number] != texts[1][number] for number in texts[0]]) < 0.85


def test_the_fingerprint_is_pinned(motion: Motion) -> None:
    assert motion.fingerprint() == Motion(seed=3, batch_size=8).fingerprint()
    assert motion.fingerprint()[:8] == "488605e5"


def test_a_cheat_and_a_constant(motion: Motion) -> None:
    found = motion.evaluate(Cheat(motion), "test")
    for direction in ("text_to_motion", "motion_to_text"):
        for protocol in ("all", "threshold0.95", "dissimilar32", "batches32"):
            # Two windows of the test split are described by the same words.
            assert found[f"{direction}/recall@1/{protocol}"] == pytest.approx(1.0, abs=0.006)
            assert found[f"{direction}/median_rank/{protocol}"] == 1.0
    assert len([name for name in found if "_to_" in name]) == 2 * 4 * 8
    constant = motion.evaluate(Constant(), "test")
    assert constant["text_to_motion/recall@10/all"] == 0.0 and constant["text_to_motion/median_rank/all"] == 366
    assert constant["motion_to_text/median_rank/batches32"] == 32
    # The best of several right answers stands above them, below all wrong ones.
    assert 300 < constant["text_to_motion/median_rank/threshold0.95"] < 366
    assert constant["knn20_cosine/top1"] < 0.2 and constant["probe_linear/top1"] < 0.2


def test_the_threshold_accepts_what_means_the_same(motion: Motion) -> None:
    """An embedding of the meanings finds a motion of that meaning at once, and its own only among its equals."""

    class Meanings(Cheat):
        def place(self, numbers: list[int]) -> Tensor:
            return torch.stack([self.meaning[number] for number in numbers])

    perfect = Meanings(motion)
    perfect.meaning = {
        int(n): m for part in motion.splits.values() for n, m in zip(part.ids, part.meaning[::CAPTIONS], strict=True)
    }
    found = motion.evaluate(perfect, "test")
    # Ties with motions of other meaning cannot occur; those of the same are all right answers.
    assert found["text_to_motion/recall@1/threshold0.95"] == 1.0
    assert found["text_to_motion/recall@1/all"] < 0.5


def test_the_dissimilar_subset(motion: Motion) -> None:
    part, few = motion.splits["test"], motion.dissimilar_subset("test")
    assert len(few) == 32 == len(few.unique())
    meaning = part.meaning[::CAPTIONS]
    within = (meaning[few] @ meaning[few].T).fill_diagonal_(0)
    assert float(within.max()) < 0.8 and float(within.mean()) < float((meaning @ meaning.T).mean())


def test_the_floor(motion: Motion) -> None:
    floor = motion.floor()
    chance, statistics, linear = floor.values()
    assert motion.primary in chance and chance.keys() == linear.keys() > statistics.keys()
    assert chance["text_to_motion/recall@1/batches32"] == pytest.approx(1 / 32, abs=0.02)
    assert chance["text_to_motion/median_rank/all"] == pytest.approx(183.5, abs=15)
    assert 0.02 < chance[motion.primary] < 0.05 < 0.25 < linear[motion.primary] < 0.4
    assert statistics["probe_linear/top1"] == pytest.approx(0.81, abs=0.03)


def test_bad_requests(motion: Motion) -> None:
    with pytest.raises(UserError, match="split is 'train'; it must be 'val' or 'test'"):
        motion.evaluate(Constant(), "train")
    with pytest.raises(UserError, match="needs a module with embed_motion; Linear has none"):
        motion.evaluate(nn.Linear(1, 1))
    assert set(motion.evaluate(ChannelStatistics(), "val")) == {"knn20_cosine/top1", "probe_linear/top1"}


@pytest.fixture(params=[HumanML3D, KitML])
def published(request: pytest.FixtureRequest, tmp_path: Path) -> HumanML3D:
    """A few motions laid out like the authors' repository after its set-up."""
    folder = tmp_path / "datasets/annotations" / request.param.folder
    (folder / "splits").mkdir(parents=True)
    (folder / "sent_embeddings/sentence-transformers").mkdir(parents=True)
    motions, statistics = (
        tmp_path / "datasets/motions/guoh3dfeats",
        tmp_path / "stats" / request.param.folder / "guoh3dfeats",
    )
    for path in (motions / "KIT", motions / "M/KIT", statistics):
        path.mkdir(parents=True)
    random = np.random.default_rng(0)
    annotations, texts = {}, []
    for number in range(12):
        for mirrored in ("", "M"):
            key, path = f"{mirrored}{number:06}", f"{'M/' if mirrored else ''}KIT/walk_{number}"
            np.save(motions / f"{path}.npy", random.normal(3.0, 2.0, (100, 263)))
            spans = [(0.0, 5.0), (1.0, 4.0), (0.0, 1.0)]
            said = [{"seg_id": f"{key}_{k}", "text": f"walk {number} way {k}", "start": a, "end": b}
                    for k, (a, b) in enumerate(spans)]  # fmt: skip
            annotations[key] = {"path": path, "duration": 5.0, "annotations": said}
            texts += [annotation["text"] for annotation in said]
    splits = {"train": range(0, 8), "val": range(8, 9), "test": range(9, 12), "nsim_test": (9, 11)}
    for split, numbers in splits.items():
        keys = [f"{number:06}" for number in numbers] + ([f"M{n:06}" for n in numbers] if split == "train" else [])
        (folder / "splits" / f"{split}.txt").write_text("\n".join([*keys, "999999"]))  # one without annotations
    (folder / "annotations.json").write_text(json.dumps(annotations))
    texts = list(dict.fromkeys(texts))
    embedded = random.normal(size=(len(texts), 8))
    embedded /= np.linalg.norm(embedded, axis=1, keepdims=True)
    embeddings = folder / "sent_embeddings/sentence-transformers"
    np.save(embeddings / "all-mpnet-base-v2.npy", embedded.astype(np.float32))
    (embeddings / "all-mpnet-base-v2_index.json").write_text(json.dumps({text: i for i, text in enumerate(texts)}))
    torch.save(torch.full((263,), 3.0), statistics / "mean.pt")
    torch.save(torch.full((263,), 2.0), statistics / "std.pt")
    return request.param(batch_size=4, data_root=str(tmp_path))


def test_the_published_layout_is_read(published: HumanML3D) -> None:
    published.prepare_data()
    published.setup()
    sizes = {split: (len(part.ids), len(part.text)) for split, part in published.splits.items()}
    # Descriptions of less than two seconds count on the test split alone.
    assert sizes == {"train": (16, 32), "val": (1, 2), "test": (3, 9)}
    test = published.splits["test"]
    assert [len(frames) for frames in test.motion[:3]] == [100, 60, 20]
    assert test.motion[0].shape == (100, 263) and torch.equal(test.motion[1], test.motion[0][20:80])
    assert abs(float(test.motion[0].mean())) < 0.05 and float(test.motion[0].std()) == pytest.approx(1, abs=0.05)
    assert published.dissimilar_subset("test").tolist() == [0, 2]
    batch = next(iter(published.train_dataloader()))
    assert batch.motion.shape[0] == 4 and batch.motion.shape[2] == 263 and set(batch.length.tolist()) <= {60, 100}
    short = batch.length < batch.motion.shape[1]
    assert (
        all(not frames[length:].any() for frames, length in zip(batch.motion, batch.length, strict=True)) or short.any()
    )
    torch.testing.assert_close(batch.meaning.norm(dim=1), torch.ones(4))
    published.splits["test"] = test._replace(motion=test.motion * 16, text=test.text * 16, start=torch.arange(49) * 3,
                                             meaning=test.meaning.repeat(16, 1), ids=torch.arange(48))  # fmt: skip
    found = published.evaluate(Constant())
    assert found["text_to_motion/median_rank/all"] == 48 and not any("top1" in name for name in found)


def test_the_fingerprint_of_a_published_set_follows_its_files(published: HumanML3D) -> None:
    before = published.fingerprint()
    motion = next(Path(published.data_root).glob("datasets/motions/guoh3dfeats/KIT/*.npy"))
    np.save(motion, np.zeros((99, 263)))
    longer = published.fingerprint()
    torch.save(torch.ones(263), Path(published.data_root) / "stats" / published.folder / "guoh3dfeats/std.pt")
    assert len({before, longer, published.fingerprint()}) == 3


def test_a_missing_published_set_says_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"humanml3d for TMR: data.data_root is None; get it from .*Mathux/TMR.*AMASS"):
        HumanML3D().prepare_data()
    with pytest.raises(UserError, match=r"datasets/annotations/kitml/annotations.json is not in"):
        KitML(data_root=str(tmp_path)).prepare_data()
