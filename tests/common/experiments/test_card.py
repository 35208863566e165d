import shutil
from pathlib import Path

import pytest

from common.errors import UserError
from common.experiments.card import Comparison, Property
from harness.catalog import benchmark_of, cards, find, paths


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
        "{class_path: toylab.Plain}",
        "{clas_path: toylab.Plain}",
        "unknown key 'clas_path' in 'model' (",
    ),
    "recipe": ("recipe: mini.yaml", "recipe: mni.yaml", "the recipe 'mni.yaml' does not exist beside the card"),
    "seeds": ("seeds: 3", "seeds: 0", "'seeds' is 0; it must be at least 1"),
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
    # A bracket that never closes is noticed where the next field begins.
    line += fault == "no yaml"
    with pytest.raises(UserError) as error:
        find("toy", root)
    assert str(error.value).startswith(f"papers/toys/toy/paper.yaml:{line}: {message}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("field", "line", "inside"),
    [("venue: Journal of Small Things\n", 1, ""), ("    seeds: 3\n", 21, " in entry 1 of 'experiments'")],
)
def test_a_missing_field_is_named_with_the_line_of_its_block(root, field, line, inside):
    edit(root, field, "")
    name = field.strip().partition(":")[0]
    with pytest.raises(UserError) as error:
        find("toy", root)
    assert str(error.value) == f"papers/toys/toy/paper.yaml:{line}: the field '{name}' is missing{inside}"


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
