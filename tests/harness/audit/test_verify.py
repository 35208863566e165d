from pathlib import Path

import pytest

from harness.cli import main
from tests.harness import house


def verify(root: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    capsys.readouterr()
    return main(["verify"], root), capsys.readouterr().out


def test_verify_is_green_after_report(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report"], root) == 0
    assert verify(root, capsys) == (0, "cards, recipes, records, tables and figures agree\n")


@pytest.mark.parametrize(
    ("path", "old", "new", "said"),
    [
        ("results/README.md", "0.100", "0.200", "results/README.md: is out of date"),
        ("results/benchmarks.md", "0.920", "0.960", "results/benchmarks.md: is out of date"),
        ("results/families/toys.md", "0.920", "0.960", "results/families/toys.md: is out of date"),
        ("results/families/toys.svg", "+0.100", "+0.200", "results/families/toys.svg: is out of date"),
        ("results/figures/alpha.svg", "+0.100", "+0.200", "results/figures/alpha.svg: is out of date"),
        ("README.md", "**1**", "**2**", "README.md: is out of date"),
        ("papers/toys/alpha/README.md", "+0.100", "+0.200", "papers/toys/alpha/README.md: is out of date"),
        ("CITATION.cff", "Ada", "Eda", "CITATION.cff: is out of date"),
        (
            "papers/toys/alpha/mini.yaml",
            "temperature: 0.1",
            "temperature: 0.2",
            "mini.yaml for the arm 'alpha' changed",
        ),
        ("papers/toys/alpha/paper.yaml", "    source: Table 2\n", "", "paper.yaml:14: the field 'source' is missing"),
        ("papers/toys/alpha/paper.yaml", "beta: {label", "gamma: {label", "'baseline' names the unknown arm"),
        ("results/runs/alpha.jsonl", '"seed": 1', '"seed": 1,', "results/runs/alpha.jsonl:2: skipped a broken record"),
        ("toyhouse.py", "def bound(seed", "def bound(seed_", "alpha/bound: toyhouse:bound changed since its records"),
    ],
)
def test_verify_names_what_differs(
    root: Path, capsys: pytest.CaptureFixture[str], path: str, old: str, new: str, said: str
) -> None:
    assert main(["report"], root) == 0
    text = (root / path).read_text()
    assert old in text
    (root / path).write_text(text.replace(old, new))
    code, out = verify(root, capsys)
    assert code == 1 and said in out, out


def test_verify_names_records_without_a_home(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report"], root) == 0
    house.record(root, paper="gone", recipe_hash="x")
    house.record(root, experiment="dropped", recipe_hash="x")
    house.record(root, arm="dropped", recipe_hash="x")
    _, out = verify(root, capsys)
    assert "results/runs/gone.jsonl: there is no paper 'gone'" in out
    assert "alpha/dropped: has records, but the card has no such experiment" in out
    assert "alpha/main: the arm 'dropped' has records, but the card has no such arm" in out


def test_verify_of_one_paper_looks_at_what_is_made_of_it_alone(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "alpha"], root) == 0
    capsys.readouterr()
    assert main(["verify", "alpha"], root) == 0, capsys.readouterr().out
    assert main(["verify"], root) == 1, "totals are missing"
    page = root / "papers/toys/alpha/README.md"
    page.write_text(page.read_text().replace("+0.100", "+0.200"))
    assert main(["verify", "alpha"], root) == 1
    assert main(["verify", "beta"], root) == 0
    assert main(["verify", "alhpa"], root) == 2


def test_verify_names_runs_above_their_budget(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = root / "papers/toys/alpha/mini.yaml"
    recipe.write_text("budget_s: 17\n" + recipe.read_text())
    house.record(root, arm="alpha", seed=0, cpu_seconds=151.0, metrics={"probe/top1": 0.9, "loss": 2.0})
    _, out = verify(root, capsys)
    assert "alpha/main alpha: a run takes 18 CPU seconds; its budget is 17" in out
    recipe.write_text(recipe.read_text().replace("17", "20"))
    _, out = verify(root, capsys)
    assert "alpha/main alpha: a run took 151 CPU seconds; 150 is the most" in out
    assert "alpha/main beta" not in out and "its table takes" not in out
    for seed in range(5):
        house.record(root, arm="beta", seed=seed, cpu_seconds=610.0, metrics={"probe/top1": 0.8, "loss": 1.0})
    assert "alpha: its table takes 54 CPU minutes; 50 is the most" in verify(root, capsys)[1]


def test_what_another_paper_has_trained_is_not_counted_again(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if the arm `beta` were of the module of the paper beta, which has the same training on record.
    module = {"model": {"class_path": "papers.toys.beta.module.Other"}}
    monkeypatch.setattr("harness.audit.verify.arm_config", lambda card, experiment, arm: module)
    for seed in range(5):
        house.record(root, arm="beta", seed=seed, cpu_seconds=610.0, metrics={"probe/top1": 0.8, "loss": 1.0})
    assert "alpha: its table takes 54 CPU minutes" in verify(root, capsys)[1]
    hashed = house.today(root, "main", "beta")
    house.record(root, paper="beta", arm="beta", seed=0, recipe_hash=hashed, metrics={"probe/top1": 0.8, "loss": 1.0})
    assert "its table takes" not in verify(root, capsys)[1]
