import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from common.errors import UserError
from harness.cli import main
from harness.recipes import catalog
from harness.recipes.catalog import REPOSITORY
from harness.scaffold.scaffold import check_slug, new_paper


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


def test_the_card_compares_it_with_what_it_starts_from(root: Path) -> None:
    main(["new", "my_method", "--like", "alpha"], root)
    card, like = catalog.find("my_method", root), catalog.find("alpha", root)
    assert (card.slug, card.family, card.surveyed, card.published, card.arxiv) == ("my_method", "toys", False, (), None)
    (experiment,) = card.experiments
    assert list(experiment.arms) == ["my_method", "alpha"] and experiment.arms["my_method"].overrides == {}
    assert experiment.arms["alpha"].overrides["model"] == {
        "class_path": "toyhouse.Toy",
        "init_args": {"temperature": 0.1},
    }
    (claim,) = experiment.claims
    assert (claim.metric, claim.better) == (like.experiments[0].claims[0].metric, "higher") and claim.primary
    page = (card.folder / "README.md").read_text()
    assert "papers rerun my_method" in page and "Prose that tells of Alpha" not in page
    assert not (root / "results/runs/my_method.jsonl").exists()


def test_every_sentence_that_waits_for_its_author_is_marked(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["new", "my_method", "--like", "alpha"], root)
    out = capsys.readouterr().out
    assert "grep -rn EDIT: " in out and "papers schema" in out and "papers rerun my_method --dry-run" in out
    folder = root / "papers/toys/my_method"
    assert all("EDIT:" in (folder / name).read_text() for name in ("module.py", "paper.yaml", "mini.yaml", "README.md"))
    assert {path.name for path in folder.iterdir()} == {
        *("__init__.py", "module.py", "paper.yaml", "mini.yaml", "README.md")
    }


def test_another_family(root: Path) -> None:
    assert main(["new", "my_method", "--like", "alpha", "--family", "games"], root) == 0
    assert catalog.find("my_method", root).family == "games"
    assert main(["new", "other", "--like", "alpha", "--family", "../up"], root) == 2


def test_a_baseline_can_be_copied_too(root: Path) -> None:
    assert main(["new", "my_baseline", "--like", "beta"], root) == 2  # it has no recipe to start from
    shutil.copy(root / "papers/toys/alpha/mini.yaml", root / "papers/toys/beta")
    assert main(["new", "my_baseline", "--like", "beta"], root) == 0
    (experiment,) = catalog.find("my_baseline", root).experiments
    assert experiment.claims[0].metric == "probe/top1"  # the benchmark's own


def test_an_interrupted_copy_leaves_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = files(root)
    monkeypatch.setattr(Path, "rename", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(UserError, match="No space left on device"):
        new_paper(catalog.find("alpha", root), "my_method", "toys")
    assert files(root) == before


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This repository's papers with a new one, made like supcon."""
    root = tmp_path_factory.mktemp("copied")
    shutil.copytree(REPOSITORY / "papers", root / "papers", ignore=shutil.ignore_patterns("__pycache__"))
    assert main(["new", "my_method", "--like", "supcon"], root) == 0
    return root


def test_the_main_class_is_renamed_and_the_original_kept_as_the_baseline(copied: Path) -> None:
    folder = copied / "papers/classification/my_method"
    recipe = yaml.safe_load((folder / "mini.yaml").read_text())
    assert recipe["model"]["class_path"] == "papers.classification.my_method.module.MyMethod"
    code = (folder / "module.py").read_text()
    assert "class MyMethod(Method):" in code and "recorded_as" not in code and "SupCon(" not in code
    arms = yaml.safe_load((folder / "paper.yaml").read_text())["experiments"][0]["arms"]
    original = yaml.safe_load((copied / "papers/classification/supcon/mini.yaml").read_text())["model"]
    assert arms["supcon"]["model"] == original
    ruff = Path(sys.executable).with_name("ruff")
    words = [ruff, "check", "--quiet", "--config", REPOSITORY / "pyproject.toml", "--extend-ignore", "I001", folder]
    assert not ruff.exists() or subprocess.run(words).returncode == 0


def test_its_recipes_resolve(copied: Path) -> None:
    program = (
        "import sys, pathlib\n"
        "from harness.recipes import arms, catalog, recipe\n"
        "card = catalog.find('my_method', pathlib.Path.cwd())\n"
        "for experiment in card.experiments:\n"
        "    arms.check_arms(card, experiment)\n"
        "    for arm in experiment.arms:\n"
        "        for file in ('mini.yaml', 'full.yaml'):\n"
        "            recipe.resolve_arm(card, experiment, arm, file)\n"
        "import papers.classification.my_method.module as module\n"
        "assert module.__file__.startswith(str(pathlib.Path.cwd())), module.__file__\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{copied}{os.pathsep}{REPOSITORY}"}
    run = subprocess.run([sys.executable, "-c", program], cwd=copied, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
