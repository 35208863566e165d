"""`papers migrate`: brings recorded hashes of an older scheme up to today's, without a run being done again.

What a hash of an older scheme stood for can only be told in a tree where it is today's: a checkout of that time, which
is asked in a process of its own. A record whose hash that tree computes, too, gets the hash of the same recipe, or the
same check, by the scheme of now. Whether it is what the card asks for today is another question, and `papers verify`
answers it.
"""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from common.errors import UserError
from common.experiments.items import ItemLedger
from common.experiments.loss_curves import CurveLedger
from common.experiments.records import HASH_VERSION, Ledger, Record
from harness.records.identity import ClassIdentity, function_hash, recipe_hash

ASKED = '''
import importlib, json, pydoc, sys
from pathlib import Path

root = Path.cwd()
def engine(name):
    """The module of that name, wherever it stood at the time."""
    for home in ("harness.recipes", "harness.records", "harness.running", "harness", "common.experiments"):
        if (root / home.replace(".", "/") / f"{name}.py").exists():
            return importlib.import_module(f"{home}.{name}")
    sys.exit(f"it has no {name}.py")

catalog, recipe, plan = map(engine, ("catalog", "recipe", "plan"))
arm_hash = getattr(recipe, "arm_hash", None) or engine("identity").arm_hash
check_hash = getattr(plan, "check_hash", None) or engine("identity").check_hash

def classes(value):
    if isinstance(value, list):
        return [path for v in value for path in classes(v)]
    if not isinstance(value, dict):
        return []
    own = [value["class_path"]] if isinstance(value.get("class_path"), str) else []
    return own + [path for v in value.values() for path in classes(v)]

def identity(path):
    cls = pydoc.locate(path)
    added = {k: v for base in cls.__mro__ for k, v in vars(base).get("added_later", {}).items()}
    return [vars(cls).get("recorded_as", cls.__name__), added]

def answer(slug, name, arm, source):
    card = catalog.find(slug, root)
    experiment = card.experiment(name)
    if experiment.kind == "property":
        return {"hash": check_hash(card, experiment), "check": experiment.check}
    config = recipe.arm_config(card, experiment, arm, source)
    resolved = json.loads(json.dumps(recipe.resolve_arm(card, experiment, arm, source)))
    known = {path: identity(path) for path in classes(resolved)}
    hashed = arm_hash(card, experiment, arm, source)
    return {"hash": hashed, "config": config, "resolved": resolved, "classes": known}

answers = []
for asked in json.load(sys.stdin):
    try:
        answers.append(answer(*asked))
    except Exception as error:  # no such arm any more, say: then it cannot tell
        answers.append(None)
Path(sys.argv[1]).write_text(json.dumps(answers))
'''
"""What the checkout is asked: the hash of each recipe and check by its own scheme, and what it was taken over."""


class Place(NamedTuple):
    """What a record is of."""

    paper: str
    experiment: str
    arm: str
    recipe: str


class Migration(NamedTuple):
    """What became of the records of a paper."""

    paper: str
    migrated: int
    left: int
    """Of an older scheme still: the checkout computes another hash for them, or none."""


def migrate(results: Path, checkout: Path) -> list[Migration]:
    """Rewrites the records, items and curves under `results`, each file whole or not at all.

    Args:
        checkout: a tree of the time when the old records were valid.

    Raises:
        UserError: the checkout cannot answer, or a file cannot be written.
    """
    ledger, items, curves = Ledger(results / "runs"), ItemLedger(results / "items"), CurveLedger(results / "curves")
    old = {slug: [r for r in ledger.read(slug)[0] if r.hash_version < HASH_VERSION] for slug in ledger.slugs()}
    places = list(dict.fromkeys(_place(record) for records in old.values() for record in records))
    renamed = dict(zip(places, _ask(checkout, places), strict=True)) if places else {}
    found = []
    for slug, records in old.items():
        known = {r.recipe_hash: new for r in records if (new := _new_hash(r, renamed, checkout)) is not None}

        def of_record(line: str, known: dict[str, str] = known) -> str:
            record = Record.parse(line)
            if record.hash_version == HASH_VERSION or record.recipe_hash not in known:
                return line
            return dataclasses.replace(record, recipe_hash=known[record.recipe_hash], hash_version=HASH_VERSION).line()

        def of_items(line: str, known: dict[str, str] = known) -> str:
            entry = json.loads(line)
            return json.dumps(entry | {"recipe_hash": known.get(entry["recipe_hash"], entry["recipe_hash"])})

        if known:
            items.rewrite(slug, of_items)  # first: no record may lack its items
            curves.rewrite(slug, of_items)
            ledger.rewrite(slug, of_record)
        if records:
            migrated = sum(r.recipe_hash in known for r in records)
            found.append(Migration(slug, migrated, len(records) - migrated))
    return found


def _place(record: Record) -> Place:
    return Place(record.paper, record.experiment, record.arm, record.recipe)


def _new_hash(record: Record, answers: dict[Place, dict[str, Any] | None], checkout: Path) -> str | None:
    answer = answers[_place(record)]
    if answer is None or answer["hash"] != record.recipe_hash:
        return None
    if "check" in answer:
        module, _, name = answer["check"].partition(":")
        return function_hash(checkout / (module.replace(".", "/") + ".py"), name)
    identities = {path: ClassIdentity(*known) for path, known in answer["classes"].items()}
    return recipe_hash(answer["config"], answer["resolved"], identities.__getitem__)


def _ask(checkout: Path, places: Iterable[Place]) -> list[dict[str, Any] | None]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "answers.json"
        done = subprocess.run(
            [sys.executable, "-c", ASKED, str(path)],
            cwd=checkout,
            env=os.environ | {"PYTHONPATH": str(checkout.resolve())},
            input=json.dumps(list(places)),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        if done.returncode or not path.exists():
            last = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
            raise UserError(f"{checkout} cannot say what its hashes stand for: {last}")
        return json.loads(path.read_text())
