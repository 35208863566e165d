"""What every paper promises, found by looking at the folders: a new paper is tested without a line being added here."""

import copy
import functools
import json
import math
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from common import protocols
from common.benchmark import Benchmark
from common.evaluation.embed import evaluating
from common.experiments.card import Comparison
from common.experiments.records import Ledger
from common.protocols import methods
from harness.recipes import catalog, recipe
from harness.recipes.arms import check_arms
from harness.records import canary, identity
from tests.common.walks import walking
from tests.waiting import Reads

SLUGS = sorted(catalog.paths())
FILES = [
    (slug, path.name)
    for slug, card in sorted(catalog.paths().items())
    for path in sorted(card.parent.glob("*.yaml"))
    if path.name != "paper.yaml"
]
FULL = [(slug, file) for slug, file in FILES if file.startswith("full")]


def written(slug: str, file: str) -> dict[str, Any]:
    config = dict(recipe.load_recipe(catalog.find(slug), file).data)
    config.pop("seed_everything", None)
    return config


def trained_modules(slug: str) -> dict[str, dict[str, Any]]:
    """One configuration for each module class that the paper's mini recipe and its arms train."""
    card = catalog.find(slug)
    configs = [written(slug, "mini.yaml")]
    for experiment in card.experiments:
        if isinstance(experiment, Comparison):
            configs += [recipe.arm_config(card, experiment, arm) for arm in experiment.arms]
    # An arm that trains nothing is evaluated as it is; there is no step to test. The recipe's own configuration comes
    # before an arm's, which may leave out a loss and with it what that would train.
    trained = [c for c in configs if c.get("trainer", {}).get("max_steps") != 0]
    return {c["model"]["class_path"]: c for c in reversed(trained)}


def each_once() -> list[tuple[str, str]]:
    """Slug and class of what is trained; a baseline that cards share, by the same recipe, once: in its own paper."""
    found: dict[str, tuple[str, str]] = {}
    pairs = [(slug, *pair) for slug in SLUGS for pair in trained_modules(slug).items()]
    for slug, class_path, config in sorted(pairs, key=lambda one: f".{one[0]}." not in one[1]):
        found.setdefault(json.dumps(config, sort_keys=True), (slug, class_path))
    return sorted(found.values())


MODULES = each_once()


# Where a step may wait for a number of a GPU's, by what the line says, and why.
MASKED = "transformers asks whether a mask hides anything"
LISTED = "what is listed is as many as the data say"
DRAWN = "a draw that is made on the CPU"
WAITING = {
    "self.body(input_ids=tokens.ids": MASKED,
    "self.encoder.body(": MASKED,
    "self.decoder(": MASKED,
    "[asked]": "only hidden words are scored",
    "[drawn.where]": "only hidden words are written anew",
    "(state[real])": "padding is left out",
    "x[mask].unflatten": "only hidden frames are predicted",
    "isfinite().all()": "what k-means is given is looked at",
    "asked.nonzero()": "a batch is parted by its tasks",
    "nonzero(as_tuple=True)": LISTED,
    "bincount(anchor": LISTED,
    "int(counts.max())": LISTED,
    "[own]": LISTED,
    "float(torch.rand(()))": DRAWN,
    "bool(uniform(torch.zeros(1": DRAWN,
    "int(float(draw)": DRAWN,
}


class Waits(L.Callback):
    """Where the second step waits for a number, as it would on a GPU."""

    def __init__(self) -> None:
        self.reads, self.within = Reads(), ExitStack()

    def on_train_batch_start(self, trainer: L.Trainer, module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == 1:
            self.within.enter_context(walking("streamed"))
            self.within.enter_context(self.reads)

    def on_train_batch_end(self, *args: Any) -> None:
        self.within.close()


class Steps(L.Callback):
    """Remembers losses, and which parameters ever had a gradient that is not zero; may save a checkpoint."""

    def __init__(self, save_at: int | None = None, path: Path | None = None) -> None:
        self.losses: list[float] = []
        self.moved: set[str] = set()
        self.save_at, self.path = save_at, path

    def on_after_backward(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.moved |= {n for n, p in module.named_parameters() if p.grad is not None and bool(p.grad.any())}

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, *args: Any) -> None:
        self.losses.append(float(outputs["loss"]))
        if trainer.global_step == self.save_at:
            trainer.save_checkpoint(self.path)


@pytest.mark.parametrize("slug", SLUGS)
def test_the_folder_is_complete(slug: str) -> None:
    card = catalog.find(slug)
    wanted = ["module.py", "mini.yaml", "README.md"] + ["full.yaml"] * (card.no_full is None)
    missing = [f for f in wanted if not (card.folder / f).is_file()]
    assert not missing


@pytest.mark.parametrize(("slug", "file"), FILES)
def test_the_recipe_is_valid(slug: str, file: str) -> None:
    assert set(recipe.resolve(written(slug, file))) >= {"model", "data", "trainer"}


@pytest.mark.parametrize("slug", SLUGS)
def test_every_arm_is_valid(slug: str) -> None:
    card = catalog.find(slug)
    for experiment in card.experiments:
        if isinstance(experiment, Comparison):
            hashes = {arm: identity.arm_hash(card, experiment, arm) for arm in experiment.arms}
            assert len(set(hashes.values())) == len(hashes), "two arms are the same recipe"


@pytest.mark.parametrize("slug", SLUGS)
def test_arms_differ_only_where_the_card_says(slug: str) -> None:
    """An arm with another module starts from that module's defaults; none may slip into a comparison unnoticed."""
    card = catalog.find(slug)
    for experiment in card.experiments:
        if isinstance(experiment, Comparison):
            check_arms(card, experiment)


@functools.lru_cache(maxsize=2)
def built(data: str) -> Benchmark:
    """The benchmark of a `data` section, which the modules of a paper mostly share."""
    benchmark = recipe.build_benchmark(json.loads(data))
    benchmark.prepare_data()
    benchmark.setup()
    return benchmark


def started(slug: str, class_path: str, steps: int, *callbacks: L.Callback) -> tuple[L.Trainer, Any, Benchmark]:
    """Trainer, module and benchmark of a short run of seed 0."""
    config = recipe.with_seed(trained_modules(slug)[class_path], 0)
    config["trainer"] = {k: v for k, v in config["trainer"].items() if k != "max_epochs"}
    config["trainer"] |= {"max_steps": steps, "accelerator": "cpu"}
    config["trainer"] |= {"limit_val_batches": 1.0, "check_val_every_n_epoch": 99}
    trainer, module, _ = recipe.build(config, callbacks=callbacks)
    # As built again: what a run leaves on its benchmark stays on its copy.
    return trainer, module, copy.deepcopy(built(json.dumps(config["data"])))


def asked(cls: type, monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[Any, Any, Any]]:
    """What scoring asks of modules of a class first, by the method of `common.protocols`: arguments and answer."""
    found: dict[str, tuple[Any, Any, Any]] = {}

    def remembering(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def call(self: Any, *arguments: Any, **keywords: Any) -> Any:
            answer = method(self, *arguments, **keywords)
            found.setdefault(name, (arguments, keywords, answer))
            return answer

        return call

    of_scoring = {name for protocol in vars(protocols).values() if is_protocol(protocol) for name in methods(protocol)}
    for name in of_scoring:
        if hasattr(cls, name):
            monkeypatch.setattr(cls, name, remembering(name, getattr(cls, name)))
    return found


def is_protocol(thing: Any) -> bool:
    return isinstance(thing, type) and getattr(thing, "_is_protocol", False)


def same(one: Any, other: Any) -> bool:
    """Tensors to the rounding of float32, whatever they stand in; all else exactly."""
    if isinstance(one, torch.Tensor):
        return torch.allclose(one, other, atol=1e-6, equal_nan=True)
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@pytest.mark.parametrize(("slug", "class_path"), MODULES)
def test_a_short_run_and_its_checkpoints(
    slug: str, class_path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four steps move exactly what is to be trained; from a checkpoint come the same end and the same answers.

    A step waits for no number of a GPU, but where it is said why.
    """
    waits, whole, rest = Waits(), Steps(save_at=2, path=tmp_path / "mid.ckpt"), Steps()
    trainer, module, benchmark = started(slug, class_path, 4, waits, whole)
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    trainer.fit(module, benchmark)
    assert len(whole.losses) == 4 and all(map(math.isfinite, whole.losses))
    trainable = {name for name, p in module.named_parameters() if p.requires_grad}
    changed = {name for name, p in module.named_parameters() if not torch.equal(p, before[name])}
    assert whole.moved == trainable == changed
    assert [place for place in waits.reads.places if not any(part in place for part in WAITING)] == []

    # Batches, dropout masks, schedule, teacher and queue go on: the same losses and weights, to the last bit.
    again, resumed, fresh = started(slug, class_path, 4, rest)
    again.fit(resumed, fresh, ckpt_path=tmp_path / "mid.ckpt", weights_only=True)
    assert rest.losses == whole.losses[2:]
    state = module.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in resumed.state_dict().items())

    # A checkpoint loaded elsewhere answers as the module does in a validation, so that all is scored alike.
    answers = asked(type(module), monkeypatch)
    (scores,) = trainer.validate(module, benchmark, verbose=False)
    monkeypatch.undo()
    trainer.save_checkpoint(tmp_path / "end.ckpt")
    loaded = type(module).load_from_checkpoint(tmp_path / "end.ckpt", weights_only=True, map_location="cpu")
    assert scores and answers
    with evaluating(loaded):
        for name, (arguments, keywords, answer) in answers.items():
            assert same(getattr(loaded, name)(*arguments, **keywords), answer), name


COMPARISONS = [
    (slug, experiment.name)
    for slug in SLUGS
    for experiment in catalog.find(slug).experiments
    if isinstance(experiment, Comparison)
]


@pytest.mark.parametrize(("slug", "experiment"), COMPARISONS)
def test_every_arm_starts_as_on_record(slug: str, experiment: str) -> None:
    """The code still computes what was recorded: the first three losses of seed 0, to the rounding of another machine.

    Where a change is meant, `papers verify SLUG --canary` marks the arms and `papers rerun SLUG` makes new records.
    """
    ledger = Ledger(catalog.REPOSITORY / "results" / "runs")
    off = [found for found in canary.findings(catalog.find(slug), ledger, [experiment]) if found.deviation is not None]
    assert not off, "\n".join(map(str, off))


@pytest.mark.parametrize(("slug", "file"), FULL)
def test_the_full_recipe_has_the_published_size(slug: str, file: str) -> None:
    """The published model is built without memory or data, and counts what the card says it should."""
    config = written(slug, file)
    with torch.device("meta"):
        module = recipe.build_model(config["model"])
    count = sum(p.numel() for p in module.parameters())
    assert count > 0 and all(p.is_meta for p in module.parameters())
    published = catalog.find(slug).parameters
    if published is not None and published.recipe == file:
        assert count == pytest.approx(published.count, rel=0.01)
