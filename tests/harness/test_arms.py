import sys
from pathlib import Path

import pytest

from common.errors import UserError
from harness import catalog, cli
from harness.arms import check_arms

CLASSES = """
from toylab import Numbers, Repeat


class Deep(Repeat):
    def __init__(self, *, depth: int = 2, dropout: float = 0.4, **other) -> None:
        super().__init__(**other)


class Large(Numbers):
    def __init__(self, size: int = 64, **other) -> None:
        super().__init__(size=size, **other)
"""


@pytest.fixture
def house(toy_root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (toy_root / "deeplab.py").write_text(CLASSES)
    monkeypatch.syspath_prepend(str(toy_root))
    monkeypatch.setattr(sys, "argv", ["papers"])
    return toy_root


def arm(root: Path, text: str) -> int:
    """Gives the arm `plain` another text, and returns its line."""
    card = root / "papers/toys/toy/paper.yaml"
    old = "model: {class_path: toylab.Plain, init_args: {lr: 5e-2}}"
    assert card.read_text().count(old) == 1
    line = card.read_text().split(old)[0].count("\n") + 1
    card.write_text(card.read_text().replace(old, text))
    return line


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "model: {class_path: deeplab.Deep}",
            "the arm 'plain' of 'main' takes model.dropout 0.4, the default of its class, where the recipe has 0.1",
        ),
        ("model: {class_path: deeplab.Deep, init_args: {dropout: 0.1}}", "takes model.lr 0.001, the default of"),
        ("data: {class_path: deeplab.Large}", "takes data.size 64, the default of its class, where the recipe has 32"),
    ],
)
def test_an_arm_that_differs_without_saying_so_is_refused(
    house: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    line = arm(house, text)
    card = catalog.find("toy", house)
    with pytest.raises(UserError) as error:
        check_arms(card, card.experiments[0])
    assert str(error.value).startswith(f"papers/toys/toy/paper.yaml:{line}: ") and said in str(error.value)
    for command in (["show", "toy"], ["rerun", "toy", "--dry-run"]):
        assert cli.main(command, house) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.startswith(f"papers: papers/toys/toy/paper.yaml:{line}: ")


@pytest.mark.parametrize(
    "text",
    [
        "model: {class_path: toylab.Repeat}",
        "model: {class_path: toylab.Repeat, init_args: {dropout: 0.2}}",
        "model: {class_path: deeplab.Deep, init_args: {dropout: 0.4, lr: 5e-2, depth: 3}}",
        "model: {class_path: elsewhere.Unknown}",
    ],
)
def test_an_arm_that_says_what_it_changes_is_not(house: Path, text: str) -> None:
    arm(house, text)
    card = catalog.find("toy", house)
    check_arms(card, card.experiments[0])
