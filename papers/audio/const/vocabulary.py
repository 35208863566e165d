"""The joint vocabulary of both languages: read from a file, and how that file was made.

python -m papers.audio.const.vocabulary prompts                 # writes prompts.json beside this file
python -m papers.audio.const.vocabulary FOLDER OUTPUT.json      # of MuST-C's training text, 10,000 pieces
"""

import sys
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from common.encoders.speech_text import Tokens
from common.errors import UserError
from data.benchmarks.must_c import MustC
from data.benchmarks.prompts import Prompts

SPECIAL = ("[PAD]", "[END]", "[UNK]")
PROMPTS = Path(__file__).with_name("prompts.json")
TOKENS = Tokens(pad=0, end=1)


def tag(language: str) -> str:
    """The token that a text in this language begins with."""
    return f"<lang:{language}>"


def read_vocabulary(path: str | None) -> Tokenizer:
    """The tokenizer in a file; by default that of the telephone prompts.

    Raises:
        UserError: there is no such file.
    """
    file = PROMPTS if path is None else Path(path).expanduser()
    if not file.is_file():
        raise UserError(f"model.vocabulary is {path}; make that file with `python -m papers.audio.const.vocabulary`")
    return Tokenizer.from_file(str(file))


def learn(texts: Iterable[str], languages: Iterable[str], size: int) -> Tokenizer:
    """Learns a unigram vocabulary, as SentencePiece does by default."""
    special = [*SPECIAL, *(tag(language) for language in languages)]
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=size, special_tokens=special, unk_token="[UNK]", show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def main(arguments: list[str]) -> None:
    if arguments == ["prompts"]:
        parts = [Prompts(source="en", target="fr")]
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
