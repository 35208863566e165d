"""Values of a recipe by their place."""

import pytest

from common.errors import UserError
from harness.running.knobs import places, read_sets, said, value_at, with_knob

ENCODER = {"class_path": "a.B", "init_args": {"width": 1, "depth": 2}}
CONFIG = {
    "model": {"class_path": "m.M", "init_args": {"encoder": ENCODER, "options": {"width": 3}}},
    "data": {"class_path": "d.D"},
    "trainer": {},
}


@pytest.mark.parametrize(
    ("knob", "place"),
    [
        ("model.lr", ["model", "init_args", "lr"]),
        ("model.encoder.width", ["model", "init_args", "encoder", "init_args", "width"]),
        ("model.options.width", ["model", "init_args", "options", "width"]),
        ("data.size", ["data", "init_args", "size"]),
        ("trainer.max_steps", ["trainer", "max_steps"]),
    ],
)
def test_a_knob_is_found_inside_classes(knob, place):
    assert places(CONFIG, knob) == place
    changed = with_knob(CONFIG, knob, 7)
    assert value_at(changed, knob) == 7
    for name in place:
        changed = changed[name]
    assert changed == 7
    assert value_at(with_knob(CONFIG, "model.encoder.width", 7), "model.encoder.depth") == 2
    assert value_at(CONFIG, "trainer.max_steps") is None


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0.05,0.1, 2e-1", [0.05, 0.1, 0.2]),
        ("5e-4", [5e-4]),
        ("true,no,null", [True, "no", None]),
        ("[1, 2],[3]", [[1, 2], [3]]),
        ("'a,b'", ["a,b"]),
        ("a=b", ["a=b"]),
        ("2020-01-01", ["2020-01-01"]),
    ],
)
def test_values_are_read_as_in_a_recipe(text, values):
    read = read_sets([f"model.init_args.x={text}"])
    assert read == {"model.x": values} and list(map(type, read["model.x"])) == list(map(type, values))


@pytest.mark.parametrize("text", ["]", "1], [2", "{", "!!python/name:os x", "&a [*a]"])
def test_what_is_no_value_is_one_line(text):
    with pytest.raises(UserError, match=r"^--set model\.x: .* cannot be read as a value: [^\n]+$"):
        read_sets([f"model.x={text}"])


def test_values_are_said_as_in_a_recipe():
    assert [said(value) for value in (None, True, False, 0, 1, 0.5, "cosine")] == [
        *("null", "true", "false", "0", "1", "0.5", "cosine")
    ]
