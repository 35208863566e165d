import os
from pathlib import Path

import pytest

from common.errors import UserError
from common.experiments.yaml_lines import load


def read(tmp_path: Path, content: str | bytes):
    path = tmp_path / "card.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return load(path, tmp_path)


def test_values_and_lines(tmp_path: Path) -> None:
    document = read(tmp_path, "a: 1e-4\nb:\n  - no\n  - {c: true, 2020-01-02: ~}\n'<<': \"1\"\n")
    assert document.data == {"a": 1e-4, "b": ["no", {"c": True, "2020-01-02": None}], "<<": "1"}
    assert [document.at(where) for where in [("b",), ("b", 1, "c"), ("<<",), ("b", 9)]] == [
        "card.yaml:2",
        "card.yaml:4",
        "card.yaml:5",
        "card.yaml:2",
    ]


def test_lines_are_counted_as_an_editor_does(tmp_path: Path) -> None:
    document = read(tmp_path, 'a: "x\u2028y\u0085z"\nb: é\n\nc: 2\n')
    assert [document.at((key,)) for key in "abc"] == ["card.yaml:1", "card.yaml:2", "card.yaml:4"]


def test_an_alias_is_what_it_stands_for(tmp_path: Path) -> None:
    document = read(tmp_path, "a: &x {k: [1, 2]}\nb: *x\nc: &x 3\nd: *x\n")
    assert document.data == {"a": {"k": [1, 2]}, "b": {"k": [1, 2]}, "c": 3, "d": 3}
    document.data["b"]["k"].append(3)
    assert document.data["a"]["k"] == [1, 2]


BOMB = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10)
)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (BOMB, "the aliases stand for more than 50000 values"),
        ("a: &x [*x]\n", "card.yaml:1: the alias '*x' stands for itself"),
        ("a: &x\n  b: *x\n", "card.yaml:2: the alias '*x' stands for itself"),
        ("a: *x\n", "card.yaml:1: "),
        ("a: " + "[" * 600 + "]" * 600, "card.yaml:1: nested more than 64 levels deep"),
        ("a: " + "[" * 250_000, "card.yaml:1: nested more than 64 levels deep"),
        ("a:\n  " + "- " * 200_000 + "x", "card.yaml:2: nested more than 64 levels deep"),
        ("a: [" + "1," * 200_000 + "]", "card.yaml:1: holds more than 50000 values"),
        ("a: " + "x" * 600_000, "card.yaml: is larger than 512 KiB"),
        (b"a: \xff\n", "card.yaml: is not UTF-8 text: invalid start byte at byte 3"),
        ("a: 1\nb: 2\na: 3\n", "card.yaml:3: the field 'a' stands here a second time"),
        ("a: &x {b: 1}\nc:\n  <<: *x\n", "card.yaml:3: the merge key '<<' is not read here"),
        ("a: !!python/object/apply:os.system [touch executed]\n", "card.yaml:1: the tag"),
        ("a: !!set {b, c}\n", "card.yaml:1: the tag 'tag:yaml.org,2002:set' is not read here"),
        ("a: !!binary aGk=\n", "card.yaml:1: the tag"),
        ("a: !mine 3\n", "card.yaml:1: the tag '!mine' is not read here"),
        ("a: !!int x\n", "card.yaml:1: 'x' (text) cannot be read as a number"),
        ("a: !!bool x\n", "card.yaml:1: 'x' (text) cannot be read as bool"),
        ("a: " + "1" * 5000, "cannot be read as a number"),
        ("? {a: 1}\n: 2\n", "card.yaml:1: the name of a field must be plain text"),
        ("a: 1\n---\nb: 2\n", "card.yaml:2: a second document begins"),
        ("a: [1\n", "card.yaml:2: not valid YAML"),
        ("a: \x00\n", "card.yaml:1: not valid YAML"),
        ("- a\n", "card.yaml:1: expected fields such as 'name: value', found a list"),
        ("", "card.yaml:1: expected fields such as 'name: value', found nothing"),
        ("---\n", "card.yaml:1: expected fields such as 'name: value', found nothing"),
    ],
)
def test_what_is_no_card_is_refused_in_one_line(tmp_path: Path, content: str | bytes, said: str) -> None:
    with pytest.raises(UserError) as error:
        read(tmp_path, content)
    assert said in str(error.value) and "\n" not in str(error.value) and len(str(error.value)) < 200
    assert not Path("executed").exists()


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name in ("pipe", "folder", "loop", "missing", "x" * 300, "a\0b"):
        with pytest.raises(UserError, match="cannot be read"):
            load(tmp_path / name)
