"""Data of one's own on the command line: two papers of each kind are trained, tested, and compared with a floor."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from common.experiments.yaml_lines import load
from harness.cli import main
from harness.recipes import catalog
from harness.recipes.catalog import REPOSITORY, own_benchmarks
from harness.recipes.options import check_options, spelled_out
from harness.recipes.signatures import batch_read
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
        told = capsys.readouterr().out
        assert f"compare it: papers compare {' '.join(data)}" in told and ("--data.batch_size" in told) == (
            "--data.batch_size" in options
        )
    weights = max(Path("logs").rglob("*.ckpt"), key=lambda file: file.stat().st_mtime)
    column = {"ImageFolder": "image", "ImageText": "image", "AudioText": "speech"}.get(kind, "text")
    embed = ["embed", slugs[1], "--ckpt_path", str(weights), *data, "--column", column, "--out", "vectors.npy"]
    assert main(embed) == 0, capsys.readouterr().err
    vectors = np.load("vectors.npy")
    assert vectors.ndim == 2 and len(vectors) >= 20 and np.isfinite(vectors).all()
    capsys.readouterr()
    assert main(["compare", *data, "--logs", "logs"]) == 0
    title, _, *rows = capsys.readouterr().out.splitlines()
    assert f" {path}: " in title
    papers = [row for row in rows if not row.split()[-1].startswith("floor") and row.split()[0] in ("1", "2")]
    assert len(papers) == 2 and all(any(slug in row for row in papers) for slug in slugs)
    assert any("chance" in row and "floor" in row for row in rows)
    assert main(["compare", *data, "--logs", "logs", "--metric", "top9"]) == 2
    assert "nothing has the metric 'top9'" in capsys.readouterr().err
    if kind == "TextPairs":
        assert main(["compare", *data, "--data.split_seed", "1", "--logs", "logs"]) == 0
        err = capsys.readouterr().err
        assert "2 more tests on text_pairs are of other data" in err and "nothing was tested on it yet" in err


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


SERVED = {"Images": "ImageFolder", "LabelledVectors": "ImageFolder", "ImageText": "ImageText", "Sentences": "TextPairs",
          "SentenceTriplets": "Retrieval", "TextPairs": "TextPairs", "SpeechViews": "AudioText",
          "TranscribedSpeech": "AudioText", "SpeechTranslations": "AudioText"}  # fmt: skip


def test_full_recipes_can_be_pointed_at_own_data(capsys: pytest.CaptureFixture[str]) -> None:
    pointed = {}
    for path in sorted(REPOSITORY.glob("papers/*/*/full*.yaml")):
        recipe = load(path).data
        kinds = [SERVED.get(kind) for kind in str(batch_read(recipe["model"]["class_path"], REPOSITORY)).split(" | ")]
        if kinds[0] is not None:
            slug, words = path.parent.name, ["--config", path.name, "--data", kinds[0], "--data.path", "x"]
            check_options(catalog.find(slug), spelled_out(words))
            pointed[slug, path.name] = words, recipe["data"]["init_args"]
    assert len(pointed) > 20
    for slug in ("supcon", "clip", "gradcache"):
        words, written = pointed[slug, "full.yaml"]
        with pytest.raises(SystemExit, match="0"):
            main(["fit", slug, *words, "--print_config"])
        resolved = yaml.safe_load(capsys.readouterr().out)["data"]
        assert resolved["class_path"] == own_benchmarks()[words[3]]
        kept = resolved["init_args"].keys() & written.keys()
        assert "batch_size" in kept and all(resolved["init_args"][key] == written[key] for key in kept)


def test_help_names_the_options_of_own_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "simcse", "--data", "TextPairs", "--help"]) == 0
    out = capsys.readouterr().out
    assert "data: data.benchmarks.own.text_pairs.TextPairs" in out and "--data.on_error raise|skip" in out
    assert "--data.batch_size int (recipe: 64)" in out and "(recipe: glosses)" not in out, (
        "another class has other words"
    )
    with pytest.raises(SystemExit):
        main(["data", "--help"])
    assert "--data AudioText" in capsys.readouterr().out
