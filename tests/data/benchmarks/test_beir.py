"""Own queries and documents in BEIR's layout."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from common.batches import Sentences, SentenceTriplets, TextPairs
from common.errors import UserError
from data.benchmarks.own.beir import Retrieval
from tests.data.benchmarks import own_files


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTRASTIVE_PAPERS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    own_files.beir(tmp_path / "beir", documents=60, queries=40)


def benchmark(**options) -> Retrieval:
    return Retrieval(**{"path": "beir", "batch_size": 4} | options)


def add(file: str, text: str) -> None:
    with Path("beir", file).open("a") as place:
        place.write(text)


def test_batches_hold_a_query_with_one_of_its_answers() -> None:
    data = benchmark()
    assert data.sizes() == {"train": 28, "val": 4, "test": 8, "documents": 60}
    texts, queries = data.document_texts()[:], own_texts()
    negatives = set()
    for batch in data.train_dataloader():
        assert type(batch) is SentenceTriplets
        for query, right, wrong in zip(batch.anchor, batch.positive, batch.negative, strict=True):
            number, answer = queries.index(query), texts.index(right)
            assert answer == number or (number % 2 and answer == number + 1)
            negatives.add(texts.index(wrong) - number)
            assert not number % 2 or texts.index(wrong) == number + 2
    assert not negatives & {0} and len(negatives) > 2
    assert type(next(iter(benchmark(train="documents").train_dataloader()))) is Sentences
    assert type(next(iter(benchmark(train="pairs").train_dataloader()))) is TextPairs


def own_texts() -> list[str]:
    import json

    return [json.loads(line)["text"] for line in Path("beir/queries.jsonl").read_text().splitlines()]


class Oracle(nn.Module):
    """Knows where each query stands."""

    def __init__(self) -> None:
        super().__init__()
        self.queries = own_texts()

    def embed_text(self, texts: list[str]) -> Tensor:
        return torch.eye(62)[[int(text.split()[0][1:]) for text in texts]]

    def embed_query(self, texts: list[str]) -> Tensor:
        at = torch.tensor([self.queries.index(text) for text in texts])
        return torch.eye(62)[at] + 0.9 * torch.eye(62)[at + 1] * (at % 2)[:, None]


def test_queries_look_for_all_their_answers_in_the_whole_corpus() -> None:
    metrics = benchmark().evaluate(Oracle())
    assert metrics["ndcg@10/gallery60"] == metrics["map/gallery60"] == metrics["mrr/gallery60"] == 1.0
    floor = benchmark().floor()
    assert floor["bag of words"]["ndcg@10/gallery60"] > 2 * floor["chance"]["ndcg@10/gallery60"]
    found = benchmark().embeddable("test")
    assert found["text"].ids[:2] == ["d0", "d1"] and found["query"].ids[0].startswith("q")
    assert len(found["text"].items) == 60 and found["text"].items[1:2][0].startswith("T1 ")


def test_given_judgements_part_the_queries() -> None:
    lines = Path("beir/qrels/test.tsv").read_text().splitlines(keepends=True)
    Path("beir/qrels/train.tsv").write_text("".join(lines[:29]))
    Path("beir/qrels/test.tsv").write_text("".join([lines[0], *lines[29:]]))
    assert benchmark().sizes() == {"train": 13, "val": 1, "test": 26, "documents": 60}


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        (
            "corpus.jsonl",
            '{"_id": "d3", "title": "", "text": "again"}\n',
            "corpus.jsonl, row 61: _id 'd3' stands in an",
        ),
        ("corpus.jsonl", '{"_id": "d60", "title": "", "text": " "}\n', "corpus.jsonl, row 61: text is empty"),
        ("qrels/test.tsv", "q0\tnone\t1\n", "qrels/test.tsv, row 81: corpus-id 'none' is in no row of corpus.jsonl"),
        ("qrels/test.tsv", "q0\td5\tgood\n", "qrels/test.tsv, row 81: score is 'good', which is no number"),
    ],
)
def test_faulty_rows_are_named_or_counted(file: str, text: str, message: str, capsys: pytest.CaptureFixture) -> None:
    before = benchmark().fingerprint()
    add(file, text)
    with pytest.raises(UserError) as error:
        benchmark().setup()
    assert str(error.value).startswith(f"beir/{message}")
    data = benchmark(on_error="skip")
    assert data.sizes()["documents"] == 60 and data.left_out.total() == 1 and data.fingerprint() != before
    assert "beir: 1 rows are left out" in capsys.readouterr().err


def test_what_is_missing_is_named() -> None:
    Path("beir/qrels/test.tsv").rename("beir/elsewhere.tsv")
    with pytest.raises(UserError, match=r"beir/qrels holds none of train\.tsv, dev\.tsv and test\.tsv"):
        benchmark().setup()
    Path("beir/queries.jsonl").unlink()
    with pytest.raises(UserError, match=r"beir/queries\.jsonl does not exist"):
        benchmark().setup()
    with pytest.raises(UserError, match=r"data\.path is 'nowhere'; it must be a folder with corpus\.jsonl"):
        benchmark(path="nowhere").setup()
