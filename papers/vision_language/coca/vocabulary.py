"""The vocabulary of the captions: read from a file, and how that file was made.

python -m papers.vision_language.coca.vocabulary scenes                 # writes data/scenes/pieces.json
python -m papers.vision_language.coca.vocabulary FOLDER OUTPUT.json     # of LAION-400M's captions, 64,000 pieces
"""

import sys
from itertools import islice
from pathlib import Path

from common.encoders.vocabulary import Vocabulary, learn_pieces
from data.benchmarks.published.laion import Laion400M
from data.benchmarks.worlds.scenes import Scenes
from data.scenes.pieces import PIECES, SIZE, START

SAMPLE = 10_000_000
"""Captions of LAION-400M to learn from; the paper, too, learns from a sample of its pairs."""


def read_vocabulary(path: str | None, size: int) -> Vocabulary:
    """The vocabulary in a file; by default that of the scenes."""
    return Vocabulary(path, PIECES, size, "papers.vision_language.coca.vocabulary")


def main(arguments: list[str]) -> None:
    if arguments == ["scenes"]:
        scenes = Scenes()
        scenes.setup()
        texts, size, output = scenes.train.texts[0], SIZE, PIECES
    elif len(arguments) == 2:
        texts = islice(Laion400M(data_root=arguments[0]).captions(), SAMPLE)
        size, output = 64_000, Path(arguments[1])
    else:
        raise SystemExit(__doc__)
    learn_pieces(texts, [START], size, "bpe").save(str(output))


if __name__ == "__main__":
    main(sys.argv[1:])
