"""What may be wrong with data of one's own: each ends in one line that names file and row, or is counted."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from common.errors import UserError
from data.benchmarks.bases.own_data import OwnData, Units
from data.benchmarks.own.audio_text import AudioText
from data.benchmarks.own.beir import Retrieval
from data.benchmarks.own.captioned_images import ImageText
from data.benchmarks.own.image_folder import ImageFolder
from data.benchmarks.own.text_pairs import TextPairs
from data.readers import read_own
from tests.data.benchmarks import own_files


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTRASTIVE_PAPERS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def change(path: str, old: str, new: str, encoding: str = "utf-8") -> None:
    file = Path(path)
    text = file.read_text()
    assert old in text
    file.write_bytes(text.replace(old, new, 1).encode(encoding))


def captions() -> None:
    own_files.captions(Path("captions.csv"), 20)


def pairs() -> None:
    own_files.pairs(Path("pairs.jsonl"), 30)


def no_column() -> OwnData:
    captions()
    return ImageText(path="captions.csv", caption="text")


def empty_file() -> OwnData:
    Path("pairs.jsonl").touch()
    return TextPairs(path="pairs.jsonl")


def header_alone() -> OwnData:
    Path("captions.csv").write_text("image,caption\n")
    return ImageText(path="captions.csv")


def damaged_picture() -> OwnData:
    captions()
    whole = Path("shapes/6.jpg").read_bytes()
    Path("shapes/6.jpg").write_bytes(whole[: len(whole) // 2])
    return ImageText(path="captions.csv")


def no_picture() -> OwnData:
    own_files.pictures(Path("pictures"), each=5, colours=["red", "blue"])
    Path("pictures/red/3.png").write_text("not a picture")
    return ImageFolder(path="pictures")


def two_of_a_name() -> OwnData:
    own_files.beir(Path("beir"), 30, 20)
    change("beir/corpus.jsonl", '"d8"', '"d7"')
    change("beir/qrels/test.tsv", "q8\td8\t1\n", "")
    change("beir/qrels/test.tsv", "q7\td8\t2\n", "")
    return Retrieval(path="beir")


def one_class() -> OwnData:
    own_files.pictures(Path("pictures"), each=5, colours=["red"])
    return ImageFolder(path="pictures")


def one_label() -> OwnData:
    captions()
    change("captions.csv", "image,caption", "image,label")
    text = Path("captions.csv").read_text().splitlines()
    Path("captions.csv").write_text("\n".join([text[0], *(line.split(",")[0] + ",same" for line in text[1:])]))
    return ImageFolder(path="captions.csv")


def latin() -> OwnData:
    captions()
    change("captions.csv", "number 4", "numéro 4", "latin-1")
    return ImageText(path="captions.csv")


def no_sound() -> OwnData:
    own_files.sounds(Path("speech.csv"), 12)
    Path("tones/5.wav").unlink()
    return AudioText(path="speech.csv")


def damaged_sound() -> OwnData:
    own_files.sounds(Path("speech.csv"), 12)
    Path("tones/5.wav").write_bytes(b"RIFF")
    return AudioText(path="speech.csv")


def silence() -> OwnData:
    import soundfile

    own_files.sounds(Path("speech.csv"), 12)
    soundfile.write("tones/5.wav", torch.zeros(8000).numpy(), 16_000)
    return AudioText(path="speech.csv")


def one_pixel() -> OwnData:
    own_files.pictures(Path("pictures"), each=5, colours=["red", "blue"])
    Image.new("RGB", (1, 1)).save("pictures/red/3.png")
    return ImageFolder(path="pictures")


def folder_for_a_file() -> OwnData:
    captions()
    Path("shapes/6.jpg").unlink()
    Path("shapes/6.jpg").mkdir()
    return ImageText(path="captions.csv")


def folder_for_a_table() -> OwnData:
    Path("pairs.jsonl").mkdir()
    return TextPairs(path="pairs.jsonl")


def unequal_columns() -> OwnData:
    Path("own").mkdir()
    own_files.pairs(Path("own/train.jsonl"), 30)
    own_files.lines(Path("own/test.jsonl"), [{"anchor": "a", "other": "b"}])
    return TextPairs(path="own")


def no_caption() -> OwnData:
    captions()
    lines = Path("captions.csv").read_text().splitlines()
    lines[7] = lines[7].split(",")[0] + ", "
    Path("captions.csv").write_text("\n".join(lines))
    return ImageText(path="captions.csv")


def short_row() -> OwnData:
    captions()
    Path("captions.csv").write_text(Path("captions.csv").read_text() + "shapes/1.jpg,a,b\n")
    return ImageText(path="captions.csv")


def broken_json() -> OwnData:
    pairs()
    change("pairs.jsonl", '"positive": ', '"positive" ')
    return TextPairs(path="pairs.jsonl")


def too_small() -> OwnData:
    own_files.pictures(Path("pictures"), each=2, colours=["red", "blue"])
    return ImageFolder(path="pictures")


def longer_rows() -> OwnData:
    Path("pairs.csv").write_text("anchor,positive\n" + "".join(f"a{i},b{i},\n" for i in range(9)))
    return TextPairs(path="pairs.csv")


def no_object() -> OwnData:
    pairs()
    change("pairs.jsonl", "\n{", "\n[1]\n{")
    return TextPairs(path="pairs.jsonl")


def half_a_character() -> OwnData:
    pairs()
    change("pairs.jsonl", '\n{"anchor": "', '\n{"anchor": "\\ud800')
    return TextPairs(path="pairs.jsonl")


def open_quote() -> OwnData:
    Path("pairs.csv").write_text(
        "anchor,positive\n" + "".join(f"a{i},{'' if i != 4 else chr(34)}b\n" for i in range(9))
    )
    return TextPairs(path="pairs.csv")


def carriage_returns_alone() -> OwnData:
    captions()
    Path("captions.csv").write_bytes(Path("captions.csv").read_bytes().replace(b"\r\n", b"\r"))
    return ImageText(path="captions.csv")


def latin_name() -> OwnData:
    own_files.pictures(Path("pictures"), each=5, colours=["red", "blue"])
    Path("pictures/red").rename(os.fsdecode(b"pictures/r\xe9d"))
    return ImageFolder(path="pictures")


def one_positive() -> OwnData:
    own_files.lines(Path("pairs.jsonl"), [{"anchor": f"a{i}", "positive": "b"} for i in range(20)])
    return TextPairs(path="pairs.jsonl")


def one_score() -> OwnData:
    rows = [{"anchor": f"a{i}", "positive": f"b{i}", "alike": 3} for i in range(20)]
    own_files.lines(Path("pairs.jsonl"), rows)
    return TextPairs(path="pairs.jsonl", score="alike")


def one_caption() -> OwnData:
    captions()
    text = Path("captions.csv").read_text().splitlines()
    Path("captions.csv").write_text("\n".join([text[0], *(line.split(",")[0] + ",same" for line in text[1:])]))
    return ImageText(path="captions.csv")


def one_transcript() -> OwnData:
    own_files.sounds(Path("speech.csv"), 12)
    text = Path("speech.csv").read_text().splitlines()
    Path("speech.csv").write_text("\n".join([text[0], *(line.split(",")[0] + ",same" for line in text[1:])]))
    return AudioText(path="speech.csv")


def judged_both_ways() -> OwnData:
    own_files.beir(Path("beir"), 30, 20)
    with Path("beir/qrels/test.tsv").open("a") as file:
        file.write("q0\td0\t1\nq0\td0\t0\n")
    return Retrieval(path="beir")


def nothing_to_train_on() -> OwnData:
    own_files.pictures(Path("own/val"), each=5, colours=["red", "blue"])
    own_files.pictures(Path("own/test"), each=5, colours=["red", "blue"])
    return ImageFolder(path="own")


def no_sound_by_headers() -> OwnData:
    data = no_sound()
    data.check = "headers"
    return data


FAULTS: list[tuple[Callable[[], OwnData], str, bool]] = [
    (no_column, "captions.csv: there is no column 'text' (data.caption); it has image, caption", False),
    (empty_file, "pairs.jsonl: is empty", False),
    (header_alone, "captions.csv: holds no rows", False),
    (damaged_picture, "captions.csv, row 7: the picture shapes/6.jpg cannot be read: ", True),
    (no_picture, "pictures/red/3.png: the picture", True),
    (two_of_a_name, "beir/corpus.jsonl, row 9: _id 'd7' stands in an earlier row as well", True),
    (one_class, "pictures: its pictures lie in one folder; there must be two classes, a folder each", False),
    (one_label, "captions.csv: all pictures are of one class, 'same'; there must be two", False),
    (latin, "captions.csv:6: not UTF-8", False),
    (no_sound, "speech.csv, row 6: the recording tones/5.wav does not exist", True),
    (damaged_sound, "speech.csv, row 6: the recording tones/5.wav cannot be read", True),
    (silence, "speech.csv, row 6: the recording tones/5.wav is silent", True),
    (one_pixel, "pictures/red/3.png: the picture", True),
    (folder_for_a_file, "captions.csv, row 7: the picture shapes/6.jpg is a folder", True),
    (folder_for_a_table, "data.path is 'pairs.jsonl', a folder without a csv, tsv, json, jsonl or parquet file", False),
    (unequal_columns, "own/test.jsonl: there is no column 'positive' (data.positive); it has anchor, other", False),
    (no_caption, "captions.csv, row 7: caption is empty", True),
    (short_row, "captions.csv:22: 3 cells; the first row has 2", False),
    (broken_json, "pairs.jsonl:1: not valid JSON", False),
    (longer_rows, "pairs.csv:2: 3 cells; the first row has 2", False),
    (no_object, "pairs.jsonl:2: must be an object", False),
    (half_a_character, "pairs.jsonl:2: holds \\ud800, one half of a character", False),
    (open_quote, "pairs.csv:6: a quotation mark is opened there and never closed", False),
    (carriage_returns_alone, "captions.csv:1: a carriage return ends a line; a line feed must", False),
    (latin_name, "pictures/r\\xe9d: its name is not UTF-8", False),
    (one_positive, "pairs.jsonl: every positive to test on is the same, that of pairs.jsonl, row ", False),
    (one_score, "pairs.jsonl: every alike to test on is the same, that of pairs.jsonl, row ", False),
    (one_caption, "captions.csv: every caption to test on is the same, that of captions.csv, row ", False),
    (one_transcript, "speech.csv: every transcript to test on is the same, that of speech.csv, row ", False),
    (judged_both_ways, "beir/qrels/test.tsv, row 42: an earlier row judges query-id 'q0' and corpus-id 'd0'", True),
    (nothing_to_train_on, "own: has test and val and nothing to train on, such as train", False),
    (no_sound_by_headers, "speech.csv, row 6: the recording tones/5.wav does not exist", True),
    (too_small, "pictures: class 'blue' has 2 pictures; it must have 3, one for each split", False),
]


@pytest.mark.parametrize(("make", "message", "counted"), FAULTS, ids=[make.__name__ for make, *_ in FAULTS])
def test_a_fault_is_named_in_one_line_or_counted(
    make: Callable[[], OwnData], message: str, counted: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make()
    with pytest.raises(UserError) as error:
        data.setup()
    assert str(error.value).startswith(message) and "\n" not in str(error.value)
    data.on_error = "skip"
    if not counted:
        with pytest.raises(UserError, match=re.escape(message)):
            data.setup()
        return
    data.setup()
    assert data.left_out.total() == 1
    err = capsys.readouterr().err
    assert f"papers: {data.path}: 1 rows are left out, 1 because: " in err and err.count("\n") == 1
    assert f" ({message.partition(': ')[0]})" in err, "where it is"


def test_what_gives_no_row_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    for split in ("train", "test", "more"):
        own_files.pictures(Path("own", split), each=5, colours=["red", "blue"])
    Path("own/train/notes.txt").write_text("no picture")
    Path("own/train/red/dead.png").symlink_to("nowhere.png")
    Path("own/train/red/.hidden").touch()
    (Path("own/train/green")).mkdir()
    ImageFolder(path="own").setup()
    told = "own/train/green, own/train/notes.txt, own/train/red/dead.png, ..."
    assert capsys.readouterr().err == f"papers: own: 4 files or folders give no row: {told}\n"
    own_files.sounds(Path("speech.csv"), 12)
    Path("tones/a.mp4").touch()
    found = read_own("tones", "data.path", "audio")["train"]
    assert len(found) == 12 and found.parts[0].beside == ("tones/a.mp4",)


def test_what_is_trained_on_and_tested_on_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    Path("own").mkdir()
    rows = [{"anchor": f"a{i}", "positive": f"b{i}"} for i in range(20)]
    own_files.lines(Path("own/train.jsonl"), rows)
    own_files.lines(Path("own/test.jsonl"), [*rows[:3], {"anchor": "new", "positive": "new"}])
    TextPairs(path="own").setup()
    assert capsys.readouterr().err.startswith("papers: own: 3 of what test holds is in train as well")
    own_files.beir(Path("beir"), 30, 20)
    Path("beir/qrels/train.tsv").write_bytes(Path("beir/qrels/test.tsv").read_bytes())
    Retrieval(path="beir").setup()
    assert "papers: beir: 18 of what test holds is in train as well" in capsys.readouterr().err


@pytest.mark.parametrize("kind", [ImageFolder, ImageText, AudioText])
def test_a_picture_or_recording_in_several_rows_is_of_one_split(kind: type[OwnData]) -> None:
    if kind is AudioText:
        own_files.sounds(Path("own.csv"), 15)
    else:
        own_files.captions(Path("own.csv"), 15)
    header, *rows = Path("own.csv").read_text().splitlines()
    if kind is ImageFolder:
        header, rows = "image,label", [f"{row.split(',')[0]},{'ab'[i % 2]}" for i, row in enumerate(rows)]
    Path("own.csv").write_text("\n".join([header, *rows, *rows]))
    data = kind(path="own.csv")
    data.setup()
    of = {split: {int(row) % 15 for row in part.at} for split, part in data.splits.items()}
    assert sum(map(len, of.values())) == 15 and sum(data.sizes().values()) == 30


def test_a_class_that_a_split_lacks_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    own_files.pictures(Path("own/train"), each=5, colours=["red", "green", "blue"])
    own_files.pictures(Path("own/test"), each=5, colours=["red", "green"])
    ImageFolder(path="own").setup()
    assert capsys.readouterr().err == "papers: own/test: test has no picture of class blue\n"


def rows_of(data: OwnData) -> list[tuple]:
    batches = data.part("train").source.batches(sorted(data.columns().values()))
    return [row for _, batch in batches for row in zip(*batch.values(), strict=True)]


@pytest.mark.parametrize("kind", ["bom", "crlf"])
def test_a_byte_order_mark_and_carriage_returns_change_nothing(kind: str) -> None:
    captions()
    pairs()
    before = [rows_of(ImageText(path="captions.csv")), rows_of(TextPairs(path="pairs.jsonl"))]
    for path in map(Path, ("captions.csv", "pairs.jsonl")):
        text = path.read_bytes().replace(b"\r\n", b"\n")
        path.write_bytes(b"\xef\xbb\xbf" + text if kind == "bom" else text.replace(b"\n", b"\r\n"))
    assert before == [rows_of(ImageText(path="captions.csv")), rows_of(TextPairs(path="pairs.jsonl"))]
    assert len(before[0]) == 20 and len(before[1]) == 30


def test_arguments_out_of_range_are_named() -> None:
    for options, message in (
        ({"path": ""}, "data.path is missing; it must be a csv, tsv, json"),
        ({"path": "no.csv"}, "data.path is 'no.csv'; there is no such file or folder"),
        ({"val_share": 0.6, "test_share": 0.5}, "data.val_share and data.test_share are 0.6 and 0.5; they must be"),
        ({"on_error": "hide"}, "data.on_error is 'hide'; it must be 'raise' or 'skip'"),
        ({"workers": -1}, "data.workers is -1; it must be at least 0"),
        ({"least": 1.0}, "data.least is 1.0; data.score must name the column"),
        ({"train": "all"}, "data.train is 'all'; it must be 'auto', 'sentences', 'triplets' or 'pairs'"),
    ):
        with pytest.raises(UserError) as error:
            TextPairs(**{"path": "pairs.jsonl"} | options).setup()
        assert str(error.value).startswith(message)


def test_one_row_of_each_group_is_drawn_and_each_comes_in_its_turn() -> None:
    groups = torch.tensor([4, 9, 4, 4, 9, 7])
    units = Units(groups)
    drawn = torch.stack([units.rows(torch.arange(3), 0, epoch) for epoch in range(60)])
    assert torch.equal(groups[drawn], torch.tensor([4, 7, 9]).expand(60, 3))
    assert set(drawn.flatten().tolist()) == set(range(6))
