"""The joint vocabulary of both languages: read from a file, and how that file was made.

python -m papers.audio.const.vocabulary prompts                 # writes prompts.json beside this file
python -m papers.audio.const.vocabulary FOLDER OUTPUT.json      # of MuST-C's training text, 10,000 pieces
"""

import sys
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer

from common.encoders.vocabulary import Vocabulary, learn_pieces
from data.benchmarks.mini.prompts import Prompts
from data.benchmarks.published.must_c import MustC

PROMPTS = Path(__file__).with_name("prompts.json")


def tag(language: str) -> str:
    """The token that a text in this language begins with."""
    return f"<lang:{language}>"


def read_vocabulary(path: str | None, size: int) -> Vocabulary:
    """The vocabulary in a file; by default that of the telephone prompts."""
    return Vocabulary(path, PROMPTS, size, "papers.audio.const.vocabulary")


def learn(texts: Iterable[str], languages: Iterable[str], size: int) -> Tokenizer:
    """Learns a unigram vocabulary, as SentencePiece does by default."""
    return learn_pieces(texts, map(tag, languages), size)


def main(arguments: list[str]) -> None:
    if arguments == ["prompts"]:
        # All prompts that may be trained on, so that one vocabulary serves every inventory.
        parts = [Prompts(source="en", target="fr", inventory=10_000)]
        size, languages, output = 800, ("en", "fr"), PROMPTS
    elif len(arguments) == 2:
        parts = [MustC(data_root=arguments[0])]
        size, languages, output = 10_000, ("en", "de"), Path(arguments[1])
    else:
        raise SystemExit(__doc__)
    for part in parts:
        part.setup()
    texts = [text for part in parts for side in part.training_texts() for text in side]
    learn(dict.fromkeys(texts), languages, size).save(str(output))


if __name__ == "__main__":
    main(sys.argv[1:])
