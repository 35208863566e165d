"""`papers embed`: the vectors of a benchmark's split, in a file."""

import hashlib
from pathlib import Path
from typing import Any

from common.benchmark import Benchmark
from common.embedding.columns import Column
from common.embedding.embedder import Embedder
from common.errors import UserError
from common.experiments.card import Card
from common.experiments.schema import closest
from common.paths import as_path
from harness.console import say, track
from harness.embedding.parts import Parts, check_out
from harness.recipes.catalog import importable
from harness.recipes.early import OPTION
from harness.recipes.recipe import build_benchmark
from papers.loading import WEIGHTS, load_from

PART = 1024
"""Rows of a part at least; a part is whole batches, so that vectors do not depend on where a run was interrupted."""


def embed(
    card: Card,
    *,
    checkpoint: str,
    data: dict[str, Any],
    out: str,
    split: str = "test",
    column: str | None = None,
    batch_size: int = 64,
    normalize: bool = False,
    device: str = "cpu",
) -> list[Path]:
    """Embeds a column of a split; what an earlier run of the same request kept is gone on from.

    Args:
        data: the `data` section of a recipe.
        out: the file, .parquet with the columns id and vector, or .npy with the ids in a file beside it.
        column: which, where the method embeds several.

    Returns:
        The files that were written.

    Raises:
        UserError: anything of the request is wrong, or the disk is full.
    """
    importable(card.root)
    path = as_path(out, "--out")
    check_out(path)
    embedder = load_from(card.folder, checkpoint, OPTION)
    embedder.to(_device(device))
    benchmark = build_benchmark(data)
    benchmark.prepare_data()
    benchmark.setup("test")
    name, chosen = choose(embedder, benchmark, split, column)
    if not len(chosen.ids):
        raise UserError(f"split is '{split}'; there is no {name} in that of {benchmark.name}")
    rows = batch_size * max(1, PART // batch_size)
    plan: dict[str, Any] = dict(
        paper=card.slug, checkpoint=_sha256(as_path(checkpoint, OPTION)), data=_fingerprint(benchmark)
    )
    plan |= dict(split=split, column=name, batch_size=batch_size, normalize=normalize, device=device.split(":")[0])
    parts = Parts(path, plan, chosen.ids, rows)
    missing = parts.missing()
    if len(missing) < parts.count:
        say(f"{parts.count - len(missing)} of {parts.count} parts are there; going on")
    for part in track(missing, f"embedding {name} of {benchmark.name}", len(missing)):
        items = chosen.items[parts.span(part)]
        parts.write(part, embedder.encode(items, batch_size=batch_size, normalize=normalize, kind=chosen.kind))
    return parts.finish()


def choose(embedder: Embedder, benchmark: Benchmark, split: str, column: str | None) -> tuple[str, Column]:
    """The column to embed, with its name.

    Raises:
        UserError: no such split or column, none that the method embeds, or several and none is named.
    """
    columns = benchmark.embeddable(split)
    if "query" not in embedder.kinds:  # of a method with one tower
        columns = {name: one._replace(kind=one.kind.replace("query", "text")) for name, one in columns.items()}
    fitting = [name for name, one in columns.items() if one.kind in embedder.kinds]
    if column is not None and column not in columns:
        raise UserError(f"--column is '{column}'{closest(column, columns)}; {benchmark.name} has: {', '.join(columns)}")
    if column is None and len(fitting) > 1:
        raise UserError(f"{benchmark.name} has several columns to embed: {', '.join(fitting)}; name one with --column")
    name = column or (fitting or list(columns))[0]
    embedder.check_kind(columns[name].kind)
    return name, columns[name]


def _device(name: str) -> str:
    import torch

    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError):
        raise UserError(f"--device is '{name}'; this machine has no such device") from None
    return name


def _sha256(path: Path) -> str:
    with (path / WEIGHTS if path.is_dir() else path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fingerprint(benchmark: Benchmark) -> str:
    try:
        return benchmark.fingerprint()
    except NotImplementedError:
        return ""
