import subprocess
import sys

import pytest

from common.errors import UserError
from common.experiments.yaml_lines import load
from harness import cli
from harness.recipes import catalog, early
from harness.recipes.catalog import REPOSITORY
from harness.recipes.options import check_options
from harness.recipes.signatures import batch_read, signature, trainer_signature
from harness.recipes.trainer_rules import ACCELERATORS, STRATEGIES

CLASSES = sorted(
    {
        load(path).data[section]["class_path"]
        for path in REPOSITORY.glob("papers/*/*/*.yaml")
        if path.name != "paper.yaml"
        for section in ("model", "data")
    }
)


def test_the_source_tells_what_the_constructors_take() -> None:
    """The same names, and the same defaults, as jsonargparse finds by importing the classes."""
    import jsonargparse

    for class_path in CLASSES:
        read = signature(class_path, REPOSITORY)
        parser = jsonargparse.ArgumentParser(exit_on_error=False)
        module, _, name = class_path.rpartition(".")
        parser.add_class_arguments(getattr(__import__(module, fromlist=[name]), name), "x")
        imported = {a.dest.removeprefix("x.") for a in parser._actions if a.dest.startswith("x.")}
        # The parser explains the keys of a mapping, such as that of an encoder of one's own, under an option more.
        imported = {name for name in imported if not name.endswith(".help")}
        assert read.whole and set(read.arguments) == imported, class_path
    assert {"max_steps", "devices", "precision"} < set(trainer_signature().arguments)


def test_an_argument_is_described_with_kind_default_and_meaning() -> None:
    taken = signature("papers.sentence.simcse.module.SimCSE", REPOSITORY).arguments
    assert taken["pooling"].kind == "Literal['cls', 'mean', 'first_last']" and taken["pooling"].default == "'cls'"
    assert taken["schedule"].kind.startswith("Literal['constant', 'linear'")  # an alias in the module of its base
    assert taken["lr"].about == "peak learning rate." and taken["layers"].kind == "int | None"
    assert "global batch" in signature("data.benchmarks.mini.verses.Verses", REPOSITORY).arguments["batch_size"].about


@pytest.mark.parametrize(
    "class_path", ["nowhere.at.All", "data.benchmarks.mini.verses.Nothing", "x", "", "a..b", "../x.y"]
)
def test_a_class_that_cannot_be_read_is_none(class_path: str) -> None:
    assert signature(class_path, REPOSITORY) is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model.temprature", "1"], "unknown option model.temprature (did you mean 'temperature'?); SimCSE takes "),
        (["--model.init_args.temprature=1"], "unknown option model.temprature"),
        (["--data.bach_size", "1"], "unknown option data.bach_size (did you mean 'batch_size'?); "),
        (
            ["--data=data.benchmarks.mini.digits.Digits", "--data.train", "x"],
            "unknown option data.train",
        ),
        (["--trainer.max_step", "3"], "unknown option trainer.max_step (did you mean 'max_steps'?)"),
        (["--model.temperature", "warm"], "model.temperature is 'warm'; it must be a number"),
        (["--model.temperature", "true"], "model.temperature is 'true'; it must be a number"),
        (["--model.layers", "2.5"], "model.layers is '2.5'; it must be a whole number or null"),
        (["--model.masks", "both"], "model.masks is 'both'; it must be 'independent' or 'same'"),
        (["--model.decay_all", "3"], "model.decay_all is '3'; it must be true or false"),
        (["--trainer.max_epochs", "-5"], "trainer.max_epochs is -5; it must be at least 0 or -1 or null"),
        (["--trainer.devices=2.5"], "trainer.devices is 2.5; it must be auto, a number"),
        (["--trainer.precision", "bf16-true"], "trainer.precision is 'bf16-true'; it must be 32"),
        (["--model.lr"], "--model.lr needs a value"),
        (["--model.lr", "--data.seed", "3"], "--model.lr needs a value"),
        (["--colour", "red"], "unknown arguments: --colour red"),
        (["red"], "unknown arguments: red"),
        (["--config", "huge.yaml"], "simcse has no recipe 'huge.yaml'"),
        (["--trainer.accelerator", "tpu"], "trainer.accelerator is 'tpu'; this machine has auto, cpu"),
        (["--seed_everything", "-3"], "seed_everything is -3; it must be from 0 to 2^32 - 1"),
        (["--seed_everything", "1.5"], "seed_everything is 1.5; it must be from 0 to 2^32 - 1"),
        (["--seed_everything={a: 1}"], "seed_everything is {a: 1}; it must be from 0 to 2^32 - 1"),
        (["--trainer.limit_val_batches", "1.5"], "trainer.limit_val_batches is 1.5; it must be a number of batches"),
        (["--trainer.limit_train_batches", "-1"], "trainer.limit_train_batches is -1; it must be a number of batches"),
        (["--trainer.strategy", "dp"], "trainer.strategy is 'dp'; it must be one of auto, ddp, "),
        (["--ckpt_path", "nowhere.ckpt"], "--ckpt_path: nowhere.ckpt does not exist; it must be a checkpoint"),
        (["--ckpt_path=/"], "--ckpt_path: / is a folder; it must be a checkpoint"),
        (["--ckpt_path", "best"], "--ckpt_path is 'best'; it must be a checkpoint's path, or 'last'"),
        (["--ckpt_path", "x" * 400], "--ckpt_path: xxx"),
        (["--init_from", "nowhere.ckpt"], "--init_from: nowhere.ckpt does not exist; it must be a checkpoint"),
        (["--data", "Verses5"], "data.class_path is 'Verses5'; it must be 'package.module.Class'"),
        (
            ["--data.class_path=no.such.Data"],
            "data.class_path is 'no.such.Data', which cannot be imported: no 'no.such'",
        ),
        (
            ["--model", "papers.sentence.simcse.module.No"],
            "model.class_path is 'papers.sentence.simcse.module.No', which",
        ),
        (
            ["--data", "data.benchmarks.worlds.scenes.Scenes"],
            "SimCSE reads Sentences, and the benchmark scenes has no such batches; benchmarks that fit: ",
        ),
        (
            ["--model", "papers.video.tmr.module.TMR"],
            "TMR reads CaptionedMotions, and the benchmark glosses has no such batches; benchmarks that fit: humanml3d",
        ),
        (["--config", "x" * 300], "simcse has no recipe"),
    ],
)
def test_a_slip_of_the_pen_is_told_at_once(words: list[str], message: str) -> None:
    with pytest.raises(UserError) as error:
        check_options(catalog.find("simcse"), words)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("slug", "words", "message"),
    [
        (
            "supcon",
            ["--model.encoder", "small_resnett"],
            "model.encoder is 'small_resnett' (did you mean 'small_resnet'",
        ),
        (
            "supcon",
            ["--model.encoder=tim:x"],
            "model.encoder is 'tim:x' (did you mean 'timm'?); it must be one of small",
        ),
        ("siglip", ["--model.text_encoder", "minni"], "model.text_encoder is 'minni' (did you mean 'mini'?)"),
        ("cross_entropy", ["--model.encoder", "x"], "model.encoder is 'x'; it must be one of small_resnet, "),
        ("supcon", ["--model.encoder", "timm:resnet18"], None),
        ("supcon", ["--model.encoder", "my_package.Net"], None),
        ("supcon", ["--model.encoder", "{name: timm:resnet18, frozen: true}"], None),
        ("supcon", ["--model.encoder.name", "timm:resnet18", "--model.encoder.frozen", "true"], None),
        ("cross_entropy", ["--model.encoder", "vector_tower"], None),
        ("simcse", ["--model.encoder", "transformers:here"], None),
    ],
)
def test_an_encoder_is_a_known_name_or_says_where_it_comes_from(slug: str, words: list[str], message: str) -> None:
    if message is None:
        check_options(catalog.find(slug), words)
        return
    with pytest.raises(UserError) as error:
        check_options(catalog.find(slug), words)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    "words",
    [
        ["--model.temperature", "1e-2", "--model.layers", "null", "--model.encoder", "minilm"],
        ["--trainer.callbacks+=lightning.pytorch.callbacks.LearningRateMonitor", "--print_config"],
        ["--trainer.callbacks.logging_interval", "step"],
        ["--model", "torch.nn.Linear", "--model.in_features", "3"],
        ["--trainer.devices", "auto", "--trainer.max_steps", "-1", "--seed_everything", "3"],
        ["--data", "data.benchmarks.verses.Verses", "--trainer.accelerator", "auto", "--ckpt_path", "last"],
        ["--trainer.strategy", "lightning.pytorch.strategies.DDPStrategy", "--model", "SimCSE"],
        ["-c", "full.yaml", "--trainer.devices", "0,1", "--model.dropout", "${x}"],
    ],
)
def test_what_the_source_does_not_tell_is_left_to_lightning(words: list[str]) -> None:
    check_options(catalog.find("simcse"), words)


def test_every_recipe_stands_on_every_benchmark_of_its_kind() -> None:
    """What recipes pair is never refused by looks alone, nor is what the modules speak of."""
    stands: dict[str | None, set[str]] = {}
    models = set()
    for path in REPOSITORY.glob("papers/*/*/*.yaml"):
        if path.name != "paper.yaml":
            model, data = (load(path).data[section]["class_path"] for section in ("model", "data"))
            stands.setdefault(batch_read(model, REPOSITORY), set()).add(data)
            models.add(model)
    assert len(stands) > 8
    for model in models:
        for data in stands[batch_read(model, REPOSITORY)]:
            early.check_batches(model, data, REPOSITORY)


def test_what_lightning_knows_by_name() -> None:
    from lightning.pytorch.accelerators import AcceleratorRegistry
    from lightning.pytorch.strategies import StrategyRegistry

    assert set(STRATEGIES) == {"auto", *StrategyRegistry.available_strategies()}
    assert {"auto", "gpu", *AcceleratorRegistry.available_accelerators()} == set(ACCELERATORS)


def test_help_lists_the_options_of_the_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["fit", "simcse", "--help"]) == 0
    out = capsys.readouterr().out
    for part in (
        "--model.pooling cls|mean|first_last (recipe: mean)\n      which vector stands for the sentence",
        "--data.seed int (default: 0)\n      fixes the order",
        "full_supervised.yaml",
        "The recipe says max_steps",
    ):
        assert part in out
    assert max(map(len, out.splitlines())) <= 110
    assert cli.main(["test", "simcse", "--config", "mini_supervised.yaml", "-h"]) == 0
    out = capsys.readouterr().out
    assert "--model.hard_negatives" in out and "--untrained" in out


def test_help_and_slips_load_no_torch() -> None:
    program = (
        "import sys\nfrom harness.cli import main\n"
        "codes = [main(['fit', 'simcse', '--help']), main(['fit', 'simcse', '--model.temprature', '1'])]\n"
        "codes += [main(['fit', 'simcse', '--trainer.strategy', 'x']), main(['fit', 'simcse', '--ckpt_path', 'x'])]\n"
        "assert codes == [0, 2, 2, 2] and not {'torch', 'lightning', 'jsonargparse'} & set(sys.modules), codes"
    )
    run = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_the_benchmarks_on_which_a_method_could_stand() -> None:
    assert "mnist5k" in catalog.benchmarks_read("Images") and "verses" in catalog.benchmarks_read("Sentences")
    assert catalog.benchmarks_read("Nothing") == []


def test_data_of_ones_own_are_named_among_what_fits() -> None:
    fits = catalog.fitting_benchmarks
    assert fits("Images").endswith("; on data of your own: --data ImageFolder")
    assert fits("TranscribedSpeech | SpeechViews").endswith("; on data of your own: --data AudioText")
    assert fits("Tensor") == "none in a recipe so far", "every module imports it"


def test_the_shared_benchmarks_are_known_without_importing_them() -> None:
    from data.benchmarks import catalog as benchmarks

    assert catalog.shared_benchmarks() == set(benchmarks())
