"""A vocabulary learnt from the texts of a benchmark, and texts as rows of its ids."""

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from common.encoders.generation import Tokens
from common.errors import UserError
from common.paths import as_path

SPECIAL = ("[PAD]", "[END]", "[UNK]")
TOKENS = Tokens(pad=0, end=1)


def learn_pieces(
    texts: Iterable[str], firsts: Iterable[str], size: int, kind: Literal["unigram", "bpe"] = "unigram"
) -> Tokenizer:
    """Learns the pieces of words as SentencePiece does, by a unigram model, its default, or by byte-pair encoding.

    Args:
        firsts: tokens that a text may begin with, such as languages.
        size: pieces in all, special tokens included.
        kind: where there are few different words, a unigram model spells them; byte-pair encoding finds them whole.
    """
    special = [*SPECIAL, *firsts]
    options = dict(vocab_size=size, special_tokens=special, show_progress=False)
    if kind == "unigram":
        tokenizer, trainer = Tokenizer(models.Unigram()), trainers.UnigramTrainer(unk_token="[UNK]", **options)
    else:
        tokenizer, trainer = Tokenizer(models.BPE(unk_token="[UNK]")), trainers.BpeTrainer(**options)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


class Vocabulary:
    """Texts to token ids and back, by a tokenizer that is read from its file when it is first needed.

    Args:
        path: file of the tokenizer, `model.vocabulary`; None is `default`.
        default: file of the laptop recipe.
        size: how many tokens it must have, `model.vocab_size`.
        made_by: the module that makes such a file, for the error message.
    """

    def __init__(self, path: str | None, default: Path, size: int, made_by: str) -> None:
        self.path = path
        self.default = default
        self.size = size
        self.made_by = made_by

    @cached_property
    def tokenizer(self) -> Tokenizer:
        file = self.default if self.path is None else as_path(self.path, "model.vocabulary")
        if not file.is_file():
            raise UserError(f"model.vocabulary is {self.path}; make that file with `python -m {self.made_by}`")
        return Tokenizer.from_file(str(file))

    def check(self) -> None:
        """Reads the file.

        Raises:
            UserError: there is no such file, or it has another size.
        """
        if (found := self.tokenizer.get_vocab_size()) != self.size:
            raise UserError(f"model.vocab_size is {self.size}; model.vocabulary has {found} tokens")

    def id_of(self, token: str) -> int:
        """Id of a token that texts begin with.

        Raises:
            UserError: there is none.
        """
        if (found := self.tokenizer.token_to_id(token)) is None:
            raise UserError(f"model.vocabulary has no token {token}; make one with `python -m {self.made_by}`")
        return found

    def ids(self, texts: list[str], firsts: list[str], longest: int | None = None) -> Tensor:
        """Texts as ids with their first token before them and the end behind them, padded, int64 of shape (n, t).

        Args:
            firsts: the first token of each text.
            longest: ids in a row at most, the first and the end included; None cuts nothing.
        """
        kept = None if longest is None else longest - 2
        lines = self.tokenizer.encode_batch(texts)
        pairs = zip(firsts, lines, strict=True)
        rows = [torch.tensor([self.id_of(first), *line.ids[:kept], TOKENS.end]) for first, line in pairs]
        return pad_sequence(rows, batch_first=True, padding_value=TOKENS.pad)

    def texts(self, ids: list[list[int]]) -> list[str]:
        return self.tokenizer.decode_batch(ids)
