import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from common.errors import UserError
from common.experiments.items import ItemKey, ItemLedger
from common.experiments.records import HASH_VERSION, Ledger
from harness.audit.migrate import migrate
from harness.cli import main
from harness.recipes.catalog import REPOSITORY, find
from harness.records.identity import experiment_hash, function_hash
from tests.common.experiments.test_records import RECORD


@pytest.fixture
def root(toy_root, monkeypatch):
    monkeypatch.syspath_prepend(str(toy_root))
    monkeypatch.setattr(sys, "argv", ["papers"])
    return toy_root


def substitute(path: Path, old: str, new: str) -> None:
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def old_tree(folder: Path) -> Path:
    """A tree whose hashes are of another scheme, and in which the classes stand in another module."""
    shutil.copytree(REPOSITORY / "harness", folder / "harness", ignore=shutil.ignore_patterns("__pycache__"))
    for package in ("common", "data"):
        (folder / package).symlink_to(REPOSITORY / package)
    shutil.copytree(REPOSITORY / "tests/fixtures/toy", folder, dirs_exist_ok=True)
    (folder / "toylab.py").rename(folder / "oldlab.py")
    for path in (folder / "papers/toys/toy").glob("*.yaml"):
        substitute(path, "toylab", "oldlab")
    substitute(folder / "harness/records/identity.py", '{"model": model', '{"scheme": "old", "model": model')
    substitute(folder / "harness/records/identity.py", "json.dumps([name, {own", 'json.dumps(["old", {own')
    return folder


HASHES = """
from pathlib import Path
from harness.recipes import catalog
from harness.records import identity
card = catalog.find("toy", Path.cwd())
print(identity.arm_hash(card, card.experiment("main"), "repeat"), identity.check_hash(card, card.experiment("slow")))
"""


def test_records_and_items_of_another_scheme_get_todays_hash(root, tmp_path):
    old = old_tree(tmp_path / "old")
    code = [sys.executable, "-c", HASHES]
    done = subprocess.run(code, cwd=old, env={"PYTHONPATH": str(old)}, capture_output=True, text=True, check=True)
    arm, check = done.stdout.split()
    card, results = find("toy", root), root / "results"
    ledger, items = Ledger(results / "runs"), ItemLedger(results / "items")
    changed = "f" * 64
    for seed, hashed in ((0, arm), (1, changed)):
        ledger.append(dataclasses.replace(RECORD, arm="repeat", seed=seed, recipe_hash=hashed))
    items.append("toy", ItemKey("main", "repeat", arm, 0), {"repeat/error": [0.5]})
    of_check = {"experiment": "slow", "arm": "slow", "recipe": "toychecks:slow", "benchmark": "property"}
    ledger.append(dataclasses.replace(RECORD, **of_check, recipe_hash=check))
    with ledger.path("toy").open("a") as file:
        file.write('{"half a rec\n')
    ledger.append(dataclasses.replace(RECORD, arm="gone"))

    assert migrate(results, old) == [("toy", 2, 2)]
    records, warnings = ledger.read("toy")
    today = [experiment_hash(card, card.experiment(name), arm) for name, arm in (("main", "repeat"), ("slow", "slow"))]
    assert [r.recipe_hash for r in records] == [today[0], changed, today[1], RECORD.recipe_hash]
    assert [r.hash_version for r in records] == [HASH_VERSION, 1, HASH_VERSION, 1]
    assert len(warnings) == 1 and ":4: skipped a broken record" in warnings[0]
    assert list(items.read("toy")) == [ItemKey("main", "repeat", today[0], 0)]
    # Once more there is nothing to do.
    before = ledger.path("toy").read_bytes()
    assert migrate(results, old) == [("toy", 0, 2)]
    assert ledger.path("toy").read_bytes() == before


def test_a_folder_that_is_no_checkout_is_refused_and_changes_nothing(root, capsys):
    results = root / "results"
    Ledger(results / "runs").append(RECORD)
    before = Ledger(results / "runs").path("toy").read_bytes()
    with pytest.raises(UserError, match=r"cannot say what its hashes stand for: it has no catalog.py$"):
        migrate(results, root)
    assert main(["migrate", "--from", "/nowhere"], root) == 2
    assert "--from is '/nowhere', which is no folder" in capsys.readouterr().err
    assert Ledger(results / "runs").path("toy").read_bytes() == before


def test_nothing_is_asked_where_all_is_of_today(root):
    record = dataclasses.replace(RECORD, hash_version=HASH_VERSION)
    Ledger(root / "results/runs").append(record)
    assert migrate(root / "results", Path("/nowhere")) == []


def test_the_hash_of_a_check_names_no_module(root):
    path = root / "toychecks.py"
    before = function_hash(path, "slow")
    assert function_hash(path.rename(root / "moved.py"), "slow") == before
