import dataclasses
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from common.errors import UserError
from common.experiments.card import untrained
from harness.pages import figures, report
from harness.records.standing import Standing
from tests.harness import house

BOTH = ["papers/toys/alpha/README.md", "results/families/toys.md"]


def written(root: Path) -> dict[str, bytes]:
    names = ["README.md", "CITATION.cff", "papers/toys/alpha/README.md", "results/README.md", "results/benchmarks.md"]
    files = [*(root / name for name in names), *report.generated(root / "results")]
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def write(root: Path, **only: object) -> list[str]:
    changed = report.write(root, root / "results", house.papers(root), **only)
    return [str(path.relative_to(root)) for path in changed]


def alpha(root: Path) -> Standing:
    return next(paper for paper in house.papers(root) if paper.card.slug == "alpha")


@pytest.mark.parametrize("page", BOTH)
def test_a_page_says_what_the_records_say(root: Path, page: str) -> None:
    write(root)
    text = (root / page).read_text()
    # By hand: differences 0.10, 0.09, 0.11, 0.10, 0.10; t(4, 0.9875) = 3.4954, standard error sqrt(0.00005 / 5). The
    # margin is 2% of what is left above chance, 1 - 0.5. Runs get the first items right, so that a tenth of the 1,000
    # differ; averaged over seeds the items' differences have a standard deviation of 0.275.
    assert (
        "- **reproduced**: Alpha beats Beta (primary)\n"
        "  - `probe/top1`: Alpha 0.920 against Beta 0.820.\n"
        "  - Difference +0.100 [+0.089, +0.111] over 5 seeds, margin 0.010, item SE 0.0087, p < 0.0001.\n"
        "  - No tuning is on record.\n"
        "  - Published: 91.5 vs 90 top-1 (%), Coins-1M ([Table 2](https://example.org)).\n"
    ) in text
    assert "- **contradicted**: Alpha has the lower loss\n  - `loss`, lower is better: Alpha 2.200 against" in text
    assert "Difference +1.000 [+1.000, +1.000] over 5 seeds, margin 0.050, item SE 0.000, p < 0.0001." in text
    assert "- **holds**: The bound is kept\n  - Largest deviation 2e-09 of 1e-06 allowed (eq. 4); 2 seeds." in text
    assert "Metrics of the central comparison that go the other way:\n\n- `loss` +1.000 [+1.000, +1.000]\n" in text
    assert "papers rerun alpha --experiment main  # 15 runs, 5 min on cpu; 2026-01-02, commit 01234567" in text


def test_the_front_page_lists_what_is_here_and_what_is_not_yet(root: Path) -> None:
    front = root / "README.md"
    front.write_text(front.read_text() + "\n<!-- papers: generated -->\n<!-- /papers -->\n")
    lines = "alpha,toys,2020,Alpha: a | paper\nomega,toys,2021,Omega\nother,games,2022,Other\n"
    house.write(root / "papers/survey.csv", f"slug,family,year,title\n{lines}")
    write(root)
    text = front.read_text()
    assert "| **toys** | | | |\n| [alpha](papers/toys/alpha) | Alpha: a \\| paper | 2020 | reproduced |\n" in text
    assert (
        "without a record yet: 2 papers" in text and "- **games**: Other (2022).\n\n- **toys**: Omega (2021).\n" in text
    )
    drawn = (root / "results/overview.svg").read_text()
    assert all(word in drawn for word in ("toys", "games", "reproduced or holds", "no record yet"))


def test_the_overview_has_a_mark_for_each_paper() -> None:
    found = {"toys": ["contradicted", "holds", "reproduced"], "games": []}
    figure = figures.overview(found, {"toys": 1, "games": 2})
    drawn = [line for line in figure.axes[0].lines if len(line.get_xdata())]
    marks = [(line.get_xdata()[0], line.get_ydata()[0], line.get_marker()) for line in drawn]
    assert marks == [(0, 0, "o"), (1, 0, "o"), (2, 0, "X"), (3, 0, "o"), (0, 1, "o"), (1, 1, "o")]
    figure.canvas.draw()
    assert figure.bbox.x1 >= figure.legends[0].get_window_extent().x1
    wide = figures.overview({"toys": ["holds"] * 40}, {})
    assert wide.axes[0].get_xlim()[1] > 40, "the row of the largest family has room"


def test_totals_list_the_central_claims(root: Path) -> None:
    write(root)
    text = (root / "results/README.md").read_text()
    assert (
        "| [alpha](../papers/toys/alpha) | Alpha beats Beta (`probe/top1`) | 5 | +0.100 [+0.089, +0.111] | 0.010 "
        "| 0.014 | 0.0087 | **reproduced** | < 0.0001 |"
    ) in text
    central, others = text.split("## All claims")
    assert "| **all** | **1** | **1** |\n" in central and "| **all** | **1** | **1** | **1** | **1** |" in others
    assert "[toys](families/toys.md)" in text
    assert "| 1 | Alpha | alpha | 0.920 (0.016) | 5 |" in (root / "results/benchmarks.md").read_text()


def test_a_family_page_lists_its_papers(root: Path) -> None:
    write(root)
    text = (root / "results/families/toys.md").read_text()
    assert "## [Alpha: a | paper](../../papers/toys/alpha) (NeurIPS 2020)" in text and "](toys.svg)" in text
    assert "(../../docs/guides/evidence.md#the-rule)" in text


def test_q_values_are_benjamini_and_hochbergs_over_all_central_claims(root: Path) -> None:
    paper = alpha(root)
    trial = paper.trials[0]
    claim = trial.results[0]

    def with_p(p: float, **changes: object) -> Standing:
        result = dataclasses.replace(claim, p=p, **changes)
        card = dataclasses.replace(paper.card, slug=f"alpha{p}")
        return dataclasses.replace(paper, card=card, trials=(dataclasses.replace(trial, results=(result,)),))

    # Corrected for two looks: 0.01, 0.02, 0.06 and 1; of a claim without a test there is none.
    papers = [with_p(p) for p in (0.03, 0.005, 0.6, 0.01)]
    papers.append(with_p(0.001, verdict=report.Verdict.NO_TEST))
    rows = report.central(papers, root / "results")
    assert [row[-1] for row in rows] == ["0.08", "0.04", "1", "0.04", "—"]


def test_controls_are_listed_apart_and_not_counted(root: Path) -> None:
    card = root / "papers/toys/alpha/paper.yaml"
    card.write_text(card.read_text().replace("margin: 0.05}", "margin: 0.05, control: true}"))
    write(root)
    text = (root / BOTH[0]).read_text()
    assert "Controls of our own:\n\n- **contradicted**: Alpha has the lower loss (our control)" in text
    assert "contradicted" not in (root / "README.md").read_text()
    assert report.tally([alpha(root)]).total() == 2


def test_tuning_is_told_with_its_tries(root: Path) -> None:
    card = root / "papers/toys/alpha/paper.yaml"
    tuning = "    tuning: {metric: v, seeds: [100], knobs: {model.lr: [1, 2, 3]}, arms: [alpha, beta]}\n"
    card.write_text(card.read_text().replace("    arms:\n", tuning + "    arms:\n", 1))
    write(root)
    assert "Tuned on validation data: 3 tries each, not on record yet." in (root / BOTH[0]).read_text()
    house.write(root / "results/tuning/alpha.jsonl", "{}\n")
    write(root)
    assert "Tuned on validation data: 3 tries each." in (root / BOTH[0]).read_text()


def test_why_there_is_no_test_is_told(root: Path) -> None:
    for seed in range(5):
        arm = untrained("beta")
        house.record(root, arm=arm, seed=seed, metrics={"probe/top1": 0.82, "loss": 3.0}, recipe_hash="later")
    write(root)
    text = (root / BOTH[0]).read_text()
    assert "- **no test**: Alpha beats Beta (primary)\n" in text
    assert "The baseline does not beat its own untrained network (+0.000 [-0.022, +0.022])." in text
    assert "| **no test** | — |" in (root / "results/README.md").read_text()


def test_a_remark_needs_a_difference(root: Path) -> None:
    card = root / "papers/toys/alpha/paper.yaml"
    card.write_text(card.read_text().replace("margin: 0.05}", "margin: 0.05, remark: it learns slowly}"))
    assert alpha(root).faults == []
    write(root)
    assert "  - It learns slowly.\n" in (root / BOTH[0]).read_text()
    for seed, loss in enumerate((0.5, 1.5, 0.7, 1.6, 1.0)):
        house.record(root, seed=seed, metrics={"probe/top1": house.ALPHA[seed], "loss": loss + seed / 10})
    (fault,) = alpha(root).faults
    assert fault.startswith(
        "alpha/main: 'Alpha has the lower loss' has a remark, but its interval does not exclude zero"
    )
    write(root)
    assert "learns slowly" not in (root / BOTH[0]).read_text()


def test_a_claim_without_a_floor_must_state_its_margin(root: Path) -> None:
    card = root / "papers/toys/alpha/paper.yaml"
    card.write_text(card.read_text().replace(", margin: 0.05}", "}"))
    assert alpha(root).faults == [
        "alpha/main: 'Alpha has the lower loss': no floor of loss is on record, so the claim must state its 'margin'"
    ]


def test_blocks_are_filled_and_the_rest_is_kept(root: Path) -> None:
    write(root)
    page = (root / "papers/toys/alpha/README.md").read_text()
    assert page.startswith("# Alpha\n\nProse that tells of Alpha.\n") and "**reproduced**" in page
    assert "../../../results/figures/alpha.svg" in page
    front = (root / "README.md").read_text()
    assert "| toys | 1 | 1 |" in front
    assert "The papers' other claims and properties: 1 contradicted, 1 holds." in front


def test_writing_twice_gives_the_same_bytes(root: Path) -> None:
    write(root)
    first = written(root)
    assert write(root) == []
    shutil.rmtree(root / "results/figures")
    shutil.rmtree(root / "results/families")
    (root / "results/README.md").unlink()
    write(root)
    assert written(root) == first


def test_pages_and_figures_without_records_are_removed(root: Path) -> None:
    strays = ["results/figures/gone.svg", "results/families/gone.md"]
    for name in strays:
        house.write(root / name, "gone")
    assert set(strays) <= set(write(root))
    assert not any((root / name).exists() for name in strays)


def test_a_paper_alone_touches_nothing_that_others_share(root: Path) -> None:
    assert write(root, slugs=["alpha"]) == ["papers/toys/alpha/README.md", "results/figures/alpha.svg"]
    assert write(root, family="toys") == ["results/families/toys.md", "results/families/toys.svg"]
    shared = ["results/README.md", "results/benchmarks.md", "results/overview.svg", "README.md", "CITATION.cff"]
    assert write(root) == shared


def test_papers_added_on_two_branches_merge_without_a_conflict(root: Path) -> None:
    def git(*arguments: str) -> None:
        identity = ("-c", "user.name=A", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *identity, *arguments], cwd=root, check=True, capture_output=True)

    def add(slug: str) -> None:
        shutil.copytree(root / "papers/toys/alpha", root / "papers/toys" / slug)
        for path in (root / "papers/toys" / slug).iterdir():
            path.write_text(path.read_text().replace("slug: alpha", f"slug: {slug}"))
        for kind in ("runs", "items"):
            text = (root / f"results/{kind}/alpha.jsonl").read_text()
            (root / f"results/{kind}/{slug}.jsonl").write_text(text.replace('"paper": "alpha"', f'"paper": "{slug}"'))
        write(root, slugs=[slug])
        git("add", "-A")
        git("commit", "-qm", slug)

    write(root)
    git("init", "-qb", "main")
    git("add", "-A")
    git("commit", "-qm", "house")
    for slug in ("gamma", "delta"):
        git("switch", "-qc", slug, "main")
        add(slug)
    git("switch", "-q", "main")
    git("merge", "-q", "gamma")
    git("merge", "-q", "delta")
    write(root)
    text = (root / "results/README.md").read_text()
    assert all(f"[{slug}](../papers/toys/{slug})" in text for slug in ("alpha", "gamma", "delta"))


def test_nothing_on_record(tmp_path: Path) -> None:
    root = house.build(tmp_path)
    write(root)
    assert "Nothing is on record yet." in (root / "results/README.md").read_text()
    assert "papers rerun alpha --experiment main" in (root / "papers/toys/alpha/README.md").read_text()
    assert not (root / "results/figures").exists()


def test_a_page_without_a_place_for_the_results(root: Path) -> None:
    house.write(root / "papers/toys/alpha/README.md", "# Alpha\n")
    with pytest.raises(UserError, match=r"alpha/README.md: has no block for the results; add .*<!-- /results -->"):
        write(root)


def test_one_seed_shows_its_numbers_and_no_verdict(tmp_path: Path) -> None:
    root = house.build(tmp_path)
    for arm, value in (("alpha", 0.9), ("beta", 0.8)):
        house.record(root, arm=arm, recipe_hash="any", metrics={"probe/top1": value, "loss": 1.0})
    write(root)
    text = (root / BOTH[0]).read_text()
    assert (
        "- **not run**: Alpha beats Beta (primary)\n"
        "  - `probe/top1`: Alpha 0.900 against Beta 0.800.\n"
        "  - Difference +0.100 over 1 seed.\n"
        "  - A verdict takes seeds 0 to 4 of both arms. No tuning is on record.\n"
    ) in text
    assert (root / "results/families/toys.svg").exists()


def test_a_lower_is_better_claim_points_right_when_it_wins(root: Path) -> None:
    accuracy, loss = report.differences(alpha(root))
    assert accuracy.difference.mean == pytest.approx(0.1)
    assert (accuracy.margin, loss.margin) == (pytest.approx(0.01), 0.05)
    assert (loss.difference.mean, loss.difference.low) == (pytest.approx(-1.0), pytest.approx(-1.0))
    assert loss.values == pytest.approx([-1.0] * 5)


def test_a_metric_that_only_describes_goes_no_way(root: Path) -> None:
    path = root / "results/runs/alpha.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        if line["experiment"] == "main":
            of_alpha = line["arm"] == "alpha"
            line["metrics"] |= {"modality_gap": 0.1 if of_alpha else 0.2, "knn/top1": 0.1 if of_alpha else 0.2}
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert list(report.opposing(alpha(root))) == ["loss", "knn/top1"]
