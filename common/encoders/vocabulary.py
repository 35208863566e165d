"""A vocabulary learnt from the texts of a benchmark, and texts as rows of its ids."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from common.encoders.generation import Tokens
from common.errors import UserError

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


def read_vocabulary(path: str | None, default: Path, made_by: str) -> Tokenizer:
    """The tokenizer in a file.

    Args:
        path: `model.vocabulary`; the default file where it is None.
        made_by: the module that makes such a file, for the error message.

    Raises:
        UserError: there is no such file.
    """
    file = default if path is None else Path(path).expanduser()
    if not file.is_file():
        raise UserError(f"model.vocabulary is {path}; make that file with `python -m {made_by}`")
    return Tokenizer.from_file(str(file))


def encoded(tokenizer: Tokenizer, texts: list[str], firsts: list[int], longest: int | None = None) -> Tensor:
    """Texts as ids with their first token before them and the end behind them, padded, int64 of shape (n, t).

    Args:
        firsts: the first token of each text.
        longest: ids in a row at most, the first and the end included; None cuts nothing.
    """
    kept = None if longest is None else longest - 2
    lines = tokenizer.encode_batch(texts)
    rows = [[first, *line.ids[:kept], TOKENS.end] for first, line in zip(firsts, lines, strict=True)]
    return pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=TOKENS.pad)
