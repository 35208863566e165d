"""The loaders of published data sets, on tiny fixtures laid out like the real ones."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from scipy.io import savemat
from torch import nn

from common.errors import UserError
from common.lines import read_lines
from data.benchmarks.bases.images import RawPixels
from data.benchmarks.published.cifar import TEST, TEST_100, TRAIN, TRAIN_100, Cifar10, Cifar100, Cifar100Superclasses
from data.benchmarks.published.librispeech import LibriSpeech, LibriSpeechTranscripts
from data.benchmarks.published.must_c import MustC
from data.benchmarks.published.stl10 import LABELLED, STL10, UNLABELLED
from data.benchmarks.published.sts import SICK, STS, STSB, YEARS
from data.benchmarks.published.svhn import FILES as SVHN_FILES
from data.benchmarks.published.svhn import SVHN


class LengthAndVowels(nn.Module):
    """A sentence by its length and its vowels: enough for a correlation."""

    def embed_text(self, texts: list[str]) -> torch.Tensor:
        return torch.tensor([[len(t), 1.0 + sum(t.count(v) for v in "aeiou")] for t in texts])


@pytest.fixture
def cifar(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for k, file in enumerate([*TRAIN, TEST]):
        labels = np.arange(20, dtype=np.uint8) % 10
        records = np.concatenate([labels[:, None], random.integers(0, 256, (20, 3072), dtype=np.uint8)], axis=1)
        records[0, 1:] = k  # red, green and blue of the first picture of each file
        (tmp_path / file).parent.mkdir(exist_ok=True)
        records.tofile(tmp_path / file)
    return tmp_path


def test_cifar_reads_labels_and_planes_of_the_binary_version(cifar: Path) -> None:
    benchmark = Cifar10(batch_size=10, data_root=str(cifar))
    benchmark.gallery_per_class = 10
    benchmark.prepare_data()
    benchmark.setup()
    train, test = benchmark.splits["train"], benchmark.splits["test"]
    assert train.pixels.shape == (100, 3, 32, 32) and test.pixels.shape == (20, 3, 32, 32)
    assert train.labels.bincount().tolist() == [10] * 10
    assert (train.pixels[20] == 1).all() and (test.pixels[0] == 5).all()
    assert not set(train.ids.tolist()) & set(test.ids.tolist())
    batch = benchmark.augmented(next(iter(benchmark.train_dataloader())), epoch=0)
    assert batch.views.shape == (2, 10, 3, 32, 32)
    assert benchmark.val_dataloader() == []
    with pytest.raises(UserError, match="split is 'val'; it must be 'test'"):
        benchmark.evaluate(nn.Module(), "val")


def test_stl10_trains_without_labels_and_turns_columns_into_rows(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    (tmp_path / UNLABELLED).parent.mkdir()
    top = np.zeros((12, 3, 96, 96), np.uint8)
    top[0, 0, :, 0] = 7  # as it is stored: of every column the first pixel
    top.tofile(tmp_path / UNLABELLED)
    for pixels, labels in LABELLED.values():
        random.integers(0, 256, (20, 3, 96, 96), dtype=np.uint8).tofile(tmp_path / pixels)
        (np.arange(20, dtype=np.uint8) % 10 + 1).tofile(tmp_path / labels)
    benchmark = STL10(batch_size=4, data_root=str(tmp_path))
    benchmark.gallery_per_class = 2
    benchmark.prepare_data()
    benchmark.setup()
    train, test = benchmark.train, benchmark.splits["test"]
    assert len(train.ids) == 12 and (train.labels == -1).all() and test.labels.bincount().tolist() == [2] * 10
    assert (train.pixels[0, 0, 0] == 7).all() and not train.pixels[0, 0, 1:].any()
    assert benchmark.gallery(2).labels.bincount().tolist() == [2] * 10
    assert not set(train.ids.tolist()) & set(test.ids.tolist())
    assert benchmark.augmented(next(iter(benchmark.train_dataloader())), epoch=0).views.shape == (2, 4, 3, 96, 96)
    smaller = STL10(batch_size=4, data_root=str(tmp_path), side=48)
    smaller.setup()
    assert smaller.train.pixels.shape == (12, 3, 48, 48) and smaller.train.pixels.dtype == torch.uint8
    # Each pixel is a weighted mean of those around: three sevenths of the first row's light are in the first.
    assert smaller.train.pixels[0, 0, :3, 24].tolist() == [3, 0, 0] and smaller.train.ids.equal(train.ids)
    with pytest.raises(UserError, match=r"data.side is 97; it must be from 1 to 96"):
        STL10(side=97)


def test_cifar_100_has_two_bytes_of_labels_tasks_and_a_long_tail(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for file, each in ((TRAIN_100, 500), (TEST_100, 2)):
        records = np.zeros((100 * each, 2 + 3072), np.uint8)
        records[:, 1] = np.arange(100).repeat(each)
        records[:, 0] = records[:, 1] // 5
        records[:, 2:6] = random.integers(0, 256, (len(records), 4))
        records[0, 2 : 2 + 1024] = 7  # red of the first picture
        (tmp_path / file).parent.mkdir(exist_ok=True)
        records.tofile(tmp_path / file)
    switches = dict(tasks=5, task_epochs=2, long_tail=100.0, train_size=10_895)
    benchmark = Cifar100(batch_size=50, data_root=str(tmp_path), **switches)
    benchmark.prepare_data()
    benchmark.setup()
    assert benchmark.sizes() == {"train": 10_895, "gallery": 50_000, "test": 200}
    sizes = benchmark.train.labels.bincount().sort(descending=True).values
    assert (sizes[0], sizes[-1]) == (500, 5) and benchmark.train.labels.bincount().tolist() == benchmark.class_sizes
    first = benchmark.splits["test"].pixels[0]
    assert (first[0] == 7).all() and not first[1:].any()
    assert benchmark.splits["test"].labels.bincount().tolist() == [2] * 100
    assert benchmark.task_of[next(iter(benchmark.train_dataloader())).labels].eq(0).all()
    assert benchmark.val_dataloader() == []
    with pytest.raises(UserError, match="split is 'val'; cifar100 has none but 'test'"):
        benchmark.evaluate(RawPixels(), "val")
    coarse = Cifar100Superclasses(batch_size=50, data_root=str(tmp_path))
    coarse.setup()
    assert coarse.train.labels.bincount().tolist() == [2500] * 20 and coarse.train.labels[2500] == 1
    assert coarse.splits["gallery"].labels.bincount().tolist() == [500] * 100
    assert coarse.splits["test"].labels.bincount().tolist() == [2] * 100
    assert next(iter(coarse.train_dataloader())).labels.max() < 20


def test_svhn_turns_the_axes_of_matlab_and_the_label_10(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for file, count in ((SVHN_FILES["train"], 40), (SVHN_FILES["test"], 20)):
        pixels = random.integers(0, 256, (32, 32, 3, count), dtype=np.uint8)
        pixels[0, 5, 2, 1] = 7  # of the second picture, the blue in the first row and sixth column
        labels = (np.arange(count, dtype=np.uint8) % 10 + 1)[:, None]
        savemat(tmp_path / file, {"X": pixels, "y": labels})
    benchmark = SVHN(batch_size=10, data_root=str(tmp_path))
    benchmark.gallery_per_class = 2
    benchmark.prepare_data()
    benchmark.setup()
    train, test = benchmark.train, benchmark.splits["test"]
    assert train.pixels.shape == (40, 3, 32, 32) and train.labels.bincount().tolist() == [4] * 10
    assert train.pixels[1, 2, 0, 5] == 7 and train.labels[:10].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]
    assert not set(train.ids.tolist()) & set(test.ids.tolist())
    assert benchmark.val_dataloader() == []


def test_a_missing_data_set_says_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data_root is None; get it from https://www\.cs\.tor.*cite Krizhevsky"):
        Cifar10().prepare_data()
    with pytest.raises(UserError, match=r"wiki1m_for_simcse\.txt is not in"):
        STS(data_root=str(tmp_path)).prepare_data()


@pytest.fixture
def sts(tmp_path: Path) -> Path:
    pairs = [("a cat", "the cat sat", "4.5"), ("dogs bark loudly", "a dog", "3.0"), ("xyz", "queueing aeons", "0.5")]
    for year, names in YEARS.items():
        folder = tmp_path / "STS" / f"{year}-en-test"
        folder.mkdir(parents=True)
        for name in names:
            unrated = [("never", "rated", "")]
            rows = pairs + unrated
            (folder / f"STS.input.{name}.txt").write_text("".join(f"{a}\t{b}\n" for a, b, _ in rows))
            (folder / f"STS.gs.{name}.txt").write_text("".join(f"{g}\n" for _, _, g in rows))
    (tmp_path / "STS/STSBenchmark").mkdir()
    for file in STSB.values():
        (tmp_path / file).write_text("".join(f"main-news\tMSRpar\t2012\t1\t{g}\t{a}\t{b}\n" for a, b, g in pairs))
    (tmp_path / "SICK").mkdir()
    rows = "".join(f"{k}\t{a}\t{b}\t{g}\tNEUTRAL\n" for k, (a, b, g) in enumerate(pairs))
    (tmp_path / SICK).write_text("pair_ID\tsentence_A\tsentence_B\trelatedness_score\tentailment_judgment\n" + rows)
    (tmp_path / "wiki1m_for_simcse.txt").write_text("One sentence.\nAnother one.\n\nA third.\n")
    with (tmp_path / "nli_for_simcse.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["sent0", "sent1", "hard_neg"], ["p", "e, with a comma", "c"], ["p2", "e2", "c2"]])
    return tmp_path


def test_sts_scores_every_year_as_one_list(sts: Path) -> None:
    benchmark = STS(data_root=str(sts))
    tasks = benchmark.tasks("test")
    assert list(tasks) == ["sts12", "sts13", "sts14", "sts15", "sts16", "stsb", "sick-r"]
    assert len(tasks["sts12"].gold) == 3 * 5, "unrated pairs are left out, subsets are joined"
    assert tasks["sick-r"].first[1] == "dogs bark loudly" and tasks["stsb"].gold == [4.5, 3.0, 0.5]
    metrics = benchmark.evaluate(LengthAndVowels())
    assert metrics["spearman/sts7"] == pytest.approx(sum(v for k, v in metrics.items() if k != "spearman/sts7") / 7)
    assert list(benchmark.evaluate(LengthAndVowels(), "val")) == ["spearman/stsb-dev"]


# A line ends at a line feed alone: what str.splitlines breaks at stands inside a text.
INSIDE = "one\u2028more\x85and\fon\v\x1c."


def test_sts_lines_end_at_line_feeds(sts: Path) -> None:
    file = sts / "STS/STS12-en-test/STS.input.MSRpar.txt"
    file.write_text(file.read_text().replace("a cat", INSIDE).replace("\n", "\r\n"), "utf-8", newline="")
    for path, first in ((sts / STSB["val"], 5), (sts / SICK, 1)):
        rows = [line.split("\t") for line in path.read_text().split("\n")]
        rows[1][first] = INSIDE
        path.write_text("\n".join("\t".join(row) for row in rows), "utf-8")
    (sts / "wiki1m_for_simcse.txt").write_text(f"\ufeff{INSIDE}\n\nb\n", "utf-8")
    benchmark = STS(data_root=str(sts), batch_size=2)
    assert benchmark.tasks("test")["sts12"].first[0] == benchmark.tasks("test")["sick-r"].first[0] == INSIDE
    assert benchmark.tasks("val")["stsb-dev"].first[1] == INSIDE
    assert benchmark.train_dataloader().dataset.columns.text == [INSIDE, "b"]


def test_sts_parts_are_read_as_published(sts: Path) -> None:
    rows = [{"sent0": "a b c d", "sent1": "a b", "sent2": "c d"}, {"sent0": INSIDE, "sent1": "one", "sent2": None}]
    file = sts / "adjacent_data_for_cse_v1.json"
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    batch = next(iter(STS("adjacent", batch_size=2, data_root=str(sts)).train_dataloader()))
    found = {*zip(batch.text, batch.left, batch.right, batch.ids.tolist(), strict=True)}
    assert found == {("a b c d", "a b", "c d", 0), (INSIDE, "one", " ", 1)}
    file.write_text('{"sent0": "a", "sent1": "b"}\n')
    with pytest.raises(UserError, match=r"cse_v1\.json:1: a JSON object with a sentence and two parts"):
        STS("adjacent", batch_size=1, data_root=str(sts)).train_dataloader()
    with pytest.raises(UserError, match=r"partition_data_for_cse_v1\.json is not in .*perceptiveshawty"):
        STS("partition", data_root=str(sts)).prepare_data()


def test_sts_pairs_are_each_there_once_without_their_scores(sts: Path) -> None:
    (sts / "STS/STSBenchmark/sts-train.csv").write_text("g\tf\t1\t1\t2.0\ta cat\tthe cat sat\n")
    for name, text in (("train", "new"), ("trial", "newer")):
        (sts / f"SICK/SICK_{name}.txt").write_text(f"header\n1\t{text}\ta dog\t2.5\tNEUTRAL\n")
    pairs = STS("pairs", batch_size=2, data_root=str(sts)).train_dataloader().dataset.columns
    # The three pairs of every task are the same.
    assert pairs.first == ["a cat", "dogs bark loudly", "xyz", "new", "newer"]
    assert pairs.second == ["the cat sat", "a dog", "queueing aeons", "a dog", "a dog"]
    assert pairs.grades.tolist() == [-1.0] * 5 and pairs.ids.tolist() == [0, 1, 2, 3, 4]


def test_sts_line_that_is_none_is_named(sts: Path) -> None:
    for path, text, message in (
        (sts / STSB["test"], "a\tb\n", r"sts-test\.csv:1: two sentences and a score"),
        (sts / "STS/STS12-en-test/STS.input.MSRpar.txt", "a\tb\n", r"MSRpar\.txt has 1 entries and .* 4; they must"),
        (sts / "STS/STS12-en-test/STS.input.MSRpar.txt", "a\n" * 4, r"MSRpar\.txt:1: two sentences and a score"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=message):
            STS(data_root=str(sts)).tasks("test")


def test_sts_trains_on_both_published_sets(sts: Path) -> None:
    wiki = next(iter(STS(batch_size=3, data_root=str(sts)).train_dataloader()))
    assert sorted(wiki.text) == ["A third.", "Another one.", "One sentence."]
    nli = next(iter(STS(train="nli", batch_size=2, data_root=str(sts)).train_dataloader()))
    assert sorted(zip(nli.anchor, nli.positive, nli.negative, strict=True)) == [
        ("p", "e, with a comma", "c"),
        ("p2", "e2", "c2"),
    ]


def write_wave(path: Path, seconds: float, hertz: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * hertz * np.arange(int(16_000 * seconds)) / 16_000), 16_000)


@pytest.fixture
def must_c(tmp_path: Path) -> Path:
    for split in ("train", "dev", "tst-COMMON"):
        folder = tmp_path / "en-de" / "data" / split
        write_wave(folder / "wav" / "ted_1.wav", 3.0, 440)
        (folder / "txt").mkdir()
        places = [{"duration": 1.0, "offset": 0.5 * k, "speaker_id": "spk.1", "wav": "ted_1.wav"} for k in range(3)]
        (folder / "txt" / f"{split}.yaml").write_text("".join(f"- {json.dumps(place)}\n" for place in places))
        (folder / "txt" / f"{split}.en").write_text("One.\nTwo two.\n\n")
        (folder / "txt" / f"{split}.de").write_text("Eins.\nZwei zwei Katzen im Haus.\nDrei.\n")
    return tmp_path


class Parrot(nn.Module):
    def translate_speech(self, clips: list[torch.Tensor], language: str) -> list[str]:
        assert language == "de" and all(len(clip) == 16_000 for clip in clips)
        return ["Zwei zwei Katzen im Haus."] * len(clips)


def test_must_c_cuts_utterances_out_of_talks(must_c: Path) -> None:
    benchmark = MustC(batch_size=2, data_root=str(must_c), workers=0)
    benchmark.prepare_data()
    benchmark.setup()
    assert benchmark.sizes() == {"train": 2, "val": 2, "test": 2}, "an utterance without a transcript is left out"
    batch = next(iter(benchmark.train_dataloader()))
    assert batch.speech.shape == (2, 16_000) and batch.length.tolist() == [16_000, 16_000]
    assert sorted(zip(batch.transcript, batch.translation, strict=True))[0] == ("One.", "Eins.")
    place = batch.transcript.index("Two two.")
    start = 0.3 * torch.sin(2 * torch.pi * 440 * (torch.arange(100) + 8000) / 16_000)
    torch.testing.assert_close(batch.speech[place, :100], start, atol=1e-3, rtol=1e-2)
    assert 20 < benchmark.evaluate(Parrot())["bleu/tst-COMMON"] < 100
    assert list(benchmark.evaluate(Parrot(), "val")) == ["bleu/dev"]
    with pytest.raises(UserError, match=r"MuST-C v1 en-fr: .*get it from https://ict\.fbk\.eu/must-c/"):
        MustC(target="fr", data_root=str(must_c)).prepare_data()
    with pytest.raises(UserError, match=r"data.target is 'xx'"):
        MustC(target="xx")


class Pitch(nn.Module):
    def embed_speech(self, clips: list[torch.Tensor]) -> torch.Tensor:
        return torch.stack([(clip[1:] * clip[:-1] < 0).float().mean()[None] for clip in clips])


def test_must_c_lines_end_at_line_feeds(must_c: Path) -> None:
    texts = must_c / "en-de/data/dev/txt"
    count = len(list(read_lines(texts / "dev.en")))
    (texts / "dev.en").write_text(f"{INSIDE}\n" * count, "utf-8")
    benchmark = MustC(data_root=str(must_c))
    benchmark.setup()
    assert [one.transcript for one in benchmark.segments["val"]] == [INSIDE] * count
    (texts / "dev.en").write_text(f"{INSIDE}\n" * (count + 1), "utf-8")
    with pytest.raises(UserError, match=rf"dev\.yaml has {count} entries and .*dev\.en {count + 1}"):
        MustC(data_root=str(must_c)).setup()


@pytest.fixture
def librispeech(tmp_path: Path) -> Path:
    for part in ("train-clean-100", "dev-clean", "test-clean"):
        for speaker, hertz in (("19", 300), ("26", 1200)):
            for k in range(4):
                path = tmp_path / "LibriSpeech" / part / speaker / "198" / f"{speaker}-198-{k:04}.flac"
                write_wave(path, 2.0 + 0.1 * k, hertz + k)
    write_wave(tmp_path / "LibriSpeech/train-clean-100/26/198/26-198-0009.flac", 1.0, 1200)
    write_wave(tmp_path / "musan/noise/free-sound/noise-free-sound-0000.wav", 0.7, 3000)
    return tmp_path


def test_librispeech_gives_views_of_one_length(librispeech: Path) -> None:
    benchmark = LibriSpeech(train="100h", batch_size=4, data_root=str(librispeech), workers=0)
    benchmark.prepare_data()
    benchmark.setup()
    assert benchmark.sizes() == {"train": 8}, "utterances below two seconds are left out"
    batch = next(iter(benchmark.train_dataloader()))
    assert batch.views.shape[:2] == (2, 4) and 32_000 <= batch.views.shape[2] <= 36_800
    torch.testing.assert_close(batch.views.mean(2), torch.zeros(2, 4), atol=1e-4, rtol=0)
    torch.testing.assert_close(batch.views.var(2), torch.ones(2, 4), atol=5e-3, rtol=0)
    clean, augmented = batch.views
    closeness = torch.nn.functional.cosine_similarity(clean, augmented, dim=1)
    assert (closeness > 0.3).all() and closeness.min() < 0.999
    again = benchmark.excerpts(batch.ids.tolist(), 0)
    assert torch.equal(again.views, batch.views) and not torch.equal(
        benchmark.excerpts(batch.ids.tolist(), 1).views, batch.views
    )
    assert benchmark.evaluate(Pitch(), "val") == {"probe_linear/speaker": 1.0}
    (tmp := librispeech / "musan/noise/free-sound/noise-free-sound-0000.wav").unlink()
    tmp.parent.rmdir()
    with pytest.raises(UserError, match=r"MUSAN: musan/noise/free-sound is not in .*openslr\.org/17"):
        LibriSpeech(train="100h", data_root=str(librispeech)).prepare_data()
    LibriSpeech(train="100h", data_root=str(librispeech), views=["clean"]).prepare_data()


def write_utterances(folder: Path, said: dict[str, str]) -> None:
    """A chapter as published: one file an utterance, and one with what they say."""
    for k, key in enumerate(said):
        write_wave(folder / f"{key}.flac", 1.0 + 0.1 * k, 300)
    lines = [f"{key} {text}\n" for key, text in said.items()]
    (folder / f"{'-'.join(next(iter(said)).split('-')[:2])}.trans.txt").write_text("".join(lines))


def test_librispeech_lines_end_at_line_feeds(librispeech: Path) -> None:
    for part in ("dev-clean", "dev-other", "test-clean", "test-other"):
        write_utterances(librispeech / "LibriSpeech" / part / "84/121", {"84-121-0000": "ON"})
    write_utterances(
        librispeech / "librispeech_finetuning/1h/0/clean/19/198", {"19-198-0000": INSIDE, "19-198-0001": "B"}
    )
    benchmark = LibriSpeechTranscripts(train="10min", data_root=str(librispeech))
    benchmark.setup()
    assert benchmark.texts == [INSIDE, "B"]


class Deaf(nn.Module):
    """Hears the same in everything."""

    def transcribe_speech(self, clips: list[torch.Tensor]) -> list[str]:
        return ["GO ON" for _ in clips]


def test_librispeech_with_its_transcripts(tmp_path: Path) -> None:
    for part in ("dev-clean", "dev-other", "test-clean", "test-other"):
        said = {"84-121-0000": "GO ON THEN", "84-121-0001": "STOP"}
        write_utterances(tmp_path / "LibriSpeech" / part / "84" / "121", said)
    limited = tmp_path / "librispeech_finetuning"
    write_utterances(limited / "1h/0/clean/19/198", {"19-198-0000": "ONE", "19-198-0001": "TWO IT'S"})
    write_utterances(limited / "1h/1/other/26/495", {"26-495-0000": "THREE"})
    write_utterances(limited / "9h/clean/32/21", {"32-21-0000": "FOUR"})
    for train, texts in {
        "10min": ["ONE", "TWO IT'S"],
        "1h": ["ONE", "TWO IT'S", "THREE"],
        "10h": ["ONE", "TWO IT'S", "THREE", "FOUR"],
    }.items():
        benchmark = LibriSpeechTranscripts(train=train, batch_size=2, data_root=str(tmp_path), workers=0)
        benchmark.prepare_data()
        benchmark.setup()
        assert benchmark.texts == texts
    batch = next(iter(benchmark.train_dataloader()))
    assert batch.transcript == [benchmark.texts[i] for i in batch.ids.tolist()]
    assert batch.speech.shape == (2, int(batch.length.max()))
    for row, size in zip(batch.speech, batch.length.tolist(), strict=True):
        assert float(row[:size].mean()) == pytest.approx(0, abs=1e-4) and not row[size:].any()
        assert float(row[:size].var(unbiased=False)) == pytest.approx(1, abs=5e-3)
    # One word left out and two put in the place of another, of four.
    expected = {f"word_error_rate/{kind}": 0.75 for kind in ("clean", "other")}
    found = benchmark.evaluate(Deaf(), "val")
    assert found == expected | {f"word_accuracy/{kind}": 0.25 for kind in ("clean", "other")}
    with pytest.raises(UserError, match=r"librispeech_finetuning/9h is not in|train-clean-100 is not in"):
        LibriSpeechTranscripts(data_root=str(tmp_path)).prepare_data()
    (limited / "1h/1/other/26/495/26-495.trans.txt").unlink()
    with pytest.raises(UserError, match=r"26-495-0000\.flac has no line in a \.trans\.txt"):
        LibriSpeechTranscripts(train="1h", data_root=str(tmp_path)).setup()
    with pytest.raises(UserError, match=r"data\.train is '5h'; it must be one of 100h, 10h, 1h, 10min"):
        LibriSpeechTranscripts(train="5h")
