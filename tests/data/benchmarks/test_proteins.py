"""Proteins and their names: families apart, both directions, known floors."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from common.errors import UserError
from data.benchmarks.bases.floors import Scattered
from data.benchmarks.mini.proteins import Proteins, word_f1
from data.sources.mmseqs2 import MMSEQS2


@pytest.fixture(scope="module")
def proteins(fetched: Callable[..., None]) -> Proteins:
    fetched(MMSEQS2)
    benchmark = Proteins(residues=100_000)
    benchmark.setup()
    return benchmark


class Cheat(Scattered):
    """Knows the name of every protein."""

    def __init__(self, benchmark: Proteins) -> None:
        super().__init__()
        self.name = {s: n for part in benchmark.splits.values() for s, n in zip(part.sequence, part.text, strict=True)}

    def embed_protein(self, sequences: list[str]) -> Tensor:
        return self.embed_text(self.describe_proteins(sequences))

    def describe_proteins(self, sequences: list[str]) -> list[str]:
        return [self.name[sequence] for sequence in sequences]


class Constant(nn.Module):
    def embed_text(self, texts: list[str]) -> Tensor:
        return torch.ones(len(texts), 3)

    embed_protein = embed_text


def test_counts(proteins: Proteins) -> None:
    assert proteins.sizes() == {"train": 10_717, "val": 500, "test": 1000}
    for part in proteins.splits.values():
        assert all(len(sequence) >= 60 and sequence.isalpha() for sequence in part.sequence)
        assert not any("ncharacterized" in text or "(Fragment)" in text for text in part.text)
    ids = torch.cat([part.ids for part in proteins.splits.values()])
    assert ids.unique().numel() == len(ids)


def test_no_protein_has_a_relative_in_another_split(proteins: Proteins) -> None:
    """Against every train protein, counted afresh: the share of runs of five residues stays below 2%."""

    def runs(sequence: str) -> set[str]:
        return {sequence[i : i + 5] for i in range(len(sequence) - 4)}

    scored = [runs(sequence) for split in ("val", "test") for sequence in proteins.splits[split].sequence[::250]]
    for sequence in proteins.splits["train"].sequence:
        train = runs(sequence)
        assert all(len(own & train) < 0.02 * len(own | train) for own in scored)


def test_names_stand_in_several_splits(proteins: Proteins) -> None:
    """A function is learnt from families that have it and asked of others: a quarter of the test names are known."""
    train = set(proteins.splits["train"].text)
    known = [name in train for name in proteins.splits["test"].text]
    assert sum(known) / len(known) == pytest.approx(0.254, abs=1e-3)
    assert len(set(proteins.splits["test"].text)) == 531


def test_protocol(proteins: Proteins) -> None:
    found = proteins.evaluate(Cheat(proteins))
    ranks = {name: found.pop(name) for name in list(found) if "median_rank" in name}
    logarithms = [found.pop(name) for name in list(found) if "log2_rank" in name]
    assert set(ranks.values()) == {1.0} and set(logarithms) == {0.0}
    assert found == pytest.approx(dict.fromkeys(found, 1.0))
    assert proteins.primary in found and "generated/word_f1" in found
    collapsed = proteins.evaluate(Constant(), "val")
    assert collapsed["protein_to_text/recall@10/gallery279"] == 0 == collapsed["text_to_protein/recall@10/gallery500"]


def test_known_floors() -> None:
    benchmark = Proteins()
    floor = benchmark.floor()
    assert floor["chance"].keys() == floor["nearest train protein"].keys()
    assert floor["chance"][benchmark.primary] == pytest.approx(0.015, abs=1e-3)
    assert floor["nearest train protein"][benchmark.primary] == pytest.approx(0.123, abs=1e-3)


def test_batches_and_fingerprint(proteins: Proteins) -> None:
    batch = next(iter(Proteins(batch_size=32).train_dataloader()))
    train = proteins.splits["train"]
    row = {int(i): at for at, i in enumerate(train.ids)}
    for sequence, text, name, i in zip(*batch, strict=True):
        at = row[int(i)]
        assert (train.sequence[at][:256], train.text[at], int(train.text_ids[at])) == (sequence, text, int(name))
    short = Proteins()
    assert short.fingerprint()[:8] == "2a4c1770" != proteins.fingerprint()[:8]
    assert Proteins(seed=1).fingerprint() == short.fingerprint()


def test_word_f1() -> None:
    assert word_f1("DNA ligase", "dna Ligase") == 1.0
    assert word_f1("DNA DNA ligase", "DNA polymerase") == pytest.approx(2 * 1 / 5)
    assert word_f1("", "DNA") == 0.0


def test_bad_requests_are_named(proteins: Proteins) -> None:
    with pytest.raises(UserError, match=r"data\.residues is 0; it must be at least 1"):
        Proteins(residues=0)
    with pytest.raises(UserError, match="needs a module with embed_protein; Scattered has none"):
        proteins.evaluate(Scattered())
    with pytest.raises(UserError, match="split is 'train'"):
        proteins.evaluate(Constant(), "train")
