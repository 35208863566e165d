import shutil
from pathlib import Path

import pytest

from common.errors import UserError
from common.experiments.card import Comparison, Property
from harness.recipes.catalog import benchmark_of, cards, find, paths


@pytest.fixture
def root(toy_root):
    return toy_root


def edit(root: Path, old: str, new: str, file: str = "paper.yaml") -> int:
    """Replaces the one `old` in the toy's card; returns the line where it stood."""
    path = root / "papers" / "toys" / "toy" / file
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    return text[: text.index(old)].count("\n") + 1


def test_a_card_is_read_whole(root):
    card = find("toy", root)
    assert (card.title, card.year, card.arxiv, card.code) == ("Learning to Repeat", 2024, "2401.00010", None)
    assert card.authors == ("Ada Echo", "Bo Mirror")
    main, exact, _ = card.experiments
    assert isinstance(main, Comparison) and isinstance(exact, Property)
    assert [arm.label for arm in main.arms.values()] == ["repeat", "plain", "as it is"]
    assert main.arms["untrained"].overrides == {"trainer": {"max_steps": 0}}
    assert main.metrics == ("repeat/error",)
    assert card.published_row(main.claims[0]).baseline_value == 1.0
    assert exact.tolerance == 1e-8
    assert card.folder == root / "papers" / "toys" / "toy"


def test_a_paper_that_trains_nothing_says_so_and_has_no_full_recipe(root):
    assert find("toy", root).no_full is None
    edit(root, "year: 2024", "year: 2024\nno_full: a review without experiments")
    assert find("toy", root).no_full == "a review without experiments"
    (root / "papers" / "toys" / "toy" / "full_large.yaml").write_text("seed_everything: 0\n")
    with pytest.raises(UserError, match=r"toy/paper.yaml:\d+: 'no_full' says .*; beside the card is full_large.yaml"):
        find("toy", root)


# what to replace, by what, what the message says after "papers/toys/toy/paper.yaml:LINE: "
FAULTS = {
    "misspelt": ("title:", "titel:", "unknown field 'titel' (did you mean 'title'?)"),
    "no text": ("year: 2024", 'year: "2024"', "'year' must be a whole number, found '2024' (text)"),
    "unquoted": ('"2401.00010"', "2401.00010", "'arxiv' must be text, found '2401.0001' (a number); put it in quotes"),
    "boolean": ("surveyed: false", "surveyed: 0", "'surveyed' must be true or false, found '0' (a whole number)"),
    "no list": ("authors: [Ada Echo, Bo Mirror]", "authors: Ada Echo", "'authors' must be a list, found 'Ada Echo'"),
    "in a list": ("[Ada Echo, Bo Mirror]", "[Ada Echo, 3]", "entry 2 of 'authors' must be text"),
    "empty": ("venue: Journal of Small Things", "venue: ''", "'venue' is empty"),
    "slug": ("slug: toy", "slug: toi", "'slug' is 'toi', but its folder is 'toy'"),
    "family": ("family: toys", "family: games", "'family' is 'games', but its folder is 'toys'"),
    "kind": ("kind: compare", "kind: compere", "an experiment needs 'kind: compare' or 'kind: property'"),
    "arm": (
        "baseline: untrained\n",
        "baseline: untrianed\n",
        "'baseline' names the unknown arm 'untrianed' (did you mean",
    ),
    "itself": ("baseline: untrained\n", "baseline: repeat\n", "'repeat' is compared with itself"),
    "better": ("better: lower", "better: smaller", "'better' must be higher or lower, found 'smaller' (text)"),
    "row": ("published: main", "published: mian", "no published row has the id 'mian'; ids: main"),
    "override": (
        "trainer: {max_steps: 0}",
        "trianer: {max_steps: 0}",
        "unknown field 'trianer' (did you mean",
    ),
    "class": (
        "{class_path: toylab.Plain, init_args: {lr: 5e-2}}",
        "{clas_path: toylab.Plain, init_args: {lr: 5e-2}}",
        "unknown key 'clas_path' in 'model' (",
    ),
    "recipe": ("recipe: mini.yaml", "recipe: mni.yaml", "the recipe 'mni.yaml' does not exist beside the card"),
    "seeds": ("seeds: 2", "seeds: 0", "'seeds' is 0; it must be at least 1"),
    "looks": (
        "recipe: mini.yaml",
        "seeds: 3",
        "unknown field 'seeds': a comparison is looked at with 5 seeds and, if its primary claim is undecided, 10",
    ),
    "margin": ("published: main", "margin: 0", "'margin' is 0.0; it must be above 0"),
    "learns": (
        "learns: the baseline is the untrained network itself",
        "learns: false",
        "'learns' is false; it must be true, or a text that says why",
    ),
    "learns what": (
        "learns: the baseline is the untrained network itself",
        "learns: 3",
        "'learns' must be text, found '3' (a whole number); put it in quotes",
    ),
    "unit": ("published: main", "unit: 3", "'unit' must be text"),
    "no primary": ("surveyed: false", "surveyed: true", "no claim is marked 'primary: true'; mark the paper's central"),
    "check": ("check: toylab:exact", "check: toylab.exact", "'check' must be 'module:function', found 'toylab.exact'"),
    "tolerance": ("tolerance: 1.0e-8", "tolerance: -1", "'tolerance' is -1.0; it must not be negative"),
    "name": ("name: exact", "name: main", "a second experiment is named 'main'"),
    "folder name": ("name: exact", "name: a/b", "'a/b' must be lower case letters, digits or '_.-'"),
    "repeated": ("venue: Journal", "year: Journal", "the field 'year' stands here a second time"),
    "no yaml": ("venue: Journal", "venue: [Journal", "not valid YAML"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_card_is_refused_with_file_and_line(root, fault):
    old, new, message = FAULTS[fault]
    line = edit(root, old, new)
    # A bracket that never closes is noticed where the next field begins; what is missing, where its block does.
    line = {"no yaml": line + 1, "no primary": 20}.get(fault, line)
    with pytest.raises(UserError) as error:
        find("toy", root)
    assert str(error.value).startswith(f"papers/toys/toy/paper.yaml:{line}: {message}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("field", "line", "inside"),
    [("venue: Journal of Small Things\n", 1, ""), ("    recipe: mini.yaml\n", 21, " in entry 1 of 'experiments'")],
)
def test_a_missing_field_is_named_with_the_line_of_its_block(root, field, line, inside):
    edit(root, field, "")
    name = field.strip().partition(":")[0]
    with pytest.raises(UserError) as error:
        find("toy", root)
    assert str(error.value) == f"papers/toys/toy/paper.yaml:{line}: the field '{name}' is missing{inside}"


TUNING = """
    tuning:
      metric: repeat/error/validation
      better: lower
      seeds: [100, 101]
      knobs: {model.lr: [0.1, 0.2], model.width: [3, 4]}
      arms: [repeat, untrained]
"""


def with_tuning(root: Path, old: str = "", new: str = "", primary: bool = True) -> None:
    edit(root, "published: main", "primary: true" if primary else "control: true")
    assert TUNING.count(old) == 1 or not old
    edit(root, "    recipe: mini.yaml\n", "    recipe: mini.yaml" + (TUNING.replace(old, new) if old else TUNING))


def test_what_was_tuned_is_read(root):
    with_tuning(root)
    main = find("toy", root).experiments[0]
    assert main.primary is main.claims[0] and main.seeds == 5
    (tuning,) = main.tuning
    assert (tuning.seeds, tuning.tries, tuning.better) == ((100, 101), 4, "lower")
    assert (main.tries("repeat"), main.tries("untrained"), main.tries("plain")) == (4, 4, 0)


TUNING_FAULTS = {
    "metric": ("      metric: repeat/error/validation\n", "", 24, "the field 'metric' is missing in 'tuning'"),
    "test seed": ("[100, 101]", "[100, 9]", 27, "entry 2 of 'seeds' is 9; seeds 0 to 9 are those of the looks; tuning"),
    "no seeds": ("[100, 101]", "[]", 27, "'seeds' is empty"),
    "knob": ("model.lr", "lr", 28, "the knob 'lr' must be a place in the recipe, as 'model.lr'"),
    "no values": ("[0.1, 0.2]", "[]", 28, "the knob 'model.lr' has no values"),
    "arm": (
        "[repeat, untrained]",
        "[repeat, plane]",
        29,
        "'arms' names the unknown arm 'plane' (did you mean 'plain'?)",
    ),
    "one side": (
        "[repeat, untrained]",
        "[repeat]",
        24,
        "the arms of the primary claim need the same number of tries; 'repeat' 4 and 'untrained' 0",
    ),
    "neither": (
        "[repeat, untrained]",
        "[plain]",
        24,
        "the arms of the primary claim, 'repeat' and 'untrained', are not",
    ),
}


@pytest.mark.parametrize("fault", TUNING_FAULTS)
def test_faulty_tuning_is_refused_with_file_and_line(root, fault):
    old, new, line, message = TUNING_FAULTS[fault]
    with_tuning(root, old, new)
    with pytest.raises(UserError) as error:
        find("toy", root)
    assert str(error.value).startswith(f"papers/toys/toy/paper.yaml:{line}: {message}"), error.value


def test_arms_without_a_common_knob_are_tried_equally_often_with_a_reason(root):
    lists = """
    tuning:
      - {metric: e, seeds: [100], knobs: {model.lr: [1, 2]}, arms: [repeat]}
      - {metric: e, seeds: [100], knobs: {model.gain: [3, 4]}, arms: [untrained]}
"""
    edit(root, "published: main", "primary: true")
    edit(root, "    recipe: mini.yaml\n", "    recipe: mini.yaml" + lists)
    with pytest.raises(UserError, match=r"yaml:24: .* different knobs \(model.gain, model.lr\); say why in 'reason'$"):
        find("toy", root)
    edit(root, "arms: [untrained]}", "arms: [untrained], reason: it has no learning rate}")
    assert find("toy", root).experiments[0].tries("repeat") == 2
    edit(root, "[3, 4]", "[3, 4, 5]")
    with pytest.raises(UserError, match="same number of tries; 'repeat' 2 and 'untrained' 3"):
        find("toy", root)


def test_one_claim_alone_is_primary(root):
    edit(root, "published: main", "primary: true")
    edit(root, "check: toylab:exact", "check: toylab:exact\n    primary: true")
    with pytest.raises(
        UserError, match=r"yaml:45: a second claim .*; the first stands at papers/toys/toy/paper.yaml:37$"
    ):
        find("toy", root)
    edit(root, "    where: section 2\n", "    where: section 2\n    control: true\n")
    edit(root, "        primary: true\n", "")
    card = find("toy", root)
    assert [e.primary for e in card.experiments[1:]] == [True, False] and card.experiments[2].control
    edit(root, "\n    primary: true", "\n    primary: true\n    control: true")
    with pytest.raises(UserError, match=r"yaml:\d+: a control of our own cannot be the paper's primary claim"):
        find("toy", root)


def test_an_unknown_slug_suggests_the_nearest(root):
    with pytest.raises(UserError, match=r"^unknown paper 'tyo'; did you mean toy\?$"):
        find("tyo", root)
    with pytest.raises(UserError, match=r"^unknown paper 'quite else'; `papers list` shows all$"):
        find("quite else", root)


def test_papers_are_found_by_their_folders(root):
    second = root / "papers" / "arts" / "toy2"
    shutil.copytree(root / "papers" / "toys" / "toy", second)
    text = (
        (second / "paper.yaml").read_text().replace("slug: toy", "slug: toy2").replace("family: toys", "family: arts")
    )
    (second / "paper.yaml").write_text(text)
    assert list(paths(root)) == ["toy2", "toy"]  # by family
    assert [card.family for card in cards(root)] == ["arts", "toys"]
    shutil.copytree(second, root / "papers" / "toys" / "toy2")
    with pytest.raises(UserError, match="two papers are named 'toy2'"):
        paths(root)


def test_the_benchmark_is_named_without_importing_it(root):
    assert benchmark_of(find("toy", root)) == "numbers"
    assert benchmark_of(find("toy", root), "full.yaml") is None
