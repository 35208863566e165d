"""Folk tunes: notation as text, settings of one tune in one split, descriptions, scores."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from common.batches import TextPairs
from common.errors import UserError
from common.random import uniform
from data.benchmarks.bases.abc_notation import music_of, same_tune, steps_of
from data.benchmarks.mini.tunes import (
    HELD_OUT,
    PER_CLASS,
    RUN,
    SCORED_REGIONS,
    SCORED_TYPES,
    FolkTunes,
    _at_most,
    _key,
    _title,
)
from data.sources.music21 import MUSIC21, read_tunes


@pytest.fixture(scope="module")
def tunes(fetched: Callable[..., None]) -> FolkTunes:
    fetched(MUSIC21)
    benchmark = FolkTunes()
    benchmark.prepare_data()
    benchmark.setup()
    return benchmark


class Cheat(nn.Module):
    """Knows which description belongs to which tune, and what is scored."""

    def __init__(self, benchmark: FolkTunes) -> None:
        super().__init__()
        self.rows: dict[str, Tensor] = {}
        for split, part in benchmark.splits.items():
            labels = benchmark.labels(split)
            own = uniform(part.ids, 16, 0) - 0.5
            kind, region = (
                torch.nn.functional.one_hot(labels[what] + 1, 12).float() * (labels[what] >= 0)[:, None]
                for what in ("type", "region")
            )
            place = torch.cat([own, 3 * kind, 3 * region], dim=1)
            if split == "test":
                self.rows |= dict(zip(part.text, place, strict=True))
            self.rows |= dict(zip(part.music, place, strict=True))
        for number, name in enumerate(SCORED_TYPES):
            self.rows[name] = torch.eye(40)[16 + number + 1]

    def embed_music(self, music: list[str]) -> Tensor:
        return torch.stack([self.rows[notes] for notes in music])

    embed_text = embed_music


class Constant(nn.Module):
    def embed_music(self, music: list[str]) -> Tensor:
        return torch.ones(len(music), 2)

    embed_text = embed_music


def test_music_without_the_typist() -> None:
    typed = '"Em"E2 {g}f~e | !trill!d2 [K:G] (3Bcd % a remark\nw: la la\nc,\'z [EGB]2 :|'
    assert music_of(typed) == "E2fe|d2(3Bcdc,'z[EGB]2:|"


def test_steps_are_those_of_the_melody_in_any_key() -> None:
    melody = "C2DE|G2ED|C4"
    assert steps_of(melody) == (1, 1, 2, -2, -1, -1)
    for same in ("G2AB|d2BA|G4", "C/2D/2E/2G/2E/2D/2C", "CC2D^EGGED=C", "c2de|g2ed|c4", "[CEG]DE G,'EDC"):
        assert steps_of(same) == steps_of(melody)
    assert steps_of("C,2DE|G2ED|C4") != steps_of(melody)
    assert steps_of("zz2") == ()


def test_tunes_that_share_a_run_are_one() -> None:
    a, b = tuple(range(1, 9)), tuple(range(11, 19))
    melodies = [a, (5, 5, *a[:4], 7), b, (*a[4:], *b[:4]), (9, 9, 9), (9, 9, 9), (1, 2, 3)]
    assert same_tune(melodies, 4) == [0, 0, 0, 0, 4, 4, 6]
    assert same_tune(melodies, 5) == [0, 1, 2, 3, 4, 4, 6]


@pytest.mark.parametrize(
    ("field", "key"),
    [("G", ("G", "")), ("Am", ("A", "m")), ("E Minor", ("E", "m")), ("Bb", ("Bb", "")), ("Dmix", ("D", "mix")),
     ("A Dorian", ("A", "dor")), ("F# Minor", ("F#", "m")), ("E phr -8va", ("E", "phr")), ("G treble8", ("G", ""))],
)  # fmt: skip
def test_keys(field: str, key: tuple[str, str]) -> None:
    assert _key(field) == key


def test_titles() -> None:
    assert _title("Manchester -- Reel") == "Manchester"
    assert _title("Rambling Rake, The") == "The Rambling Rake"
    assert _title("DENIS DELANEY'S") == "Denis Delaney's"
    assert _title('"Der verrathene Ritter "') == "Der verrathene Ritter"


def test_counts(tunes: FolkTunes) -> None:
    assert {split: len(part.ids) for split, part in tunes.splits.items()} == {"train": 11146, "test": 1000, "val": 500}
    assert HELD_OUT == {"test": 1000, "val": 500}
    for split, least in (("test", 15), ("val", 6), ("train", 290)):
        labels = tunes.labels(split)
        assert [len(names) for names in (SCORED_TYPES, SCORED_REGIONS)] == [9, 4]
        assert labels["type"].unique().tolist() == list(range(-1, 9)) and labels["region"].unique().numel() == 5
        assert int(labels["type"][labels["type"] >= 0].bincount().min()) >= least


def test_a_known_tune(tunes: FolkTunes) -> None:
    part = tunes.splits["train"]
    at = next(place for place, text in enumerate(part.text) if text.startswith("Manchester\n"))
    assert part.text[at] == "Manchester\nreel\nin E Mixolydian\nin 2/4 time"
    assert part.music[at].startswith("M:2/4\nL:1/16\nK:Emix\nE2|EeedcABG|AFdFDEFD|")
    ours = read_tunes()[int(part.ids[at])]
    assert ours.fields["T"] == "Manchester -- Reel"
    german = read_tunes()
    assert any("religiöses" in tune.fields.get("R", "") for tune in german)


def test_no_setting_of_a_tune_stands_in_two_splits(tunes: FolkTunes) -> None:
    seen: dict[tuple[int, ...], str] = {}
    for split, part in tunes.splits.items():
        for music in part.music:
            moves = steps_of(music.split("\n", 3)[3])
            for start in range(max(1, len(moves) - RUN + 1)):
                assert seen.setdefault(moves[start : start + RUN], split) == split
    ids = torch.cat([part.ids for part in tunes.splits.values()])
    assert ids.unique().numel() == len(ids)


def test_the_notation_says_nothing_of_title_type_and_region(tunes: FolkTunes) -> None:
    for part in tunes.splits.values():
        for music in part.music:
            head, unit, key, notes = music.split("\n")
            assert head.startswith("M:") and unit.startswith("L:") and key.startswith("K:")
            assert set(notes) <= set("ABCDEFGabcdefgz,'^_=/<>()|:[]-0123456789")


def test_batches(tunes: FolkTunes) -> None:
    part = tunes.splits["train"]
    row = {int(number): place for place, number in enumerate(part.ids)}
    batch = next(iter(tunes.train_dataloader()))
    assert isinstance(batch, TextPairs) and len(batch.ids) == 64
    for number, text, music in zip(batch.ids.tolist(), batch.query, batch.document, strict=True):
        assert (part.text[row[number]], part.music[row[number]]) == (text, music)
    again, other = (next(iter(_with_seed(tunes, seed).train_dataloader())) for seed in (0, 1))
    assert again.query == batch.query != other.query


def _with_seed(tunes: FolkTunes, seed: int) -> FolkTunes:
    benchmark = FolkTunes(seed=seed)
    benchmark.splits = tunes.splits
    return benchmark


def test_probes_are_fitted_on_a_fixed_few_of_each_class(tunes: FolkTunes) -> None:
    labels, ids = tunes.labels("train")["type"], tunes.splits["train"].ids
    chosen = _at_most(PER_CLASS, labels, ids)
    assert labels[chosen].bincount().tolist() == [min(PER_CLASS, int(n)) for n in labels[labels >= 0].bincount()]
    assert chosen.unique().numel() == len(chosen)


def test_the_fingerprint_is_pinned(tunes: FolkTunes) -> None:
    assert tunes.fingerprint()[:8] == "0f20ad83"


def test_a_cheat_and_a_constant(tunes: FolkTunes) -> None:
    found = tunes.evaluate(Cheat(tunes))
    for direction in ("text_to_music", "music_to_text"):
        # Eight descriptions of the gallery are those of two tunes.
        assert found[f"{direction}/recall@1/gallery1000"] > 0.98 and found[f"{direction}/median_rank/gallery1000"] == 1
    assert found["zero_shot/type_macro"] == 1.0
    assert found["probe_linear/type_macro"] > 0.99 and found["probe_linear/region_macro"] > 0.99
    constant = tunes.evaluate(Constant(), "val")
    assert (
        constant["text_to_music/recall@100/gallery500"] == 0 and constant["text_to_music/median_rank/gallery500"] == 500
    )
    assert constant["probe_linear/type_macro"] == pytest.approx(1 / 9)
    assert constant["probe_linear/region_macro"] == constant["zero_shot/type_macro"] * 9 / 4 == pytest.approx(1 / 4)


def test_the_floor(tunes: FolkTunes) -> None:
    floor = tunes.floor()
    chance, pieces, words = floor.values()
    assert tunes.primary in chance and chance.keys() == words.keys() > pieces.keys()
    assert chance[tunes.primary] == pytest.approx(sum(1 / k for k in range(1, 1001)) / 1000, abs=0.004)
    assert words[tunes.primary] == pytest.approx(0.30, abs=0.02)
    assert pieces["probe_linear/type_macro"] == pytest.approx(0.68, abs=0.03)


def test_bad_requests(tunes: FolkTunes) -> None:
    with pytest.raises(UserError, match="split is 'train'; it must be 'val' or 'test'"):
        tunes.evaluate(Constant(), "train")
    with pytest.raises(UserError, match="needs a module with embed_music; Linear has none"):
        tunes.evaluate(nn.Linear(1, 1))
