"""The joint vocabulary of both languages: read from a file, and how that file was made.

python -m papers.audio.const.vocabulary prompts                 # writes prompts.json beside this file
python -m papers.audio.const.vocabulary FOLDER OUTPUT.json      # of MuST-C's training text, 10,000 pieces
"""

import sys
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

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


class Vocabulary:
    """Texts to token ids and back, by a tokenizer that is read from its file when it is first needed.

    Args:
        path: file of the tokenizer; by default that of the telephone prompts.
        size: how many tokens it must have.
    """

    def __init__(self, path: str | None, size: int) -> None:
        self.path = path
        self.size = size

    @cached_property
    def tokenizer(self) -> Tokenizer:
        file = PROMPTS if self.path is None else Path(self.path).expanduser()
        if not file.is_file():
            raise UserError(
                f"model.vocabulary is {self.path}; make that file with `python -m papers.audio.const.vocabulary`"
            )
        return Tokenizer.from_file(str(file))

    def check(self) -> None:
        """Reads the file.

        Raises:
            UserError: there is no such file, or it has another size.
        """
        if (found := self.tokenizer.get_vocab_size()) != self.size:
            raise UserError(f"model.vocab_size is {self.size}; model.vocabulary has {found} tokens")

    def first(self, language: str) -> int:
        """Id of the token that a text in this language begins with.

        Raises:
            UserError: there is none.
        """
        if (found := self.tokenizer.token_to_id(tag(language))) is None:
            raise UserError(f"model.vocabulary has no token {tag(language)}; make one of both languages")
        return found

    def ids(self, texts: list[str], languages: list[str]) -> Tensor:
        """Ids with the language before and the end behind each text, padded, int64 of shape (n, t)."""
        lines = self.tokenizer.encode_batch(texts)
        pairs = zip(languages, lines, strict=True)
        rows = [torch.tensor([self.first(language), *line.ids, TOKENS.end]) for language, line in pairs]
        return pad_sequence(rows, batch_first=True, padding_value=TOKENS.pad)

    def texts(self, ids: list[list[int]]) -> list[str]:
        return self.tokenizer.decode_batch(ids)


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
