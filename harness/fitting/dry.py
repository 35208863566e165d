"""What `papers fit --dry-run` says: how large, how long, on what data, and whether they lie there whole."""

import contextlib
from collections.abc import Iterator
from typing import Any

from common.benchmark import Benchmark
from common.errors import UserError
from common.experiments.records import Record
from common.experiments.texts import duration
from data.published import MissingData
from harness.recipes.recipe import build_benchmark
from harness.running.cost import length, needs

_SHOWN = 6
"""Files that are named."""
_FEW = 100_000
"""Numbers that are kept and need no mention, such as running statistics."""


def describe(config: dict[str, Any], records: list[Record]) -> Iterator[str]:
    """The lines of a dry run. Nothing is fetched, and of the model only the shapes are made.

    Args:
        config: the resolved recipe.
        records: of the same recipe, which tell the time.
    """
    model, data = config["model"], config["data"]
    yield f"would train {_class(model)} on {_class(data)}"
    yield from _memory(model, data)
    benchmark = build_benchmark(data)
    wants, found, whole = _data(data, benchmark)
    steps, sizes = _steps(config, benchmark) if whole else (None, "")
    yield f"steps:      {steps or _unread_steps(config, benchmark)}"
    if records:
        seconds = sum(record.seconds for record in records) / len(records)
        on = records[-1].processor or records[-1].device
        yield f"time:       about {duration(seconds)}, as on record (scoring included, {on})"
    else:
        yield "time:       not on record; the progress bar tells after the first steps"
    yield from (f"data:       {line}" for line in wants)
    yield f"found:      {found}{sizes}"


def _class(section: dict[str, Any]) -> str:
    return str(section["class_path"]).rpartition(".")[2]


def _memory(model: dict[str, Any], data: dict[str, Any]) -> Iterator[str]:
    try:
        need = needs(model)
    except (UserError, NotImplementedError, RuntimeError) as error:
        yield f"parameters: cannot be counted here: {' '.join(str(error).split())[:300]}"
        return
    kept = f", and {_millions(need.kept)} that are only kept (frozen, teachers, buffers)" if need.kept >= _FEW else ""
    yield f"parameters: {_millions(need.trained)} to train{kept}"
    rest = f" + {_millions(need.kept)} x 4" if need.kept >= _FEW else ""
    samples = (data.get("init_args") or {}).get("batch_size")
    on_top = (
        "activations" if samples is None else f"activations of the {samples:,} samples of a batch, over all devices,"
    )
    yield (
        f"memory:     an estimate: at least {need.gigabytes:.2f} GiB a device = {_millions(need.trained)} x "
        f"{need.bytes_each} bytes (weight, gradient, {need.optimizer}){rest}; {on_top} come on top, and show with "
        "the first step"
    )


def _millions(number: int) -> str:
    return f"{number / 1e6:,.1f} million" if number >= 1e5 else f"{number:,}"


def _data(section: dict[str, Any], benchmark: Benchmark) -> tuple[list[str], str, bool]:
    """What is wanted and where from, what was found of it, and whether that is whole."""
    if benchmark.published:
        return _published(section, benchmark)
    if benchmark.sources:
        wants, missing = [], []
        for source in benchmark.sources:
            fetched = getattr(source, "fetched", True)
            size = f" ({source.size / 1e6:.1f} MB)" if hasattr(source, "size") else ""
            wants.append(f"{source.name}{size}, which `papers data fetch {source.name}` or the training fetches")
            missing += [] if fetched or benchmark.data_root else [source.name]
        if missing:
            return wants, f"not fetched yet: {', '.join(missing)}", False
        where = f"in {benchmark.data_root}" if benchmark.data_root else "fetched"
        return wants, *_looked_into(benchmark, where)
    if benchmark.own:
        return [f"your own, {getattr(benchmark, 'path', '')}"], *_looked_into(benchmark, "there")
    return ["generated; nothing to fetch"], *_looked_into(benchmark, "generated")


def _published(section: dict[str, Any], benchmark: Benchmark) -> tuple[list[str], str, bool]:
    wants = []
    nowhere = section | {"init_args": {**(section.get("init_args") or {}), "data_root": None}}
    try:
        build_benchmark(nowhere).prepare_data()  # says what it misses, which is everything
    except MissingData as error:
        wants = [
            f"{error.title}; get it from {error.where} ({error.terms})",
            f"files: {_listed(error.files)}",
        ]
    except UserError as error:
        wants = [str(error)]
    if benchmark.data_root is None:
        return wants, "nothing, as --data.data_root names no folder", False
    try:
        benchmark.prepare_data()
    except MissingData as error:
        lacks = f"{len(error.missing)} of {len(error.files)} files are missing: {_listed(error.missing)}"
        return wants, f"incomplete in {benchmark.data_root}: {lacks}", False
    except UserError as error:
        return wants, f"incomplete in {benchmark.data_root}: {error}", False
    return wants, *_looked_into(benchmark, f"complete in {benchmark.data_root}")


def _listed(files: tuple[str, ...]) -> str:
    return ", ".join(files[:_SHOWN]) + (f" and {len(files) - _SHOWN} more" if len(files) > _SHOWN else "")


def _looked_into(benchmark: Benchmark, said: str) -> tuple[str, bool]:
    """Reads the data as a training would."""
    try:
        benchmark.prepare_data()
        benchmark.setup("fit")
    except UserError as error:
        return f"incomplete: {error}", False
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        return f"damaged: {type(error).__name__}: {' '.join(str(error).split())[:200]}", False
    return said, True


def _steps(config: dict[str, Any], benchmark: Benchmark) -> tuple[str | None, str]:
    """The steps of the training, and how many samples there are, of data that are there."""
    sizes = ""
    try:
        with contextlib.suppress(AttributeError, NotImplementedError, TypeError):  # a world has no end, say
            sizes = ", ".join(f"{split} {size:,}" for split, size in benchmark.sizes().items())
        batches = len(benchmark.train_dataloader())
    except UserError as error:
        return None, f"; incomplete: {error}"
    except (TypeError, NotImplementedError):  # as many batches as one likes
        return None, f": {sizes} samples" if sizes else ""
    trainer = config["trainer"]
    limit = trainer.get("overfit_batches") or trainer.get("limit_train_batches")
    if isinstance(limit, int) and not isinstance(limit, bool):
        batches = min(batches, limit)
    elif isinstance(limit, float):
        batches = int(batches * limit)
    each = -(-batches // (trainer.get("accumulate_grad_batches") or 1))
    steps, epochs = trainer.get("max_steps"), trainer.get("max_epochs")
    steps = None if steps in (None, -1) else steps
    if epochs is None and steps is None:
        epochs = None if trainer.get("max_time") else 1000
    of_epochs = None if epochs in (None, -1) else epochs * each
    total = min((n for n in (steps, of_epochs) if n is not None), default=None)
    found = f": {sizes} samples" if sizes else ""
    if total is None:  # only time ends it
        return None, found
    words = f"{epochs:,} epochs of {each:,} steps" if total == of_epochs else f"{total / max(1, each):,.1f} epochs"
    return f"{total:,} ({words})", found


def _with_commas(said: str) -> str:
    number, _, unit = said.partition(" ")
    return f"{int(number):,} {unit}" if number.isdecimal() else said


def _unread_steps(config: dict[str, Any], benchmark: Benchmark) -> str:
    said = f"{_with_commas(length(config['trainer']))}, {benchmark.batch_size:,} samples a step"
    told = (config["trainer"].get("max_steps") or -1) > 0
    return said if told else f"{said}; how many steps that is shows once the data are there"
