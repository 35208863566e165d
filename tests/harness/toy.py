"""The toy paper of `tests/fixtures/toy`, changed on the disk and read again."""

from common.experiments.card import Card
from harness.recipes.catalog import find
from harness.records.identity import arm_hash


def edit(card: Card, old: str, new: str, file: str = "mini.yaml") -> None:
    """Replaces what stands once in a file of its folder."""
    path = card.folder / file
    assert path.read_text().count(old) == 1
    path.write_text(path.read_text().replace(old, new))


def reread(card: Card) -> Card:
    return find(card.slug, card.root)


def toy_hash(card: Card, arm: str = "repeat") -> str:
    """Of an arm of its experiment `main`, by what the files say now."""
    card = reread(card)
    return arm_hash(card, card.experiment("main"), arm)
