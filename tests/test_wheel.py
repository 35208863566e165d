"""What a stranger gets who installs the package: cards, recipes, records, templates and weights travel along."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, unpacked: a folder to put on the path."""
    place = tmp_path_factory.mktemp("wheel")
    # A copy: setuptools writes beside its sources, and takes in what an earlier build left there.
    for name in ("common", "data", "papers", "harness", "results"):
        shutil.copytree(ROOT / name, place / "tree" / name, ignore=shutil.ignore_patterns("__pycache__", "figures"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, place / "tree")
    build = [sys.executable, "-c", "from setuptools.build_meta import build_wheel; build_wheel('..')"]
    wheel = subprocess.run(build, cwd=place / "tree", capture_output=True, text=True)
    assert wheel.returncode == 0, wheel.stderr[-2000:]
    with zipfile.ZipFile(next(place.glob("*.whl"))) as archive:
        archive.extractall(place / "site")
    return place / "site"


def run(installed: Path, folder: Path, *arguments: str, **variables: str) -> str:
    """What Python prints in an empty folder that sees the wheel and not the checkout."""
    environment = {**os.environ, "PYTHONPATH": str(installed), **variables}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, errors="replace"
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_papers_are_listed_and_shown(installed: Path, tmp_path: Path) -> None:
    slugs = {path.parent.name for path in ROOT.glob("papers/*/*/paper.yaml")}
    assert set(run(installed, tmp_path, "-m", "harness.cli", "list", "--names").split()) == slugs
    assert "Supervised Contrastive Learning" in run(installed, tmp_path, "-m", "harness.cli", "show", "supcon")
    assert not list(tmp_path.iterdir()), "reading commands write nothing"


def test_records_travel(installed: Path, tmp_path: Path) -> None:
    """A verdict, and what a changed arm is compared with, are found without a checkout."""
    shown = run(installed, tmp_path, "-m", "papers", "show", "supcon")
    assert "Difference " in shown and "not run" not in shown
    for kind in ("runs", "items", "floors", "tuning"):
        there = {path.name for path in (installed / "results" / kind).iterdir()}
        assert there == {path.name for path in (ROOT / "results" / kind).iterdir()}


def test_losses_and_weights_serve_a_project_of_ones_own(installed: Path, tmp_path: Path) -> None:
    program = (
        "import common, torch\n"
        "from common.losses import info_nce\n"
        "from papers.sentence.simcse.module import SimCSE\n"
        "print(common.__file__)\n"
        "x = torch.nn.functional.normalize(torch.eye(4), dim=1)\n"
        "print(float(info_nce(x, x, temperature=1.0)))\n"
        "print(SimCSE().embed_text(['a', 'b']).shape)\n"
    )
    where, loss, shape = run(installed, tmp_path, "-c", program).splitlines()
    assert Path(where).is_relative_to(installed)
    assert float(loss) == pytest.approx(0.743668, abs=1e-5)  # log(e + 3) - 1
    assert shape == "torch.Size([2, 192])"


def test_own_data_are_trained_on_and_compared_in_the_folder_one_works_in(installed: Path, tmp_path: Path) -> None:
    """In one process, which imports torch once; what is written stands in the folder, and not beside the code."""
    program = (
        "import json\n"
        "from harness.cli import main\n"
        "rows = [{'anchor': f'ask {i}', 'positive': f'say {i} again'} for i in range(40)]\n"
        "open('pairs.jsonl', 'w').write('\\n'.join(map(json.dumps, rows)))\n"
        "own = ['--data', 'TextPairs', '--data.path', 'pairs.jsonl']\n"
        "quiet = ['--trainer.enable_progress_bar', 'false', '--trainer.enable_model_summary', 'false']\n"
        "assert main(['fit', 'simcse', *own, '--data.batch_size', '8', '--trainer.max_steps', '2', *quiet]) == 0\n"
        "assert main(['test', 'simcse', *own, '--ckpt_path', 'last', *quiet]) == 0\n"
        "print('ranking')\n"
        "assert main(['compare', *own]) == 0\n"
    )
    environment = {"CONTRASTIVE_PAPERS_CACHE": str(tmp_path / "cache")}
    ranking = run(installed, tmp_path, "-c", program, **environment).partition("ranking\n")[2]
    assert "text_pairs pairs.jsonl: mrr/gallery8" in ranking and "SimCSE" in ranking and "bag of words" in ranking
    assert (tmp_path / "logs/simcse/fit/version_0").is_dir() and not (installed / "logs").exists()
