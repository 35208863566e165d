"""Own pairs of texts: what each method is given, who meets whom, and what is scored."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from common import batches
from common.batches import Sentences, SentenceTriplets
from common.errors import UserError
from data.benchmarks.own.text_pairs import TextPairs
from tests.data.benchmarks import own_files

ROWS = [{"q": f"ask {i // 2}", "a": f"say {i}", "negatives": [f"no {i}", f"not {i}"] if i % 2 else None}
        for i in range(40)]  # fmt: skip


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTRASTIVE_PAPERS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def benchmark(rows: list[dict] = ROWS, **options) -> TextPairs:
    own_files.lines(Path("pairs.jsonl"), rows)
    return TextPairs(
        **{"path": "pairs.jsonl", "anchor": "q", "positive": "a", "batch_size": 5, "train": "pairs"} | options
    )


def epoch(data: TextPairs, number: int = 0) -> list:
    loader = data.train_dataloader()
    loader.order.set_epoch(number)
    return list(loader)


def test_an_anchor_with_several_positives_is_once_in_an_epoch_and_in_one_split() -> None:
    data = benchmark()
    data.setup()
    assert data.sizes() == {"train": 28, "val": 4, "test": 8}
    anchors = {split: {int(i) // 2 for i in part.ids} for split, part in data.splits.items()}
    assert sum(map(len, anchors.values())) == len(set().union(*anchors.values())) == 20
    met = set()
    for number in range(4):
        rows = [row for batch in epoch(data, number) for row in zip(*batch, strict=True)]
        said = [row[0] for row in rows]
        assert len(said) == len(set(said)) == 10  # two batches of five of fourteen anchors
        assert all(int(a.split()[1]) // 2 == int(q.split()[1]) for q, a, *_ in rows)
        met |= {row[1] for row in rows}
    assert len(met) > 14, "another positive is drawn in another epoch"


def test_a_triplet_has_a_negative_of_its_own_or_the_positive_of_another() -> None:
    data = benchmark(train="triplets")
    found = [row for n in range(25) for b in epoch(data, n) for row in zip(*b, strict=True)]
    for anchor, positive, negative, group in found:
        own, number = negative.split()
        if own == "say":
            assert int(number) // 2 != int(anchor.split()[1]) and int(positive.split()[1]) % 2 == 0
        else:
            assert number == positive.split()[1]
        assert group == 2 * int(anchor.split()[1])
    assert {row[2].split()[0] for row in found} == {"say", "no", "not"}


def test_each_kind_of_batch() -> None:
    kinds = {"sentences": Sentences, "triplets": SentenceTriplets, "pairs": batches.TextPairs}
    for name, kind in kinds.items():
        assert all(type(batch) is kind for batch in epoch(benchmark(train=name)))
    texts = [text for batch in epoch(benchmark(train="sentences", batch_size=7)) for text in batch.text]
    assert len(set(texts)) == len(texts) == 42  # 14 questions and 28 answers


class Numbers(nn.Module):
    """A text is the angle of its last number, halved for an answer."""

    def embed_text(self, texts: list[str]) -> Tensor:
        angle = torch.tensor([int(t.split()[1]) / 10 / (2 if t.startswith("say") else 1) for t in texts])
        return torch.stack([angle.cos(), angle.sin()], dim=1)


def test_every_positive_of_an_anchor_is_right() -> None:
    data = benchmark()
    metrics = data.evaluate(Numbers())
    assert metrics["recall@1/gallery8"] == 1.0 and metrics["ndcg@10/gallery8"] > 0.95
    assert data.primary == "mrr/gallery8" and data.primary in data.floor()["bag of words"]
    shared = [*({"q": f"ask {i}", "a": "say 4"} for i in range(10)), *ROWS]
    assert benchmark(shared).evaluate(Numbers(), "val"), "an answer to several questions is right for each"


def test_scored_pairs_are_ranked_and_the_best_are_trained_on() -> None:
    rows = [{"q": f"ask {i}", "a": f"ask {i + i % 5}", "s": 5 - i % 5} for i in range(60)]
    data = benchmark(rows, score="s", batch_size=4)
    # Cosines of equal angles differ in the last digit, so scores that tie are in any order.
    assert data.evaluate(Numbers()) == {"spearman/pairs": pytest.approx(1.0, abs=0.05)}
    assert data.primary == "spearman/pairs" and data.floor()["bag of words"].keys() == {data.primary}
    assert not all(q == a for batch in epoch(data) for q, a in zip(batch.query, batch.document, strict=True))
    best = benchmark(rows, score="s", least=5, train="pairs", batch_size=4)
    assert all(q == a for batch in epoch(best) for q, a in zip(batch.query, batch.document, strict=True))
    faulty = [row | {"s": "x" if i == 2 else str(row["s"])} for i, row in enumerate(rows)]
    with pytest.raises(UserError, match=r"pairs\.jsonl, row 3: s is 'x', which is no number"):
        benchmark(faulty, score="s").setup()


def test_splits_may_be_given_and_the_fingerprint_tells_what_was_read() -> None:
    own_files.lines(Path("held.jsonl"), ROWS[:6])
    data = benchmark(test_path="held.jsonl")
    assert data.sizes() == {"train": 36, "val": 4, "test": 6}
    assert data.fingerprint() != benchmark().fingerprint() == benchmark(seed=3).fingerprint()
    assert benchmark(split_seed=1).fingerprint() != benchmark().fingerprint()
    assert benchmark([*ROWS[:-1], ROWS[-1] | {"a": "else"}]).fingerprint() != benchmark().fingerprint()


def test_a_batch_that_cannot_be_filled_is_told() -> None:
    with pytest.raises(UserError, match=r"data\.batch_size is 50; pairs\.jsonl has 14 to train on that differ"):
        benchmark(batch_size=50).train_dataloader()


def test_what_a_module_embeds_has_names() -> None:
    found = benchmark().embeddable("test")
    assert set(found) == {"query", "text"}
    _, items, names = found["text"]
    assert [f"say {int(name.split()[-1]) - 1}" for name in names] == items[:] and len(names) == 8
