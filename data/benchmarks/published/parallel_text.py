"""Parallel text in many languages, and Tatoeba's sentences to be found by their translations: for full recipes."""

import re
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from common.batches import Translations
from common.benchmark import Benchmark, Metrics, digest
from common.errors import UserError
from common.evaluation.embed import embed_dataset
from common.evaluation.means import Mean, average, both
from common.evaluation.retrieval import best_ranks
from common.lines import read_lines
from common.protocols import EmbedsText
from common.random import uniform
from common.sampling.batches import ResumableLoader
from common.table import Rows, Table
from data.published import beside, published_folder

_PAIR = re.compile(r"([a-z]{2,3})-([a-z]{2,3})\.\1\.txt")
_TATOEBA = re.compile(r"tatoeba\.([a-z]{3})-eng\.\1")


class ParallelText(Benchmark):
    """Two files a pair of languages, and the test sets of LASER's `tatoeba/v1`, up to 1,000 sentences a language.

    `parallel/en-zh.en.txt` and `parallel/en-zh.zh.txt` are parallel line by line, as the tools of InfoXLM read them;
    `tatoeba/tatoeba.fra-eng.fra` and `tatoeba/tatoeba.fra-eng.eng` likewise.

    Args:
        batch_size, seed: as in `Benchmark`.
        data_root: folder with `parallel` and `tatoeba`.
        together: so many rows of a batch, from the first on, are of one pair of languages, in one order.
    """

    name = "parallel_text"
    published = True
    primary = "recall@1/tatoeba"

    def __init__(self, batch_size: int = 64, seed: int = 0, data_root: str | None = None, together: int = 4) -> None:
        super().__init__(batch_size, seed, data_root)
        if together < 1 or batch_size % together:
            raise UserError(f"data.together is {together}; it must divide data.batch_size, which is {batch_size}")
        self.together = together

    def _folder(self) -> Path:
        return published_folder(
            self.data_root,
            title="parallel text and Tatoeba",
            files=["parallel", "tatoeba"],
            where="OPUS (MultiUN, IIT Bombay, WikiMatrix), and data/tatoeba/v1 of "
            "https://github.com/facebookresearch/LASER",
            terms="each corpus has its own; Tatoeba is CC BY 2.0 FR",
        )

    def prepare_data(self) -> None:
        self._folder()

    def build(self) -> None:
        folder = self._folder() / "parallel"
        names = sorted(path.name for path in folder.iterdir())
        pairs = [found for name in names if (found := _PAIR.fullmatch(name))]
        if not pairs:
            raise UserError(f"{folder} holds no pair of files such as en-zh.en.txt and en-zh.zh.txt")
        self.languages = sorted({code for pair in pairs for code in pair.groups()})
        self.texts: list[tuple[str, str]] = []
        self.codes, self.starts = [], [0]
        for pair in pairs:
            files = [folder / f"{pair[1]}-{pair[2]}.{code}.txt" for code in pair.groups()]
            self.texts += _side_by_side(*files)
            # Whole groups, so that none is of two pairs of languages.
            del self.texts[len(self.texts) - (len(self.texts) - self.starts[-1]) % self.together :]
            self.starts.append(len(self.texts))
            self.codes.append([self.languages.index(code) for code in pair.groups()])

    def sizes(self) -> dict[str, int]:
        self.setup()
        return {"train": len(self.texts)}

    def train_dataloader(self) -> ResumableLoader:
        self.setup()
        groups = Rows(torch.arange(len(self.texts) // self.together))
        return Table(groups, self._translations).loader(self.batch_size // self.together, self.seed)

    def _translations(self, groups: Rows, seed: int, epoch: int) -> Translations:
        """Neighbouring lines by the number of their group, each group in one direction."""
        ids = (groups.index[:, None] * self.together + torch.arange(self.together)).flatten()
        turned = (uniform(groups.index, 1, seed, epoch, 13) < 0.5).expand(-1, self.together).flatten()
        where = torch.bucketize(ids, torch.tensor(self.starts[1:]), right=True)
        codes = torch.tensor(self.codes)[where]
        codes = torch.where(turned[:, None], codes.flip(1), codes)
        texts = [self.texts[k][:: -1 if turn else 1] for k, turn in zip(ids.tolist(), turned.tolist(), strict=True)]
        source, target = zip(*texts, strict=True)
        return Translations([*source], [*target], codes[:, 0], codes[:, 1], ids)

    def val_dataloader(self) -> list[str]:
        """There is no validation set."""
        return []

    def tatoeba(self) -> dict[str, list[tuple[str, str]]]:
        """Of each language its sentences with their English translations."""
        folder = self._folder() / "tatoeba"
        names = sorted(path.name for path in folder.iterdir())
        found = [match for name in names if (match := _TATOEBA.fullmatch(name))]
        return {m[1]: _side_by_side(folder / m[0], folder / f"tatoeba.{m[1]}-eng.eng") for m in found}

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """`recall@1_L/tatoeba` of each language, the mean of to and from English, by cosine, and their mean.

        Raises:
            UserError: the module does not offer `embed_text`, or the split is not "test".
        """
        self.check_request(module, split, EmbedsText)
        if split != "test":
            raise UserError(f"split is '{split}'; {self.name} has none but 'test'")
        metrics: Metrics = {}
        for code, sentences in self.tatoeba().items():
            rows = [
                F.normalize(embed_dataset(module.embed_text, [*side], 256, module), dim=1)
                for side in zip(*sentences, strict=True)
            ]
            hits = [Mean(best_ranks(*order) == 1) for order in (rows, rows[::-1])]
            metrics[f"recall@1_{code}/tatoeba"] = both(*hits)
        return {self.primary: average([*metrics.values()]), **metrics}

    def floor(self) -> dict[str, Metrics]:
        """One of some 1,000 sentences at random."""
        return {"chance": {self.primary: 0.001}}

    def fingerprint(self) -> str:
        folder = self._folder()
        files = [path for part in ("parallel", "tatoeba") for path in sorted((folder / part).iterdir())]
        return digest(self.together, *(path.read_bytes() for path in files))


def _side_by_side(first: Path, second: Path) -> list[tuple[str, str]]:
    lines = [[*read_lines(path)] for path in (first, second)]
    beside(*lines, first, second)
    return [*zip(*lines, strict=True)]
