import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from common.errors import UserError
from harness import catalog
from harness.catalog import REPOSITORY
from harness.cli import main
from harness.scaffold import check_slug, new_paper
from tests.harness import house


def files(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.mark.parametrize(
    "slug", ["My_method", "my-method", "2fast", "a b", "", "class", "../up", "_x", "x__y", "x" * 41]
)
def test_bad_slugs_are_refused(slug: str) -> None:
    with pytest.raises(UserError, match="cannot name a paper"):
        check_slug(slug, set())


def test_a_new_paper_edits_no_other_file_and_verify_stays_green(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report"], root) == 0
    before = files(root)
    assert main(["new", "my_method", "--like", "alpha"], root) == 0
    after = files(root)
    assert {name: after[name] for name in before} == before
    assert main(["verify"], root) == 0, capsys.readouterr().out


def test_the_card_keeps_the_experiments_and_forgets_the_original(root: Path) -> None:
    main(["new", "my_method", "--like", "alpha"], root)
    card, like = catalog.find("my_method", root), catalog.find("alpha", root)
    assert (card.slug, card.family, card.surveyed, card.published, card.arxiv) == ("my_method", "toys", False, (), None)
    assert [e.name for e in card.experiments] == [e.name for e in like.experiments]
    assert card.experiments[0].arms == like.experiments[0].arms
    assert all(claim.published is None for claim in card.experiments[0].claims)
    page = (card.folder / "README.md").read_text()
    assert "papers rerun my_method" in page and "Prose that tells of Alpha" not in page
    assert not (root / "results/runs/my_method.jsonl").exists()


def test_what_a_claim_says_of_the_original_is_dropped_in_both_styles(root: Path) -> None:
    card = root / "papers/toys/alpha/paper.yaml"
    fields = ["- text: Again", *(f"  {x}" for x in ("method: alpha", "baseline: beta", "metric: x", "better: higher"))]
    block = "".join(f"      {field}\n" for field in [*fields, "  published: main", "  remark: >-", "    Of", "    old"])
    text = card.read_text().replace("    claims:\n", f"    claims:\n{block}")
    card.write_text(text.replace("margin: 0.05}", "margin: 0.05,\n         remark: 'Of old, too'}"))
    assert [claim.remark for claim in catalog.find("alpha", root).experiments[0].claims] == [
        "Of old",
        None,
        "Of old, too",
    ]
    main(["new", "my_method", "--like", "alpha"], root)
    claims = catalog.find("my_method", root).experiments[0].claims
    assert [(claim.published, claim.remark) for claim in claims] == [(None, None)] * 3
    assert [claim.better for claim in claims] == ["higher", "higher", "lower"]


def test_another_family(root: Path) -> None:
    assert main(["new", "my_method", "--like", "alpha", "--family", "games"], root) == 0
    assert catalog.find("my_method", root).family == "games"
    assert main(["new", "other", "--like", "alpha", "--family", "../up"], root) == 2


def test_a_baseline_can_be_copied_too(root: Path) -> None:
    assert main(["new", "my_baseline", "--like", "beta"], root) == 0
    assert catalog.find("my_baseline", root).experiments == ()


def test_an_interrupted_copy_leaves_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = files(root)
    monkeypatch.setattr(shutil, "copyfile", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    house.write(root / "papers/toys/alpha/picture.png", "")
    with pytest.raises(UserError, match="No space left on device"):
        new_paper(root, root / "papers/toys/alpha", "my_method", "toys")
    (root / "papers/toys/alpha/picture.png").unlink()
    assert files(root) == before


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This repository's papers with a new one, made like supcon."""
    root = tmp_path_factory.mktemp("copied")
    shutil.copytree(REPOSITORY / "papers", root / "papers", ignore=shutil.ignore_patterns("__pycache__"))
    assert main(["new", "my_method", "--like", "supcon"], root) == 0
    return root


def test_the_main_class_and_its_paths_are_renamed(copied: Path) -> None:
    folder = copied / "papers/classification/my_method"
    recipe = yaml.safe_load((folder / "mini.yaml").read_text())
    assert recipe["model"]["class_path"] == "papers.classification.my_method.module.MyMethod"
    assert "class MyMethod(" in (folder / "module.py").read_text()
    own = "".join(path.read_text() for path in folder.iterdir() if path.is_file())
    assert "papers.classification.supcon" not in own and "TODO" not in own


def test_its_recipes_resolve(copied: Path) -> None:
    program = (
        "import sys, pathlib\n"
        "from harness import catalog, recipe\n"
        "card = catalog.find('my_method', pathlib.Path.cwd())\n"
        "for experiment in card.experiments:\n"
        "    for arm in getattr(experiment, 'arms', ()):\n"
        "        for file in ('mini.yaml', 'full.yaml'):\n"
        "            recipe.resolve_arm(card, experiment, arm, file)\n"
        "import papers.classification.my_method.module as module\n"
        "assert module.__file__.startswith(str(pathlib.Path.cwd())), module.__file__\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{copied}{os.pathsep}{REPOSITORY}"}
    run = subprocess.run([sys.executable, "-c", program], cwd=copied, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
