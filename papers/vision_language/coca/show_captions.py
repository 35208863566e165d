"""A table of what a trained model says of pictures: their captions, its likeliest words, and words that it draws.

python -m papers.vision_language.coca.show_captions CHECKPOINT [--split test] [--count 12] [--seed 0]

The checkpoint is one of `papers fit coca`; the pictures are spread over a split of its mini recipe's scenes.
"""

import argparse
from pathlib import Path

import torch
import yaml

from common.evaluation.embed import evaluating
from data.benchmarks.worlds.small_scenes import SmallScenes
from papers.vision_language.coca.module import CoCa


def table(module: CoCa, scenes: SmallScenes, split: str, count: int, seed: int) -> str:
    """Markdown, a row for each picture; what is drawn depends on the seed, and a tick is behind what is all right."""
    scenes.setup()
    data, shown = scenes.splits[split], scenes.scenes(split)
    rows = torch.arange(count) * (len(data.ids) // count)
    pixels = data.pixels[rows].to(module.device)
    with evaluating(module):
        said = module.captions(pixels), module.captions(pixels, torch.Generator().manual_seed(seed))
    lines = ["| the picture shows | greedy | drawn |", "|---|---|---|"]
    for row, *captions in zip(rows.tolist(), *said, strict=True):
        right = (scenes.wordings[0].says(caption, shown[row]) for caption in captions)
        cells = [caption + " ✓" * hit for caption, hit in zip(captions, right, strict=True)]
        lines.append(f"| {' | '.join([data.texts[0][row], *cells])} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--split", choices=("val", "test"), default="test")
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    module = CoCa.load_from_checkpoint(given.checkpoint, weights_only=True, map_location="cpu")
    recipe = yaml.safe_load(Path(__file__).with_name("mini.yaml").read_text(encoding="utf-8"))
    scenes = SmallScenes(**recipe["data"]["init_args"])
    print(table(module, scenes, given.split, given.count, given.seed))


if __name__ == "__main__":
    main()
