"""Spoken recordings and prompts: what is in them, what is kept apart, and what a cheat scores."""

from collections import Counter
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from common.batches import SpeechTranslations, SpeechViews, SpokenCaptions
from common.errors import UserError
from common.random import uniform
from data.benchmarks.bases.recordings import SOURCES, Recording
from data.benchmarks.bases.speech_probes import HELD_OUT, LANGUAGES, letter_of, vowel_of
from data.benchmarks.mini.prompts import Prompts, words_of
from data.benchmarks.mini.spoken import Spoken


@pytest.fixture(scope="module", autouse=True)
def sources(fetched: Callable[..., None]) -> None:
    fetched(*SOURCES)


@pytest.fixture(scope="module")
def spoken() -> Spoken:
    benchmark = Spoken()
    benchmark.setup()
    return benchmark


@pytest.fixture(scope="module")
def prompts() -> Prompts:
    benchmark = Prompts()
    benchmark.setup()
    return benchmark


class Knows(nn.Module):
    """Embeds by looking up what it was told about a recording, a picture or a text."""

    def __init__(self, places: dict[bytes, int]) -> None:
        super().__init__()
        self.places = places

    def place(self, keys: list[bytes]) -> Tensor:
        return uniform(torch.tensor([self.places.get(key, -1) for key in keys]), 64, 0) - 0.5

    def embed_speech(self, clips: list[Tensor]) -> Tensor:
        return self.place([clip.numpy().tobytes() for clip in clips])

    def embed_text(self, texts: list[str]) -> Tensor:
        return self.place([text.encode() for text in texts])


class Constant(nn.Module):
    def embed_speech(self, clips: list[Tensor]) -> Tensor:
        return torch.ones(len(clips), 3)

    def embed_image(self, pixels: Tensor) -> Tensor:
        return torch.ones(len(pixels), 3)

    def embed_text(self, texts: list[str]) -> Tensor:
        return torch.ones(len(texts), 3)


def test_counts(spoken: Spoken) -> None:
    assert spoken.sizes() == {"train": 8783, "val": 1337, "test": 2104}
    known = spoken.recordings.known
    kinds = Counter(one.source for one in known)
    assert kinds == {"stamp": 6264, "prompt": 2537, "letter": 587, "syllable": 1240, "name": 1796, "noise": 83}
    assert len({one.voice for one in known}) == 60
    hours = len(spoken.recordings.frames) / 50 / 3600
    assert hours == pytest.approx(4.91, abs=0.01)
    cello = next(i for i, one in enumerate(known) if one.voice == "tuxpaint/fr" and one.key.endswith("string/cello"))
    assert known[cello].text == "Un violoncelle." and 25 < len(spoken.recordings.clip(cello)) < 100
    assert spoken.recordings.frames.isfinite().all()


def test_voices_and_things_are_kept_apart(spoken: Spoken) -> None:
    known = spoken.recordings.known
    voices, concepts = {}, {}
    for split, rows in spoken.splits.items():
        of_split = [known[i] for i in rows.tolist()]
        voices[split] = {one.voice for one in of_split if one.source != "stamp"}
        shown = [one.key for one in of_split if one.source == "stamp" and one.key in spoken.shown.row]
        concepts[split] = {int(spoken.shown.concepts[spoken.shown.row[key]]) for key in shown}
    for first, second in (("train", "val"), ("train", "test"), ("val", "test")):
        assert not voices[first] & voices[second] and not concepts[first] & concepts[second]
    assert voices["val"] == set(HELD_OUT["val"]) and voices["test"] == set(HELD_OUT["test"])
    assert {split: len(found) for split, found in concepts.items()} == {"train": 449, "val": 62, "test": 81}
    captions = {
        split: {spoken.recordings.known[i].text.lower() for i in spoken.captioned(split).tolist()} for split in concepts
    }
    assert not captions["train"] & captions["test"] and not captions["train"] & captions["val"]
    assert not set(spoken.noises["train"].tolist()) & set(spoken.noises["scored"].tolist())


def test_no_probe_is_fitted_on_what_it_scores(spoken: Spoken) -> None:
    known = spoken.recordings.known
    sizes = {}
    for split, probes in spoken.probes.items():
        for name, probe in probes.items():
            sizes[split, name] = (len(probe.fit), len(probe.scored))
            assert not set(probe.fit.tolist()) & set(probe.scored.tolist())
            heard = {known[i].voice for i in probe.fit.tolist()}
            asked = {known[i].voice for i in probe.scored.tolist()}
            assert heard == asked == set(HELD_OUT[split]) if name == "voice" else not heard & asked
            assert set(probe.labels.tolist()) <= set(probe.fit_labels.tolist())
            if name != "voice":
                assert not set(probe.scored.tolist()) & set(spoken.splits["train"].tolist())
    assert sizes["test", "letter"] == (126, 80) and sizes["test", "vowel"] == (321, 132)
    assert sizes["test", "language"] == (1551, 520) and sizes["test", "voice"] == (699, 714)
    for split, count in (("val", 30), ("test", 58)):
        first, second = ([known[i] for i in rows.tolist()] for rows in spoken.syllables[split])
        assert [one.text for one in first] == [one.text for one in second] and len(first) == count
        assert {one.voice for one in (*first, *second)} <= set(HELD_OUT[split])


def test_what_counts_as_a_letter_and_as_a_vowel() -> None:
    def syllable(text: str, language: str = "it") -> str | None:
        return vowel_of(Recording("syllable", f"klettres/{language}", language, text, text))

    assert [syllable(text) for text in ("ba", "gli", "ci", "ha", "zu", "a")] == ["a", None, None, None, "u", None]
    assert syllable("കോ", "ml") == "o" and syllable("കം", "ml") is None
    assert letter_of(Recording("letter", "klettres/it", "it", "b", "b")) == "b"
    assert letter_of(Recording("prompt", "asterisk/it", "it", "letters/b", "b")) == "b"
    assert letter_of(Recording("letter", "klettres/it", "it", "h", "h")) is None
    assert letter_of(Recording("syllable", "klettres/it", "it", "b", "b")) is None


def test_a_batch_of_views_is_the_same_in_any_company(spoken: Spoken) -> None:
    chosen = next(iter(Spoken(batch_size=16).train_dataloader()))
    rows, batch = chosen.index, spoken.on_before_batch_transfer(chosen, 0)
    assert isinstance(batch, SpeechViews) and batch.views.shape == (2, 16, 48, 40)
    some = torch.tensor([7, 3])
    alone = spoken.excerpts(rows[some], 0)
    torch.testing.assert_close(alone.views, batch.views[:, some])
    assert not torch.equal(batch.views[0], batch.views[1]) and not torch.equal(
        spoken.excerpts(rows, 1).views, batch.views
    )
    clip = spoken.recordings.clip(int(rows[0]))
    assert any(torch.equal(clip[at : at + 48], batch.views[0, 0]) for at in range(len(clip) - 47))


def test_a_batch_of_captions(spoken: Spoken) -> None:
    benchmark = Spoken(train="captions", batch_size=8)
    chosen = next(iter(benchmark.train_dataloader()))
    batch = benchmark.on_before_batch_transfer(chosen, 0)
    assert isinstance(batch, SpokenCaptions) and batch.pixels.shape == (8, 3, 48, 48)
    assert batch.speech.shape[:2] == (8, int(batch.length.max())) and 0 <= batch.pixels.min() < batch.pixels.max() <= 1
    for i, index in enumerate(chosen.index.tolist()):
        known = spoken.recordings.known[index]
        row = spoken.shown.row[known.key]
        assert (batch.transcript[i], batch.caption[i]) == (known.text, spoken.shown.captions[row])
        assert batch.ids[i] == spoken.shown.concepts[row]


def test_an_oracle_of_letters_and_captions_scores_one(spoken: Spoken) -> None:
    places = {}
    for probes in spoken.probes["test"], spoken.probes["val"]:
        for name in ("letter", "vowel"):
            for rows, labels in (probes[name][:2], probes[name][2:]):
                places |= {
                    spoken.recordings.clip(row).numpy().tobytes(): int(label) + 100 * (name == "vowel")
                    for row, label in zip(rows.tolist(), labels.tolist(), strict=True)
                }
    for side in spoken.syllables["test"]:
        places |= {spoken.recordings.clip(i).numpy().tobytes(): 500 + k for k, i in enumerate(side.tolist())}
    rows, galleries = spoken.galleries("test")
    captions, ids, concepts = galleries["caption"]
    places |= {text.encode(): 1000 + int(i) for text, i in zip(captions, ids, strict=True)}
    for row, concept in zip(rows.tolist(), concepts.tolist(), strict=True):
        places[spoken.recordings.clip(row).numpy().tobytes()] = 1000 + concept
    found = spoken.evaluate(Knows(places))
    assert found["probe_linear/letter"] == found["abx/syllable"] == 1.0
    # Noise makes other recordings of them, of which it knows nothing.
    assert found["probe_linear_noisy/letter"] < 0.5 and found["abx_noisy/syllable"] == 0.5
    assert found[f"speech_to_caption/recall@1/gallery{len(captions)}"] == 1.0
    assert found[f"caption_to_speech/recall@1/gallery{len(rows)}"] == 1.0
    assert not any("image" in name for name in found)


def test_a_constant_scores_nothing(spoken: Spoken) -> None:
    found = spoken.evaluate(Constant())
    assert all(value == 0 for name, value in found.items() if "recall" in name)
    assert found["abx/syllable"] == 0.5 and found["probe_linear/vowel"] <= 0.25 and found["probe_linear/voice"] < 0.2
    assert {name for name in found if "recall@1/" in name} == {
        *(f"speech_to_{name}" for name in ("image/recall@1/gallery97", "caption/recall@1/gallery91")),
        *(f"{name}_to_speech/recall@1/gallery686" for name in ("image", "caption", "transcript")),
        "speech_to_transcript/recall@1/gallery674",
    }


def test_noise_is_added_at_five_decibels(spoken: Spoken) -> None:
    rows = spoken.probes["test"]["vowel"].scored[:5]
    clips, noisy = [spoken.recordings.clip(i) for i in rows.tolist()], spoken.noisy(rows)
    assert all(len(a) == len(b) and not torch.equal(a, b) for a, b in zip(clips, noisy, strict=True))
    assert torch.equal(noisy[0], spoken.noisy(rows)[0])


def test_floors_of_spoken(spoken: Spoken) -> None:
    floor = spoken.floor()
    names = ["mean log-mel frame", "means of thirds", "mean and deviation", "commonest class", "chance"]
    assert list(floor) == names
    assert floor["mean log-mel frame"]["abx/syllable"] == pytest.approx(0.757, abs=0.01)
    assert floor["mean and deviation"]["abx_noisy/syllable"] == pytest.approx(0.652, abs=0.01)
    assert floor["chance"]["probe_linear/language"] == pytest.approx(1 / len(LANGUAGES))
    assert floor["chance"]["speech_to_transcript/recall@1/gallery674"] == pytest.approx(1 / 674, rel=0.01)


def test_prompts_are_split_by_what_they_say(prompts: Prompts) -> None:
    assert prompts.sizes() == {"test": 300, "val": 150, "train": 400, "val_unseen": 18, "test_unseen": 31}
    heard = " | ".join(prompts.splits["train"].transcripts)
    for split in ("val_unseen", "test_unseen"):
        for text in prompts.splits[split].transcripts:
            assert text not in heard and len(text.split()) >= 3
    sequences = [set(prompts.splits[split].transcripts) for split in ("train", "val", "test")]
    assert not sequences[0] & sequences[1] and not sequences[0] & sequences[2] and not sequences[1] & sequences[2]
    lengths = prompts.splits["train"].speech.lengths(torch.arange(400))
    assert lengths.max() <= 300 and lengths.sum() / 3000 == pytest.approx(20.2, abs=0.2)
    assert Prompts(utterances=600, batch_size=8).training_texts()[0][:400] == prompts.training_texts()[0]


def test_a_batch_of_prompts(prompts: Prompts) -> None:
    benchmark = Prompts(batch_size=8, source="es", target="ru", utterances=64)
    batch = next(iter(benchmark.train_dataloader()))
    assert isinstance(batch, SpeechTranslations) and batch.speech.shape[:2] == (8, int(batch.length.max()))
    assert batch.source == ["es"] * 8 and batch.target == ["ru"] * 8
    transcripts, translations = benchmark.training_texts()
    assert (
        batch.transcript == [transcripts[i] for i in batch.ids] and batch.translation[0] == translations[batch.ids[0]]
    )
    assert words_of("L\u2019appel, s'il vous plaît…") == "l'appel s'il vous plaît"


class Interpreter(Knows):
    """Knows what each recording means."""

    def __init__(self, prompts: Prompts) -> None:
        parts = [part for name, part in prompts.splits.items() if name.startswith("test")]
        clips = {
            part.speech.clip(i).numpy().tobytes(): i + 1000 * k
            for k, part in enumerate(parts)
            for i in range(len(part[1]))
        }
        texts = {text.encode(): i + 1000 * k for k, part in enumerate(parts) for i, text in enumerate(part.transcripts)}
        super().__init__(clips | texts)
        self.said = {clip: parts[number // 1000].translations[number % 1000] for clip, number in clips.items()}

    def translate_speech(self, clips: list[Tensor], language: str) -> list[str]:
        return [self.said[clip.numpy().tobytes()] for clip in clips]


def test_an_interpreter_scores_a_hundred(prompts: Prompts) -> None:
    found = prompts.evaluate(Interpreter(prompts))
    assert (found["bleu/joined300"], found["chrf/unseen31"]) == pytest.approx((100, 100))
    assert found["speech_to_transcript/recall@1/joined300"] == found["transcript_to_speech/recall@1/unseen31"] == 1.0


def test_floors_of_prompts(prompts: Prompts) -> None:
    floor = prompts.floor()
    assert list(floor) == ["most alike in training", "commonest prompt", "chance"]
    assert floor["most alike in training"]["bleu/joined300"] == pytest.approx(38.3, abs=1)
    assert floor["commonest prompt"]["bleu/unseen31"] < 2
    assert floor["chance"]["speech_to_transcript/recall@1/joined300"] == pytest.approx(1 / 300)


def test_bad_requests(spoken: Spoken, prompts: Prompts) -> None:
    with pytest.raises(UserError, match=r"data.train is 'all'"):
        Spoken(train="all")
    with pytest.raises(UserError, match=r"data.views holds 'loud'"):
        Spoken(views=["loud"])
    with pytest.raises(UserError, match=r"data.crop is 2"):
        Spoken(crop=2)
    with pytest.raises(UserError, match="needs a module with embed_speech; Linear has none"):
        spoken.evaluate(nn.Linear(1, 1))
    with pytest.raises(UserError, match=r"data.target is 'en'; it must be another language"):
        Prompts(target="en")
    with pytest.raises(UserError, match=r"data.source is 'de'; it must be one of en, es, fr, it, ru"):
        Prompts(source="de")
    with pytest.raises(UserError, match=r"data.utterances is 8; it must be at least data.batch_size, 32"):
        Prompts(utterances=8)
    with pytest.raises(UserError, match="needs a module with translate_speech"):
        prompts.evaluate(Constant())


def test_fingerprints(spoken: Spoken, prompts: Prompts) -> None:
    # Resampling and spectra differ in their last bits from machine to machine, so frames are no part of it.
    assert spoken.fingerprint()[:8] == "3f3a0f6d" and prompts.fingerprint()[:8] == "0ad1e302"
    elsewhere = Spoken(seed=5)
    elsewhere.setup()
    elsewhere.recordings = elsewhere.recordings._replace(frames=elsewhere.recordings.frames + 2**-9)
    assert spoken.fingerprint() == elsewhere.fingerprint()
    assert prompts.fingerprint() == Prompts(seed=5).fingerprint() != Prompts(utterances=401).fingerprint()
