"""Masked-language modelling on text that the user brings, as large as the corpora of the published encoders."""

from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import overload

import numpy as np

from common.errors import UserError
from common.lines import BOM
from data.benchmarks.mini.english import English
from data.published import published_folder

FILES = {split: f"{split}.txt" for split in ("train", "val", "test")}


class TextFile(Sequence[str]):
    """The passages of a text file, read when they are asked for: the file may be larger than the memory.

    Args:
        path: plain text in UTF-8, one sentence a line and an empty line between documents.
        words: sentences of one document are joined while they have no more words than this.
    """

    def __init__(self, path: Path, words: int) -> None:
        # Bytes from `starts[i]` to `ends[i]` are passage i; what lies between two of them is white space.
        starts, ends = array("q"), array("q")
        position = held = 0
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    count = len(line.decode("utf-8").split())
                except UnicodeDecodeError as error:
                    raise UserError(f"{path}:{number}: not UTF-8 ({error.reason})") from None
                if count and held and held + count <= words:
                    ends[-1] = position + len(line)
                    held += count
                else:
                    held = count
                    if count:
                        starts.append(position)
                        ends.append(position + len(line))
                position += len(line)
        if not starts:
            raise UserError(f"{path} holds no text")
        self._starts, self._ends = np.frombuffer(starts, np.int64), np.frombuffer(ends, np.int64)
        self._bytes = np.memmap(path, np.uint8, "r")

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        text = self._bytes[self._starts[index] : self._ends[index]].tobytes().decode("utf-8")
        return " ".join(text.removeprefix(BOM).split())


class Documents(English):
    """Passages of a corpus in the format that the released code of BERT reads.

    Args:
        words: most words of a passage; a token is about 0.75 of one. Longer sentences are cut by the encoder.
        batch_size, seed: as in `Benchmark`.
        data_root: folder with `train.txt`, `val.txt` and `test.txt`.
    """

    name = "documents"
    primary = "masked_accuracy/documents"
    published = True

    def __init__(self, words: int = 90, batch_size: int = 256, seed: int = 0, data_root: str | None = None) -> None:
        super().__init__(batch_size, seed, data_root)
        if words < 1:
            raise UserError(f"data.words is {words}; it must be at least 1")
        self.words = words

    def _folder(self) -> Path:
        return published_folder(
            self.data_root,
            title="a corpus for masked-language modelling",
            files=list(FILES.values()),
            where="https://dumps.wikimedia.org and, for books, wherever you may: BooksCorpus is no longer given out; "
            "one sentence a line, an empty line between documents, as https://github.com/google-research/bert has it",
            terms="Wikipedia is CC BY-SA 4.0",
        )

    def prepare_data(self) -> None:
        self._folder()

    def build(self) -> None:
        folder = self._folder()
        self.splits = {split: TextFile(folder / file, self.words) for split, file in FILES.items()}
