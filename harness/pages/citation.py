"""CITATION.cff (1.2.0): a head kept by hand, and one reference for each surveyed paper, generated from the cards."""

import re
from collections.abc import Iterable
from pathlib import Path

import yaml

from common.errors import UserError
from common.experiments.card import Card
from common.lines import read_text

PARTICLES = frozenset(
    ("van", "von", "der", "den", "de", "del", "della", "di", "da", "dos", "du", "ten", "ter", "zu", "bin", "ibn")
)
SUFFIXES = frozenset(("Jr.", "Jr", "Sr.", "Sr", "II", "III", "IV"))
MARK = "# Generated from the cards (paper.yaml) by `papers report`; edit those instead."
JOURNAL = re.compile(r"\b(Transactions|Journal|TMLR|JMLR|TACL|TKDE|Access|Nature|PNAS|PLOS)\b")


def split_name(name: str) -> dict[str, str]:
    """Splits a full name into the fields of a CFF person.

    "Aaron van den Oord" has the particle "van den". Where the last word is not the whole family name, the card says
    so with a comma: "Avila Pires, Bernardo". One word alone is an entity, as for a company.
    """
    if "," in name:
        family, given = (part.strip() for part in name.split(",", 1))
        return {"family-names": family, "given-names": given}
    words = name.split()
    if len(words) == 1:
        return {"name": name}
    suffix = words.pop() if words[-1] in SUFFIXES and len(words) > 2 else None
    # The particle is the run of lower-case words just before the family name: in "Ludwig van der Berg", "van der".
    start = len(words) - 1
    while start > 1 and words[start - 1] in PARTICLES:
        start -= 1
    person = {"family-names": words[-1], "given-names": " ".join(words[:start])}
    if start < len(words) - 1:
        person["name-particle"] = " ".join(words[start:-1])
    if suffix:
        person["name-suffix"] = suffix
    return person


def reference(card: Card) -> dict[str, object]:
    """The entry of one paper under `references`."""
    entry: dict[str, object] = {"type": "article", "title": card.title}
    entry["authors"] = [split_name(name) for name in card.authors]
    entry["year"] = card.year
    if JOURNAL.search(card.venue):
        entry["journal"] = card.venue
    elif not card.venue.startswith("arXiv"):
        entry |= {"type": "conference-paper", "conference": {"name": card.venue}}
    if card.arxiv:
        entry["identifiers"] = [{"type": "doi", "value": f"10.48550/arXiv.{card.arxiv}"}]
        entry["url"] = f"https://arxiv.org/abs/{card.arxiv}"
    if card.code:
        entry["repository-code"] = card.code
    return entry


def citation(head: str, cards: Iterable[Card]) -> str:
    """Returns the file: `head` up to its `references` key, then the references ordered by slug.

    Raises:
        UserError: the head is not YAML or lacks a key that CFF 1.2.0 requires.
    """
    kept = re.split(rf"^(?:{re.escape(MARK)}\n)?references:", head, maxsplit=1, flags=re.MULTILINE)[0].rstrip()
    try:
        keys = yaml.safe_load(kept) or {}
    except yaml.YAMLError as error:
        raise UserError(f"CITATION.cff: the head is not valid YAML: {' '.join(str(error).split())}") from None
    for key in ("cff-version", "message", "title", "authors"):
        if not (isinstance(keys, dict) and key in keys):
            raise UserError(f"CITATION.cff: the key '{key}' is missing from the head; CFF 1.2.0 requires it")
    references = [reference(card) for card in sorted(cards, key=lambda card: card.slug) if card.surveyed]
    if not references:
        return kept + "\n"
    listed = yaml.safe_dump({"references": references}, sort_keys=False, allow_unicode=True, width=120)
    return f"{kept}\n{MARK}\n{listed}"


def citation_file(path: Path, cards: Iterable[Card]) -> str:
    """What the file at `path` should hold; the head is read from it."""
    if not path.is_file():
        raise UserError(f"{path} is missing; its head (cff-version, message, title, authors) is kept by hand")
    return citation(read_text(path), cards)
