import dataclasses
import datetime
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from common.errors import UserError
from common.experiments.card import Card
from harness.pages.citation import citation, reference, split_name
from harness.recipes import catalog
from tests.harness import house


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Ada Lovelace", {"family-names": "Lovelace", "given-names": "Ada"}),
        ("Olivier J. Hénaff", {"family-names": "Hénaff", "given-names": "Olivier J."}),
        ("Aaron van den Oord", {"family-names": "Oord", "given-names": "Aaron", "name-particle": "van den"}),
        ("Martin Luther King Jr.", {"family-names": "King", "given-names": "Martin Luther", "name-suffix": "Jr."}),
        ("Avila Pires, Bernardo", {"family-names": "Avila Pires", "given-names": "Bernardo"}),
        ("Di Wang", {"family-names": "Wang", "given-names": "Di"}),
        ("OpenAI", {"name": "OpenAI"}),
    ],
)
def test_names_are_split(name: str, expected: dict[str, str]) -> None:
    assert split_name(name) == expected


@pytest.fixture
def card(tmp_path: Path) -> Card:
    return catalog.find("alpha", house.build(tmp_path))


@pytest.mark.parametrize(
    ("venue", "kind", "key"),
    [
        ("NeurIPS 2020", "conference-paper", "conference"),
        ("TMLR 2023", "article", "journal"),
        ("arXiv", "article", None),
    ],
)
def test_the_venue_decides_the_type(card: Card, venue: str, kind: str, key: str | None) -> None:
    entry = reference(dataclasses.replace(card, venue=venue))
    assert entry["type"] == kind
    assert {"conference", "journal"} & set(entry) == ({key} if key else set())


def test_generating_twice_changes_nothing(card: Card) -> None:
    once = citation(house.HEAD, [card])
    assert once.startswith(house.HEAD) and citation(once, [card]) == once
    assert "references" not in yaml.safe_load(citation(once, [dataclasses.replace(card, surveyed=False)]))


@pytest.mark.parametrize("key", ["cff-version", "message", "title", "authors"])
def test_a_head_without_a_required_key(card: Card, key: str) -> None:
    head = re.sub(rf"^{key}:.*\n(  .*\n)*", "", house.HEAD, flags=re.MULTILINE)
    with pytest.raises(UserError, match=f"'{key}' is missing"):
        citation(head, [card])


def test_the_file_of_this_repository() -> None:
    """CFF 1.2.0 as far as this file uses it: required keys, dates, persons, and one reference a surveyed paper."""
    root = catalog.REPOSITORY
    cards = catalog.cards(root)
    content = yaml.safe_load(citation((root / "CITATION.cff").read_text(encoding="utf-8"), cards))
    assert str(content["cff-version"]) == "1.2.0" and content["type"] == "software"
    assert content["message"] and content["title"] and content["authors"]
    assert isinstance(content["date-released"], datetime.date)
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert (str(content["version"]), content["license"]) == (project["version"], project["license"])
    surveyed = [card for card in cards if card.surveyed]
    references = content.get("references", [])
    assert len(references) == len(surveyed)
    for entry in references:
        assert entry["title"] and entry["authors"] and 1980 < entry["year"] < 2100
        for author in entry["authors"]:
            assert "et al" not in str(author)
            assert set(author) == {"name"} or {"family-names", "given-names"} <= set(author)
