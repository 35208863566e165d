"""Proteins and what they are called: retrieval in both directions, with no relatives across the splits."""

import re
from collections import Counter

import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from torch import Tensor, nn
from torch.nn import functional as F

from common.batches import ProteinTexts
from common.benchmark import Benchmark, Metrics, digest
from common.errors import UserError
from common.evaluation.embed import embed_dataset
from common.evaluation.means import Mean
from common.evaluation.retrieval import both_directions
from common.protocols import DescribesProteins, EmbedsProtein, EmbedsText
from common.random import uniform
from common.sampling.batches import ResumableLoader
from common.table import Table, take
from data.benchmarks.bases.duplicates import alike
from data.benchmarks.bases.floors import BagOfWords, Scattered
from data.cache import cached_tensors
from data.sources.mmseqs2 import MMSEQS2, Protein, read_proteins

RUN, LIKENESS = 5, 0.02
"""Proteins that share 2% of their runs of five residues (about half of the residues then agree) are relatives."""
SIZES = {"test": 1000, "val": 500}
"""Proteins of each scored split, of whole families."""
# Besides these words: a single word, and the number of a gene in a genome.
_SAYS_NOTHING = re.compile(
    r"uncharacteri|predicted protein|hypothetical|unknown|\bDUF|\bUPF|whole genome|^\S+$|\d{4}", re.IGNORECASE
)


class Proteins(Benchmark):
    """UniProt proteins with their names: 10,717 train, 500 validation, 1,000 test.

    Left out are fragments of fewer than 60 residues and names that say nothing, such as "Uncharacterized protein".
    Families (chains of relatives) are dealt out whole, so a test protein shares fewer than about half of its residues
    with any train protein; its name may well occur there. Names are without "(Fragment)".

    Args:
        batch_size, seed, data_root: as in `Benchmark`.
        residues: sequences are cut after so many.
    """

    name = "proteins"
    primary = "protein_to_text/mrr/gallery531"
    sources = (MMSEQS2,)

    def __init__(self, batch_size: int = 64, seed: int = 0, data_root: str | None = None, residues: int = 256) -> None:
        super().__init__(batch_size, seed, data_root)
        if residues < 1:
            raise UserError(f"data.residues is {residues}; it must be at least 1")
        self.residues = residues
        self.splits: dict[str, ProteinTexts] = {}

    def build(self) -> None:
        proteins = _named(read_proteins(self.data_root))

        def families() -> dict[str, Tensor]:
            runs = ({p.sequence[i : i + RUN] for i in range(len(p.sequence) - RUN + 1)} for p in proteins)
            return {"family": torch.from_numpy(alike(list(runs), LIKENESS)).long()}

        options = {"run": RUN, "likeness": LIKENESS}
        family = cached_tensors("proteins", families, self.sources, version=1, data_root=self.data_root, **options)
        family = family["family"]
        names = sorted({protein.name for protein in proteins})
        number = {name: at for at, name in enumerate(names)}
        every = ProteinTexts(
            [protein.sequence[: self.residues] for protein in proteins],
            [protein.name for protein in proteins],
            torch.tensor([number[protein.name] for protein in proteins]),
            torch.arange(len(proteins)),
        )
        # Families in a fixed random order fill the test split, then the validation split; the largest ones stay for
        # training, as a split of a hundred relatives would ask one question a hundred times.
        size = family.bincount()[family]
        drawn = torch.where(size > 20, 1.0, uniform(family, 1, 17).flatten())
        order = torch.arange(len(family))[(drawn.double() + family / 1e9).argsort(stable=True)]
        start = 0
        for split, count in SIZES.items():
            self.splits[split] = take(every, order[start : start + count])
            last = family[order[start + count - 1]]
            start += count
            while family[order[start]] == last:  # the rest of the family is left out
                start += 1
        self.splits["train"] = take(every, order[start:])

    def train_dataloader(self) -> ResumableLoader:
        self.setup()
        return Table(self.splits["train"]).loader(self.batch_size, self.seed)

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """Cosines of the split's proteins and its different names; all proteins of a name are right.

        Returns:
            `protein_to_text/...` and `text_to_protein/...` with `recall@1`, `recall@10`, `mrr` and `median_rank`, each
            with `/galleryN`; and if the module writes descriptions, `generated/word_f1` and `generated/exact`.

        Raises:
            UserError: the module does not offer `embed_protein` and `embed_text`, or there is no such split.
        """
        self.setup()
        self.check_request(module, split, EmbedsProtein, EmbedsText)
        scored = self.splits[split]
        text_of = dict(zip(scored.text_ids.tolist(), scored.text, strict=True))
        names = sorted(text_of)
        protein = F.normalize(embed_dataset(module.embed_protein, scored.sequence, 128, module), dim=1)
        text = F.normalize(embed_dataset(module.embed_text, [text_of[name] for name in names], 256, module), dim=1)
        ids = scored.text_ids.to(text.device), torch.tensor(names, device=text.device)
        metrics = both_directions(protein, text, *ids, names=("protein", "text"), at=(1, 10))
        if isinstance(module, DescribesProteins):
            written = [
                line
                for start in range(0, len(scored.sequence), 128)
                for line in module.describe_proteins(scored.sequence[start : start + 128])
            ]
            pairs = list(zip(written, scored.text, strict=True))
            metrics["generated/word_f1"] = Mean([word_f1(*pair) for pair in pairs])
            metrics["generated/exact"] = Mean([a.lower() == b.lower() for a, b in pairs])
        return metrics

    def floor(self) -> dict[str, Metrics]:
        """Random directions, and the name of the train protein with the most alike runs of three residues."""
        self.setup()
        return {
            "chance": self.evaluate(_Chance()),
            "nearest train protein": self.evaluate(_Nearest(self.splits["train"])),
        }

    def example(self) -> str:
        self.setup()
        rows = list(zip(self.splits["train"].text, self.splits["train"].sequence, strict=True))[:5]
        return "\n".join(f"{text}: {sequence[:40]}" for text, sequence in rows)

    def fingerprint(self) -> str:
        self.setup()
        return digest(
            *((part.sequence, part.text, part.text_ids.tolist(), part.ids.tolist()) for part in self.splits.values())
        )


def word_f1(written: str, right: str) -> float:
    """The F1 of the words of two texts, upper and lower case alike, each word as often as it occurs in both."""
    first, second = Counter(written.lower().split()), Counter(right.lower().split())
    shared = (first & second).total()
    return 2 * shared / max(1, first.total() + second.total())


def _named(proteins: list[Protein]) -> list[Protein]:
    """The proteins with a name that says something; of equal sequences the first."""
    found: dict[str, Protein] = {}
    for protein in proteins:
        name = protein.name.replace(" (Fragment)", "")
        if len(protein.sequence) >= 60 and not _SAYS_NOTHING.search(name):
            found.setdefault(protein.sequence, protein._replace(name=name))
    return list(found.values())


class _Chance(Scattered):
    def embed_protein(self, sequences: list[str]) -> Tensor:
        return self.embed_text([f"sequence {sequence}" for sequence in sequences])


class _Nearest(nn.Module):
    """Places a protein where the name of its nearest train protein is, by counted runs of three residues."""

    def __init__(self, train: ProteinTexts) -> None:
        super().__init__()
        self.runs = TfidfVectorizer(analyzer="char", ngram_range=(3, 3), sublinear_tf=True).fit(train.sequence)
        self.known = self.runs.transform(train.sequence).T.tocsr()
        self.names = train.text
        self.words = BagOfWords(train.text, 2000)

    def embed_text(self, texts: list[str]) -> Tensor:
        return self.words.embed_text(texts)

    def embed_protein(self, sequences: list[str]) -> Tensor:
        nearest = (self.runs.transform(sequences) @ self.known).toarray().argmax(axis=1)
        return self.words.embed_text([self.names[at] for at in nearest])
