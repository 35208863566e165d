"""The list of surveyed papers, and that the papers which are here agree with it."""

from pathlib import Path

import pytest

from common.errors import UserError
from harness.recipes import catalog
from harness.recipes.survey import Surveyed, survey
from tests.harness import house


def test_the_survey_and_the_cards_agree() -> None:
    lines = {one.slug: one for one in survey(catalog.REPOSITORY)}
    assert len(lines) == 119
    for card in catalog.cards():
        if card.surveyed:
            assert lines[card.slug] == (card.slug, card.family, card.year, card.title)
        else:
            assert card.slug not in lines


def test_a_house_without_a_survey_has_none(tmp_path: Path) -> None:
    assert survey(tmp_path) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("slug,title\n", r"survey.csv:1: its head is 'slug,title'; it must be 'slug,family,year,title'"),
        ("slug,family,year,title\na,toys,2020\n", "survey.csv:2: a line has a slug, a family, a year and a title"),
        (
            "slug,family,year,title\na,toys,2020,A\nb,toys,new,B\n",
            r"survey.csv:3: .* it is .'b', 'toys', 'new'",
        ),
    ],
)
def test_a_faulty_line_is_named(tmp_path: Path, text: str, said: str) -> None:
    house.write(tmp_path / "papers/survey.csv", text)
    with pytest.raises(UserError, match=said):
        survey(tmp_path)


def test_a_title_may_hold_commas(tmp_path: Path) -> None:
    house.write(tmp_path / "papers/survey.csv", 'slug,family,year,title\na,toys,2020,"A, or B"\n')
    assert survey(tmp_path) == [Surveyed("a", "toys", 2020, "A, or B")]
