from pathlib import Path

import pytest
from torch import nn

from common.errors import UserError
from data.benchmarks.published.documents import Documents, TextFile

CORPUS = "One two three.\nFour five.\nSix seven eight nine ten eleven.\n\n  \nÉin Täg.\nEnd.\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "train.txt").write_text(CORPUS, encoding="utf-8")
    (tmp_path / "val.txt").write_text("a b c\n")
    (tmp_path / "test.txt").write_text("One b\na d\n\n e")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (5, ["One two three. Four five.", "Six seven eight nine ten eleven.", "Éin Täg. End."]),
        (4, ["One two three.", "Four five.", "Six seven eight nine ten eleven.", "Éin Täg. End."]),
        (99, ["One two three. Four five. Six seven eight nine ten eleven.", "Éin Täg. End."]),
    ],
)
def test_sentences_of_a_document_are_joined_up_to_a_number_of_words(folder: Path, words: int, expected: list) -> None:
    found = TextFile(folder / "train.txt", words)
    assert len(found) == len(expected) and list(found) == expected
    assert found[1:] == expected[1:] and found[-1] == expected[-1]


def test_lines_end_at_line_feeds(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes("\ufeffOne\u2028two\ftwo.\r\n\r\nThree.\n\u00a0\nFour.".encode())
    assert list(TextFile(tmp_path / "x.txt", 9)) == ["One two two.", "Three.", "Four."]
    (tmp_path / "x.txt").write_bytes(b"One.\nTw\xff.\n")
    with pytest.raises(UserError, match=r"x\.txt:2: not UTF-8"):
        TextFile(tmp_path / "x.txt", 9)


class Lengths(nn.Module):
    def masked_accuracy(self, texts) -> float:
        return sum(map(len, texts[:9])) / 100


def test_trains_on_one_file_and_scores_the_others(folder: Path) -> None:
    benchmark = Documents(words=5, batch_size=3, data_root=str(folder))
    batch = next(iter(benchmark.train_dataloader()))
    assert sorted(batch.text) == ["One two three. Four five.", "Six seven eight nine ten eleven.", "Éin Täg. End."]
    assert benchmark.evaluate(Lengths(), "val") == {"masked_accuracy/documents": 0.05}
    assert benchmark.evaluate(Lengths()) == {"masked_accuracy/documents": 0.10}
    # All words of the training text are as common; the first is one of five in the test text.
    assert benchmark.floor() == {"commonest word": {"masked_accuracy/documents": 1 / 5}}
    before = benchmark.fingerprint()
    (folder / "val.txt").write_text("a b d\n")
    assert Documents(words=5, data_root=str(folder)).fingerprint() != before


def test_what_is_missing_or_wrong_is_named(folder: Path) -> None:
    with pytest.raises(UserError, match=r"data_root is None; get it from .*one sentence a line"):
        Documents().prepare_data()
    with pytest.raises(UserError, match=r"data\.words is 0"):
        Documents(words=0)
    with pytest.raises(UserError, match="benchmark documents needs a module with masked_accuracy; Linear has none"):
        Documents(data_root=str(folder)).evaluate(nn.Linear(1, 1))
    (folder / "val.txt").write_text("\n \n")
    with pytest.raises(UserError, match=r"val\.txt holds no text"):
        Documents(data_root=str(folder)).setup()
