"""What `papers fit --dry-run` says, and that it leaves nothing behind."""

import pytest

from harness import cli
from tests.harness.toy import edit

PUBLISHED = """
from pathlib import Path

from torch import Tensor

from data.published import published_folder
from toylab import Numbers


class Brought(Numbers):
    published = True

    def __init__(self, data_root: str | None = None, **other) -> None:
        super().__init__(**other)
        self.data_root = data_root

    def _folder(self) -> Path:
        files = ["train.bin", "test.bin"]
        return published_folder(
            self.data_root, title="The Numbers", files=files, where="https://example.org", terms="free"
        )

    def prepare_data(self) -> None:
        self._folder()

    def build(self) -> None:
        if (self._folder() / "train.bin").stat().st_size < 4:
            raise ValueError("train.bin ends too early")
        super().build()
        self.splits = {"train": self.samples}
"""


@pytest.fixture
def say(toy_root, capsys, monkeypatch):
    """A dry run of the toy paper: its lines by what they are about."""
    (toy_root / "brought.py").write_text(PUBLISHED)
    monkeypatch.syspath_prepend(str(toy_root))
    monkeypatch.chdir(toy_root)

    def said(*options: str) -> dict[str, str]:
        code = cli.main(["fit", "toy", "--dry-run", *options], toy_root)
        assert code == 0, capsys.readouterr().err
        lines = capsys.readouterr().out.splitlines()
        assert not (toy_root / "logs").exists()
        return {name.strip(): rest.strip() for name, _, rest in (line.partition(":") for line in lines)}

    return said


def test_it_says_size_memory_and_steps(say):
    said = say("--model.optimizer", "sgd", "--model.width", "1000")
    assert said["parameters"] == "1.0 million to train"
    assert "an estimate: at least 0.01 GiB a device = 1.0 million x 12 bytes (weight, gradient, sgd)" in said["memory"]
    assert "the 8 samples of a batch" in said["memory"]
    assert said["steps"] == "8 (2 epochs of 4 steps)"
    assert said["data"] == "generated; nothing to fetch" and said["found"] == "generated"
    assert say("--trainer.max_steps", "6", "--trainer.limit_train_batches", "2")["steps"] == "4 (2 epochs of 2 steps)"
    assert say("--trainer.max_steps", "6")["steps"] == "6 (1.5 epochs)"


def test_it_says_what_data_it_wants_and_whether_they_are_whole(say, tmp_path):
    brought = ["--data", "brought.Brought"]
    said = say(*brought)
    assert said["found"] == "nothing, as --data.data_root names no folder"
    assert said["steps"] == "2 epochs, 8 samples a step; how many steps that is shows once the data are there"
    folder = tmp_path / "numbers"
    folder.mkdir()
    (folder / "test.bin").write_bytes(b"1234")
    there = [*brought, "--data.data_root", str(folder)]
    assert say(*there)["found"] == f"incomplete in {folder}: 1 of 2 files are missing: train.bin"
    (folder / "train.bin").touch()
    assert say(*there)["found"] == "damaged: ValueError: train.bin ends too early"
    (folder / "train.bin").write_bytes(b"1234")
    said = say(*there)
    assert said["found"] == f"complete in {folder}: train 32 samples" and said["steps"].startswith("8 (")
    assert said["data"] == "files: train.bin, test.bin"


def test_recipe_full_is_full_yaml(say, toy_root):
    folder = toy_root / "papers/toys/toy"
    (folder / "full.yaml").write_text((folder / "mini.yaml").read_text().replace("width: 4", "width: 3"))
    assert say("--recipe", "full")["parameters"] == say("--recipe=full")["parameters"] == "12 to train"


def test_what_cannot_be_built_here_is_said(say, card):
    (card.root / "wanting.py").write_text(
        "from common.errors import UserError\nfrom toylab import Repeat\n\n\nclass Wanting(Repeat):\n"
        "    def __init__(self, width: int = 4, lr: float = 0.1) -> None:\n"
        "        raise UserError('vocabulary.json is not there')\n"
    )
    edit(card, "toylab.Repeat", "wanting.Wanting")
    said = say()
    assert said["parameters"] == "cannot be counted here: vocabulary.json is not there" and "found" in said
