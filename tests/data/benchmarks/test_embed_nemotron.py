"""The sets of embed-nemotron-dataset in small, laid out as its data preparation writes them."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import torch
from torch import Tensor, nn

from common.errors import UserError
from data.benchmarks.published.embed_nemotron import METADATA, EmbedNemotron


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, instruction in (("Facts", "Find it:"), ("Plain", "")):
        corpus = tmp_path / name / "corpus"
        corpus.mkdir(parents=True)
        (corpus / METADATA).write_text(
            json.dumps({"corpus_id": name, "class": "TextQADataset", "query_instruction": instruction})
        )
        texts = {"id": [str(n) for n in range(20)], "text": [f"{name} document {n}" for n in range(20)]}
        parquet.write_table(pa.table(texts), corpus / "train.parquet")
        rows = [
            {
                "question_id": f"q{n}",
                "question": f"{name} question {n}",
                "corpus_id": name,
                "pos_doc": [{"id": n}, str((n + 10) % 20)],
                "neg_doc": [{"id": str((n + k) % 20)} for k in (1, 2)],
            }
            for n in range(10)
        ]
        (tmp_path / name / f"{name}.json").write_text(json.dumps({"corpus": [{"path": "corpus"}], "data": rows}))
    return tmp_path


class ByNumber(nn.Module):
    """A text by its set and the number at its end."""

    def embed_text(self, texts: list[str]) -> Tensor:
        return torch.eye(40)[[int(text.split()[-1]) + 20 * ("Facts" in text) for text in texts]]


def test_questions_come_with_documents_and_mined_negatives(folder: Path) -> None:
    benchmark = EmbedNemotron(batch_size=8, data_root=str(folder), negatives=3)
    benchmark.prepare_data()
    benchmark.setup()
    assert benchmark.sizes() == {"train": 16, "val": 2, "test": 2}
    loader = benchmark.train_dataloader()
    batch = next(iter(loader))
    for question, document, negatives in zip(batch.query, batch.document, batch.negatives, strict=True):
        name, number = question.split()[-3], int(question.split()[-1])
        assert question.startswith("Find it: ") == (name == "Facts")
        assert document == f"{name} document {number}", "the first in the first epoch"
        following = [f"{name} document {(number + k) % 20}" for k in (1, 2, 1)]
        assert negatives == following, "two were mined, and the first comes again"
    loader.order.set_epoch(1)
    later = next(iter(loader))
    assert all(int(d.split()[-1]) == int(q.split()[-1]) + 10 for q, d in zip(later.query, later.document, strict=True))
    assert len({text for part in benchmark.splits.values() for text, *_ in part}) == 20
    assert benchmark.evaluate(ByNumber()).keys() == benchmark.floor()["chance"].keys()
    assert benchmark.evaluate(ByNumber())["mrr/held_out"] == 1
    one = EmbedNemotron(data_root=str(folder), sets=["Plain"])
    one.setup()
    assert one.sizes()["train"] == 8 and one.fingerprint() != benchmark.fingerprint()


def test_what_is_wrong_is_named(folder: Path) -> None:
    with pytest.raises(UserError, match=r"data_preparation\.py of NVIDIA-NeMo/Automodel"):
        EmbedNemotron(data_root=str(folder), sets=["Missing"]).prepare_data()
    with pytest.raises(UserError, match=r"data\.negatives is 0"):
        EmbedNemotron(negatives=0)
    path = folder / "Plain" / "Plain.json"
    held = json.loads(path.read_text())
    path.write_text(json.dumps({**held, "data": [{**held["data"][0], "neg_doc": []}]}))
    with pytest.raises(UserError, match='question "q0" has no document, or none that was mined'):
        EmbedNemotron(data_root=str(folder)).setup()
    path.write_text(json.dumps({"data": []}))
    with pytest.raises(UserError, match=r"Plain.json: lacks or does not know 'corpus'"):
        EmbedNemotron(data_root=str(folder)).setup()
