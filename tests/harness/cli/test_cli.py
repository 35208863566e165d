import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from data import sources
from harness import cli, files
from harness.cli import commands
from harness.cli.parser import _with_options, build_parser, subcommands
from harness.cli.places import kept_in, logs_of, results_of
from harness.recipes import catalog
from harness.recipes.catalog import REPOSITORY
from harness.recipes.options import check_options, recipe_named, spelled_out
from harness.recipes.written import full_recipes
from harness.running.change import choose
from harness.running.knobs import check_sets, read_sets
from tests.harness import house

Capture = pytest.CaptureFixture[str]


def papers(root: Path, capsys: Capture, *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = cli.main(arguments, root)
    return code, *capsys.readouterr()


def test_list_shows_verdicts_and_filters(root: Path, capsys: Capture) -> None:
    code, out, _ = papers(root, capsys, "list")
    assert code == 0
    found = "alpha  toys    2020  reproduced  1 reproduced, 1 contradicted, 1 holds  coins      Alpha: a | paper"
    assert found in out
    assert "beta" in out
    by_words = "PAPER alph --modality image --verdict holds"
    filters = ["--verdict holds", "--benchmark coins", "--verdict reproduced --family toys", by_words]
    for option in (one.split() for one in filters):
        _, out, _ = papers(root, capsys, "list", *option)
        assert "alpha" in out and "beta" not in out, option
    assert papers(root, capsys, "list", "--verdict", "violated")[1].splitlines()[1:] == []


def test_list_for_programs(root: Path, capsys: Capture) -> None:
    first, second = json.loads(papers(root, capsys, "list", "--json")[1])
    assert first == {
        "paper": "alpha",
        "family": "toys",
        "year": 2020,
        "verdict": "reproduced",
        "verdicts": {"reproduced": 1, "contradicted": 1, "holds": 1},
        "benchmarks": ["coins"],
        "modalities": first["modalities"],
        "title": "Alpha: a | paper",
        "surveyed": True,
    }
    assert second["paper"] == "beta" and second["verdict"] is None
    assert json.loads(papers(root, capsys, "list", "--json", "no such words")[1]) == []
    sources = json.loads(papers(root, capsys, "data", "list", "--json")[1])
    assert {"name": "mnist5k", "client": "pip"}.items() <= next(s for s in sources if s["name"] == "mnist5k").items()


def test_pages_open_in_the_browser(root: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda address: bool(opened.append(address)) or len(opened) < 4)
    papers(root, capsys, "report")
    assert papers(root, capsys, "show", "alpha", "--open")[0] == 0
    built = root / "build/site/html/papers/toys/alpha.html"
    house.write(built, "")
    assert papers(root, capsys, "show", "alpha", "--open")[0] == 0
    assert papers(root, capsys, "report", "--open")[0] == 0
    places = [root / "papers/toys/alpha/README.md", built, root / "results/README.md"]
    assert opened == [place.resolve().as_uri() for place in places]
    code, _, err = papers(root, capsys, "show", "alpha", "--open")
    assert code == 2 and "no browser was found; the page is " in err


def test_list_names(root: Path, capsys: Capture) -> None:
    assert papers(root, capsys, "list", "--names")[1] == "alpha\nbeta\n"
    assert papers(root, capsys, "list", "--names", "--verdict", "holds")[1] == "alpha\n"
    assert papers(root, capsys, "list", "--names", "--by", "family")[1] == "toys\n"
    assert papers(root, capsys, "list", "--names", "--by", "benchmark")[1] == "coins\n"


def test_show(root: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    code, out, _ = papers(root, capsys, "show", "alpha")
    assert code == 0
    for part in (
        "Coins are alike.",
        "Table 2",
        "top-1 (%), Coins-1M: Alpha 91.5, Beta 90 (Table 2)",
        "  reproduced: Alpha beats Beta (primary)\n    probe/top1: Alpha 0.920 against Beta 0.820.\n",
        "    Difference +0.100 [+0.089, +0.111] over 5 seeds, margin 0.010, item SE 0.0087, p < 0.0001.\n",
        "    Metrics that go the other way: loss +1.000 [+1.000, +1.000].\n",
        "  holds: The bound is kept\n    Largest deviation 2e-09 of 1e-06 allowed (eq. 4); 2 seeds.\n",
        "papers rerun alpha --experiment main",
        "papers fit alpha --config mini.yaml",
    ):
        assert part in out


def test_bare_names_of_a_paper(root: Path, capsys: Capture) -> None:
    assert papers(root, capsys, "show", "alpha", "--names", "experiment")[1] == "main\nbound\n"
    assert papers(root, capsys, "show", "alpha", "--names", "recipe")[1] == "mini\n"


def test_compare(root: Path, capsys: Capture) -> None:
    code, out, _ = papers(root, capsys, "compare", "--benchmark", "coins")
    assert code == 0
    lines = [line.split() for line in out.splitlines()[2:]]
    assert [line[:3] for line in lines[:2]] == [["1", "1", "Alpha"], ["2", "2", "Beta"]]
    assert lines[2][:2] == ["chance", "floor"]


def test_a_ranking_for_programs_and_as_a_picture(root: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    code, out, err = papers(root, capsys, "compare", "--benchmark", "coins", "--json", "--plot", "ranking.svg")
    first, second, floor = json.loads(out)
    assert code == 0 and "drawn: ranking.svg" in err
    assert first["ranks"] == [1, 1] and first["values"] == {str(seed): v for seed, v in enumerate(house.ALPHA)}
    assert second["label"] == "Beta" and floor == floor | {"label": "chance", "mean": 0.5, "low": None}
    drawn = (root / "ranking.svg").read_text()
    assert all(word in drawn for word in ("Alpha", "Beta", "chance", "coins: probe/top1"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show", "alpa"], "unknown paper 'alpa'; did you mean alpha?"),
        (["show", "ALPHA"], "unknown paper 'ALPHA'; did you mean alpha?"),
        (["rerun", "alpha", "gamma"], "unknown paper 'gamma'"),
        (["rerun", "beta"], "beta has no experiments of its own"),
        (["rerun"], "which papers? name them, or say --all"),
        (["rerun", "--all", "alpha"], "--all is all that the cards have, in mini recipes: no SLUG"),
        (["rerun", "--all", "--set", "model.lr=1"], "--set and --keys are for one paper's arm: name the paper"),
        (["rerun", "alpha", "--cluster", "10.0.0.1"], "--cluster"),
        (["rerun", "alpha", "--experiment", "mian"], "alpha has no experiment 'mian' (did you mean 'main'?)"),
        (["rerun", "alpha", "--seeds", "0"], "argument --seeds: '0' is not a whole number from 1 to 1000"),
        (["rerun", "alpha", "--recipe", "huge"], "argument --recipe: invalid choice: 'huge'"),
        (["compare", "--benchmark", "coin"], "unknown benchmark 'coin' (did you mean 'coins'?); there are: "),
        (["compare", "--benchmark", "coins", "--metric", "top9"], "there are: loss, probe/top1"),
        (
            ["compare", "--benchmark", "coins", "--plot", "ranking.pdf"],
            "--plot is 'ranking.pdf'; it must be the name of",
        ),
        (["list", "--modality", "smell"], "unknown modality 'smell'; there are: "),
        (["list", "--family", "toy"], "unknown family 'toy' (did you mean 'toys'?); there are: toys"),
        (
            ["list", "--verdict", "maybe"],
            "there are: contradicted, holds, no difference, no test, not run, reproduced, undecided, violated",
        ),
        (["new", "My-Method", "--like", "alpha"], "'My-Method' cannot name a paper"),
        (["new", "alpha", "--like", "alpha"], "'alpha' is taken already"),
        (["new", "mine", "--like", "alhpa"], "unknown paper 'alhpa'"),
        (["data", "fetch"], "names of sources, or --all"),
        (["data", "fetch", "no_such_source"], "no_such_source"),
        (["fit", "alpha", "--model.temprature", "1"], "model.temprature (did you mean 'temperature'?)"),
        (["fit", "alpha", "--model.temperature", "warm"], "model.temperature is 'warm'; it must be a number"),
        (["fit", "alpha", "--config", "huge.yaml"], "huge.yaml"),
        (["frobnicate"], "invalid choice: 'frobnicate'"),
    ],
)
def test_a_wrong_request_gives_one_line_and_2(root: Path, capsys: Capture, arguments: list[str], said: str) -> None:
    code, out, err = papers(root, capsys, *arguments)
    assert (code, out) == (2, "")
    (line,) = [line for line in err.splitlines() if line.startswith("papers: ")]
    assert said in line


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_no_permission_by_mode(root: Path, capsys: Capture) -> None:
    (root / "results/runs").chmod(0o500)
    (root / "results/runs/alpha.jsonl").chmod(0o400)
    code, _, err = papers(root, capsys, "rerun", "alpha")
    assert code == 2 and "cannot be written: Permission denied" in err


def test_results_that_cannot_be_written(root: Path, capsys: Capture) -> None:
    house.write(root / "file", "in the way")
    code, _, err = papers(root, capsys, "rerun", "alpha", "--results", str(root / "file"))
    assert code == 2 and len(err.splitlines()) == 1 and "cannot be written" in err


def test_a_package_is_never_written_into(
    root: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where only the package is installed, records go into the folder that one works in."""
    monkeypatch.setattr(files, "HOME", root)
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path / "mine")
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    code, out, err = papers(root, capsys, "rerun", "alpha", "--experiment", "bound", "--seeds", "1", "--dry-run")
    assert code == 0 and "0 on record, 1 to run" in out, "what came with the package is no record of one's own"
    assert err == "papers: records are kept in results/runs; those that came with the package stay as they are\n"
    given = argparse.Namespace(root=root, results=None)
    assert (kept_in(given), logs_of(given)) == (Path.cwd() / "results", Path.cwd() / "logs")
    assert results_of(given) == root / "results", "what is read and compared with"
    for words in (["report"], ["new", "mine", "--like", "alpha"], ["migrate", "--from", "."], ["data", "page"]):
        code, _, err = papers(root, capsys, *words)
        said = "data page" if words[0] == "data" else words[0]
        assert code == 2 and err.startswith(f"papers: papers {said} writes into a checkout of the repository")
    after = {path: path.read_bytes() for path in root.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert after == before


def test_a_faulty_card_names_file_and_line(root: Path, capsys: Capture) -> None:
    card = root / "papers/toys/alpha/paper.yaml"
    card.write_text(card.read_text().replace("idea:", "idee:"))
    code, _, err = papers(root, capsys, "show", "alpha")
    assert code == 2 and err.startswith("papers: papers/toys/alpha/paper.yaml:11: unknown field 'idee'")


def test_a_broken_record_is_told_and_the_rest_is_read(root: Path, capsys: Capture) -> None:
    with (root / "results/runs/alpha.jsonl").open("a") as file:
        file.write('{"paper": "alp')
    code, out, err = papers(root, capsys, "list")
    assert code == 0 and "1 reproduced" in out
    assert "alpha.jsonl:18: skipped a broken record" in err


def test_all_papers_are_those_that_have_experiments(
    root: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(root))
    monkeypatch.setattr(sys, "argv", ["papers"])
    code, out, _ = papers(root, capsys, "rerun", "--all", "--dry-run")
    assert code == 0 and "alpha/main (mini.yaml): 15 on record, 0 to run" in out and "beta/" not in out


def test_rerun_of_what_is_on_record_runs_nothing_and_concludes(root: Path, capsys: Capture) -> None:
    code, out, _ = papers(root, capsys, "rerun", "alpha", "--experiment", "bound")
    assert code == 0
    assert "2 on record, 0 to run" in out
    assert "holds: The bound is kept" in out
    assert "Alpha beats Beta" not in out
    assert f"Table:  {root / 'papers/toys/alpha/README.md'}\nFigure: {root / 'results/figures/alpha.svg'}\n" in out
    assert "**holds**" in (root / "papers/toys/alpha/README.md").read_text()
    assert (root / "results/figures/alpha.svg").exists() and not (root / "results/README.md").exists()


def test_report_of_some(root: Path, capsys: Capture) -> None:
    assert papers(root, capsys, "report", "alpha")[0] == 0
    assert (root / "results/figures/alpha.svg").exists() and not (root / "results/families").exists()
    assert papers(root, capsys, "report", "--family", "toys")[0] == 0
    assert (root / "results/families/toys.md").exists() and not (root / "results/README.md").exists()
    assert papers(root, capsys, "report", "alhpa")[0] == 2
    code, _, err = papers(root, capsys, "report", "--family", "toy")
    assert code == 2 and "unknown family 'toy' (did you mean 'toys'?); there are: toys" in err


def test_rerun_into_another_folder_starts_afresh_and_leaves_the_records(root: Path, capsys: Capture) -> None:
    before = (root / "results/runs/alpha.jsonl").read_bytes()
    other = root / "elsewhere"
    arguments = ("rerun", "alpha", "--experiment", "bound", "--seeds", "1", "--results", str(other))
    code, out, _ = papers(root, capsys, *arguments, "--dry-run")
    assert code == 0 and "0 on record, 1 to run" in out and not other.exists()
    assert "time with 2 workers: about 20 s" in papers(root, capsys, *arguments, "--dry-run", "--workers", "2")[1]
    code, out, err = papers(root, capsys, *arguments, "--workers", "1")
    assert code == 0, err
    assert "The bound is kept" in out and "holds" in out
    assert "The verdicts of alpha on record: " in out and not (root / "logs").exists() and (other / "logs").exists()
    assert (other / "runs/alpha.jsonl").exists() and "**holds**" in (other / "families/toys.md").read_text()
    assert "**holds**" not in (root / "papers/toys/alpha/README.md").read_text()
    assert (root / "results/runs/alpha.jsonl").read_bytes() == before


def test_interrupt_exits_with_130(root: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "list_papers", interrupted)
    monkeypatch.setattr(commands, "rerun", interrupted)
    assert papers(root, capsys, "list")[::2] == (130, "papers: interrupted\n")
    assert papers(root, capsys, "rerun", "alpha")[::2] == (130, "papers: interrupted; finished runs are on record\n")


def test_help_teaches_by_example(capsys: Capture) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["--help"])
    assert stop.value.code == 0 and "papers rerun simcse --workers 2" in capsys.readouterr().out
    for command in subcommands(build_parser()).values():
        plain = command.prog.split()[-1] in ("report", "verify", "schema")
        assert plain or (command.epilog and "papers " in command.epilog)


def examples() -> list[str]:
    """Every example of the help and every command of the front page and the guides."""
    parser = build_parser()
    texts = [parser.epilog, *(command.epilog or "" for command in subcommands(parser).values())]
    found = [
        line.strip().split("  ")[0] for text in texts for line in text.splitlines() if line.startswith("  papers ")
    ]
    for page in (REPOSITORY / "README.md", *sorted(REPOSITORY.glob("docs/**/*.md"))):
        lines = page.read_text().splitlines()
        found += [line.partition("#")[0].strip() for line in lines if line.startswith("papers ")]
    return found


def test_every_example_is_right(capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What reads is run; of the rest, the names of papers, experiments, options and sources are looked at."""
    # Whether a logger is installed is the machine's affair.
    monkeypatch.setattr("harness.recipes.early.LOGGERS", {})
    monkeypatch.chdir(tmp_path)
    Path("FILE").touch()  # what stands for a checkpoint
    parser = build_parser()
    assert len(examples()) > 30
    made = set()  # papers that an example has just begun
    for example in examples():
        words = example.partition(" | ")[0].split()[1:]
        if words[1:2] == ["$(papers"]:
            words = [*words[2:-1], words[-1].rstrip(")")]
        given, options = _with_options(parser, words)
        if given.command in ("list", "show", "completion", "schema") or words[:2] == ["data", "list"]:
            monkeypatch.setattr("webbrowser.open", lambda address: True)
            assert cli.main(words) == 0, example
        elif given.command in ("fit", "validate", "test"):
            check_options(catalog.find(given.slug), spelled_out(recipe_named(given.overrides)))
        elif given.command == "embed":
            data = ["--data", given.data] if given.data else []
            check_options(catalog.find(given.slug), spelled_out([*data, *options]), trains=False)
        elif given.command == "export":
            assert catalog.find(given.slug)
        elif given.command == "rerun":
            for card in (catalog.find(slug) for slug in given.slugs if slug not in made):
                assert given.experiment is None or card.experiment(given.experiment)
                assert given.recipe == "mini" or full_recipes(card)
                if given.set:
                    check_sets(choose(card, given.experiment, given.arm).config, read_sets(given.set), card.root)
        elif given.command == "compare" and given.benchmark:
            assert cli.main(["list", "--benchmark", given.benchmark]) == 0, example
        elif given.command == "new":
            assert catalog.find(given.like)
            made.add(given.slug)
        elif given.command == "data":
            assert set(given.sources) <= set(sources.catalog())
        capsys.readouterr()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_commands_options_and_slugs(shell: str, capsys: Capture) -> None:
    assert cli.main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(word in script for word in ("rerun", "dry-run", "papers list --names"))


def test_bash_completes(root: Path, tmp_path: Path, capsys: Capture) -> None:
    cli.main(["completion", "bash"])
    script = capsys.readouterr().out
    fake = tmp_path / "bin/papers"
    house.write(fake, "#!/bin/sh\necho alpha beta\n")
    fake.chmod(0o755)

    def complete(*words: str) -> set[str]:
        line = " ".join(f"'{word}'" for word in words)
        code = f'{script}\nCOMP_WORDS=({line})\nCOMP_CWORD={len(words) - 1}\n_papers\necho "${{COMPREPLY[@]}}"\n'
        environment = {**os.environ, "PATH": f"{fake.parent}:{os.environ['PATH']}"}
        run = subprocess.run(["bash", "-c", code], env=environment, capture_output=True, text=True, check=True)
        return set(run.stdout.split())

    assert complete("papers", "re") == {"rerun", "report"}
    assert complete("papers", "show", "al") == {"alpha"}
    assert complete("papers", "rerun", "alpha", "--re") == {"--recipe", "--results"}
    assert complete("papers", "rerun", "alpha", "--recipe", "") == {"mini", "full"}
    house.write(fake, '#!/bin/sh\necho "$1.$2$3$4"\n')
    assert complete("papers", "rerun", "alpha", "--set", "") == {"rerun.alpha--keys"}
    assert complete("papers", "rerun", "alpha", "--experiment", "") == {"show.alpha--namesexperiment"}
    assert complete("papers", "fit", "alpha", "--recipe", "") == {"show.alpha--namesrecipe"}


@pytest.mark.skipif(shutil.which("fish") is None, reason="no fish here")
def test_fish_completes(tmp_path: Path, capsys: Capture) -> None:
    cli.main(["completion", "fish"])
    house.write(tmp_path / "papers.fish", capsys.readouterr().out)
    house.write(tmp_path / "bin/papers", '#!/bin/sh\necho "$1.$2$3$4"\n')
    (tmp_path / "bin/papers").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    for line, words in (
        ("papers re", {"rerun", "report"}),
        ("papers rerun alpha --re", {"--recipe", "--results"}),
        ("papers rerun alpha --recipe ", {"mini", "full"}),
        ("papers rerun alpha --set ", {"rerun.alpha--keys"}),
        ("papers rerun alpha --experiment ", {"show.alpha--namesexperiment"}),
        ("papers fit alpha --recipe ", {"show.alpha--namesrecipe"}),
        ("papers show ", {"list.--names"}),
    ):
        code = f"source {tmp_path / 'papers.fish'}; complete -C '{line}'"
        run = subprocess.run(["fish", "--no-config", "-c", code], env=environment, capture_output=True, text=True)
        found = {one.split("\t")[0] for one in run.stdout.splitlines()}
        assert words <= found and ("alpha" in line or len(words) == len(found)), (line, found, run.stderr)


@pytest.mark.parametrize(
    "command",
    ["--help", "list", "list --names", "completion bash", "data list", "rerun --help", "rerun supcon --keys"],
)
def test_light_commands_load_no_heavy_library(command: str) -> None:
    program = (
        "import sys\nfrom harness.cli import main\n"
        "try:\n    code = main(sys.argv[1:])\nexcept SystemExit as stop:\n    code = stop.code\n"
        "heavy = {'torch', 'lightning', 'matplotlib', 'jsonargparse', 'jinja2', 'scipy.stats'} & set(sys.modules)\n"
        "assert not code and not heavy, (code, heavy)"
    )
    words = [sys.executable, "-c", program, *command.split()]
    run = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_a_closed_pipe_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    words = [sys.executable, "-m", "harness.cli", "data", "list"]
    run = subprocess.run(words, cwd=REPOSITORY, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (run.returncode, run.stderr) == (0, "")
