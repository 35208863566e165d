import shutil
from pathlib import Path

import pytest

from common.errors import UserError
from harness import report
from tests.harness import house


def generated(root: Path) -> dict[str, bytes]:
    names = ["README.md", "CITATION.cff", "papers/toys/alpha/README.md", "results/README.md"]
    files = [*(root / name for name in names), *(root / "results/figures").iterdir()]
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def test_overview_says_what_the_records_say(root: Path) -> None:
    report.write(root, root / "results", house.papers(root))
    text = (root / "results/README.md").read_text()
    # By hand: differences 0.10, 0.09, 0.11, 0.10, 0.10; t(4, 0.9875) = 3.4954, standard error sqrt(0.00005 / 5).
    assert (
        "| Alpha beats Beta | `probe/top1` | Alpha: 0.920 [0.900, 0.940] | Beta: 0.820 [0.802, 0.838] "
        "| +0.100 [+0.089, +0.111] | **reproduced** | 91.5 vs 90 top-1 (%), Coins-1M ([Table 2](https://example.org)) |"
    ) in text
    assert "`loss`, lower is better" in text and "+1.000 [+1.000, +1.000] | **contradicted** | — |" in text
    assert "| The bound is kept | eq. 4 | 2e-09 | 1e-06 | 2 | **holds** |" in text
    assert "papers rerun alpha --experiment main  # 15 runs, 5 min on cpu; 2026-01-02, commit 01234567" in text
    assert "| **all** | **1** | **1** | **1** | **1** |" in text
    assert "[Alpha: a | paper](../papers/toys/alpha)" in text


def test_blocks_are_filled_and_the_rest_is_kept(root: Path) -> None:
    report.write(root, root / "results", house.papers(root))
    page = (root / "papers/toys/alpha/README.md").read_text()
    assert page.startswith("# Alpha\n\nProse that tells of Alpha.\n") and "**reproduced**" in page
    assert "../../../results/figures/alpha.svg" in page
    assert "| toys | 1 | 1 | 1 | 1 |" in (root / "README.md").read_text()


def test_writing_twice_gives_the_same_bytes(root: Path) -> None:
    report.write(root, root / "results", house.papers(root))
    first = generated(root)
    assert report.write(root, root / "results", house.papers(root)) == []
    shutil.rmtree(root / "results/figures")
    (root / "results/README.md").unlink()
    report.write(root, root / "results", house.papers(root))
    assert generated(root) == first


def test_a_figure_without_records_is_removed(root: Path) -> None:
    stray = root / "results/figures/gone.svg"
    house.write(stray, "<svg/>")
    assert stray in report.write(root, root / "results", house.papers(root))
    assert not stray.exists()


def test_nothing_on_record(tmp_path: Path) -> None:
    root = house.build(tmp_path)
    report.write(root, root / "results", house.papers(root))
    assert "Nothing is on record yet." in (root / "results/README.md").read_text()
    assert "papers rerun alpha --experiment main" in (root / "papers/toys/alpha/README.md").read_text()
    assert not (root / "results/figures").exists()


def test_a_page_without_a_place_for_the_results(root: Path) -> None:
    house.write(root / "papers/toys/alpha/README.md", "# Alpha\n")
    with pytest.raises(UserError, match=r"alpha/README.md: has no block for the results; add .*<!-- /results -->"):
        report.write(root, root / "results", house.papers(root))


def test_one_seed_has_no_interval(tmp_path: Path) -> None:
    root = house.build(tmp_path)
    for arm, value in (("alpha", 0.9), ("beta", 0.8)):
        house.record(root, arm=arm, recipe_hash="any", metrics={"probe/top1": value, "loss": 1.0})
    report.write(root, root / "results", house.papers(root))
    assert "| Alpha: 0.900 | Beta: 0.800 | +0.100 | **not run** |" in (root / "results/README.md").read_text()
    assert (root / "results/figures/forest.svg").exists()


def test_a_lower_is_better_claim_points_right_when_it_wins(root: Path) -> None:
    (alpha,) = [paper for paper in house.papers(root) if paper.records]
    accuracy, loss = report.differences(alpha)
    assert accuracy.difference.mean == pytest.approx(0.1)
    assert (loss.difference.mean, loss.difference.low) == (pytest.approx(-1.0), pytest.approx(-1.0))
