"""Word alignment as published: parallel text to train on, and sentences with links drawn by hand."""

import re
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from common.batches import ParallelWords
from common.benchmark import Benchmark, Metrics, digest
from common.errors import UserError
from common.evaluation.alignment import Links, alignment_metrics
from common.lines import read_lines
from common.protocols import AlignsWords
from common.sampling.batches import ResumableLoader
from common.table import Rows, Table
from data.published import published_folder


class WordAlignment(Benchmark):
    """Hansards (NAACL 2003), Romanian-English (ACL 2005) or German-English, as MirrorAlign's author lays them out.

    A folder such as `en-fr` holds `en-fr-merge.txt` and `en-fr-test.txt`, a line a pair of sentences, their words
    parted by blanks and the two by a tab; and `en-fr-test-wa.txt`, a line a link: "num-3 1 -> 2 S" is between word 1 of
    the source and word 2 of the target of sentence 3, sure, and P is possible. The training file holds the test
    sentences too, without links, as aligners are used.

    Args:
        pair: "en-fr", "ro-en" or "de-en", the folder.
        batch_size, seed: as in `Benchmark`.
        data_root: the folder that the pairs' folders stand in.
    """

    name = "word_alignment"
    published = True
    primary = "one_minus_aer/sentences"

    def __init__(self, pair: str = "en-fr", batch_size: int = 64, seed: int = 0, data_root: str | None = None) -> None:
        super().__init__(batch_size, seed, data_root)
        if pair not in ("en-fr", "ro-en", "de-en"):
            raise UserError(f"data.pair is {pair!r}; it must be 'en-fr', 'ro-en' or 'de-en'")
        self.pair = pair

    def _files(self) -> list[Path]:
        names = [f"{self.pair}/{self.pair}-{part}.txt" for part in ("merge", "test", "test-wa")]
        folder = published_folder(
            self.data_root,
            title=f"parallel text and links of {self.pair}",
            files=names,
            where="the shared tasks of the workshops at NAACL 2003 and ACL 2005, as util/ of "
            "https://github.com/moore3930/SynAlign rewrites them",
            terms="for research",
        )
        return [folder / name for name in names]

    def prepare_data(self) -> None:
        self._files()

    def build(self) -> None:
        train, test, links = self._files()
        # Lines, and not words: a million pairs of them are to stay small.
        self.lines = [line.lower() for line in read_lines(train) if "\t" in line]
        sentences = [_words(line) for line in read_lines(test)]
        self.source, self.target = ([pair[side] for pair in sentences] for side in (0, 1))
        self.sure: list[Links] = [set() for _ in sentences]
        self.possible: list[Links] = [set() for _ in sentences]
        for line in read_lines(links):
            found = re.fullmatch(r"num-(\d+) (\d+) -> (\d+) ([SP])", line.strip())
            if found is None or not 1 <= int(found[1]) <= len(sentences):
                raise UserError(f"{links}: {line!r}; expected a link of a sentence, such as 'num-3 1 -> 2 S'")
            kind = self.sure if found[4] == "S" else self.possible
            kind[int(found[1]) - 1].add((int(found[2]) - 1, int(found[3]) - 1))

    def sizes(self) -> dict[str, int]:
        self.setup()
        return {"train": len(self.lines), "test": len(self.source)}

    def parallel(self) -> Iterator[tuple[list[str], list[str]]]:
        """The words of each training pair in both languages, in order."""
        self.setup()
        return map(_words, self.lines)

    def train_dataloader(self) -> ResumableLoader:
        self.setup()
        return Table(Rows(torch.arange(len(self.lines))), self._batch).loader(self.batch_size, self.seed)

    def _batch(self, rows: Rows, seed: int, epoch: int) -> ParallelWords:
        source, target = zip(*(_words(self.lines[row]) for row in rows.index.tolist()), strict=True)
        return ParallelWords([*source], [*target], rows.index)

    def val_dataloader(self) -> list[str]:
        """There is no validation set."""
        return []

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """`one_minus_aer`, `aer`, `precision` and `recall` of the module's links, each with `/sentences`.

        Raises:
            UserError: the module does not offer `align_words`, or the split is not "test".
        """
        self.setup()
        self.check_request(module, split, AlignsWords)
        if split != "test":
            raise UserError(f"split is '{split}'; {self.name} has none but 'test'")
        predicted = module.align_words(self.source, self.target)
        metrics = alignment_metrics(predicted, self.sure, self.possible)
        return {f"{name}/sentences": value for name, value in metrics.items()}

    def floor(self) -> dict[str, Metrics]:
        """No link at all."""
        return {"no links": {self.primary: 0.0}}

    def fingerprint(self) -> str:
        return digest(*(path.read_bytes() for path in self._files()))


def _words(line: str) -> tuple[list[str], list[str]]:
    source, _, target = line.lower().partition("\t")
    # Blanks alone part words, as links count them: a no-break space stands within one.
    return [word for word in source.split(" ") if word], [word for word in target.split(" ") if word]
