"""Data of one's own on the command line: two papers of each kind are trained, tested, and compared with a floor."""

from pathlib import Path

import pytest

from harness.cli import main
from harness.recipes.catalog import own_benchmarks
from tests.data.benchmarks import own_files

BRIEF = ["--trainer.max_steps", "3", "--trainer.enable_progress_bar", "false",
         "--trainer.enable_model_summary", "false", "--trainer.default_root_dir", "logs"]  # fmt: skip
SMALL_SPEECH = ["--model.width", "32", "--model.layers", "2", "--model.feedforward", "32"]
KINDS = {
    "ImageFolder": ("pictures", lambda: own_files.pictures(Path("pictures"), 60), ("simclr", "supcon"),
                    ["--model.channels", "3"]),
    "ImageText": ("captions.csv", lambda: own_files.captions(Path("captions.csv"), 250, 2), ("clip", "siglip"), []),
    "TextPairs": ("pairs.jsonl", lambda: own_files.pairs(Path("pairs.jsonl"), 2000), ("simcse", "gradcache"),
                  ["--data.batch_size", "16"]),
    "Retrieval": ("beir", lambda: own_files.beir(Path("beir"), 150, 60), ("simcse", "gradcache"),
                  ["--data.batch_size", "16"]),
    "AudioText": ("speech.csv", lambda: own_files.sounds(Path("speech.csv"), 100), ("data2vec_aqc", "const"),
                  ["--data.batch_size", "8"]),
}  # fmt: skip


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTRASTIVE_PAPERS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def test_every_kind_is_tried_here() -> None:
    assert set(own_benchmarks()) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_two_papers_are_trained_tested_and_compared(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    path, make, slugs, options = KINDS[kind]
    make()
    data = ["--data", kind, "--data.path", path]
    for slug in slugs:
        assert main(["fit", slug, *data, *options, *BRIEF]) == 0, capsys.readouterr().err
        test = ["test", slug, *data, *options, *BRIEF[2:], "--ckpt_path", "last"]
        assert main(test) == 0, capsys.readouterr().err
        assert f"compare it: papers compare {' '.join(data)}" in capsys.readouterr().out
    assert main(["compare", *data, "--logs", "logs"]) == 0
    title, _, *rows = capsys.readouterr().out.splitlines()
    assert f" {path}: " in title
    papers = [row for row in rows if not row.split()[-1].startswith("floor") and row.split()[0] in ("1", "2")]
    assert len(papers) == 2 and all(any(slug in row for row in papers) for slug in slugs)
    assert any("chance" in row and "floor" in row for row in rows)
    assert main(["compare", *data, "--logs", "logs", "--metric", "top9"]) == 2
    assert "nothing has the metric 'top9'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["compare", "--data", "TextPair"],
            "--data is 'TextPair' (did you mean 'TextPairs'?); it must be one of Audio",
        ),
        (["compare", "--data", "TextPairs", "--data.pth", "x"], "unknown option data.pth (did you mean 'path'?)"),
        (["compare", "--benchmark", "coins", "--data.path", "x"], "unrecognized arguments: --data.path x"),
        (["compare", "--data", "TextPairs", "--data.path", "no.csv"], "data.path is 'no.csv'; there is no such file"),
        (["fit", "simcse", "--data", "TextPairs", "--data.pth", "x"], "unknown option data.pth (did you mean 'path'?)"),
        (
            ["fit", "simcse", "--data", "ImageFolder"],
            "SimCSE reads Sentences, and the benchmark image_folder has no such",
        ),
        (["fit", "simcse", "--data", "TextPairs"], "data.path is missing; it must be a csv"),
    ],
)
def test_a_slip_is_told_in_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"papers: {message}") and err.count("\n") == 1


def test_a_method_of_other_channels_is_told_before_training(capsys: pytest.CaptureFixture[str]) -> None:
    own_files.pictures(Path("pictures"), 30)
    assert main(["fit", "simclr", "--data", "ImageFolder", "--data.path", "pictures", *BRIEF]) == 2
    assert "model.channels is 1; for these data it must be 3" in capsys.readouterr().err


def test_help_names_the_options_of_own_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "simcse", "--data", "TextPairs", "--help"]) == 0
    out = capsys.readouterr().out
    assert "data: data.benchmarks.own.text_pairs.TextPairs" in out and "--data.on_error raise|skip" in out
    with pytest.raises(SystemExit):
        main(["data", "--help"])
    assert "--data AudioText" in capsys.readouterr().out
