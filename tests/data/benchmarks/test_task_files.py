"""Files of two tasks in small, laid out as the examples of CoDiEmb's authors."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from common.errors import UserError
from data.benchmarks.published.task_files import TaskFiles


def query(number: int, right: int, wrong: int) -> dict:
    documents = [["", "", f"document {number}"], *[["", "", f"more {number}"]] * (right - 1)]
    return {
        "task_type": "ir",
        "query": ["find it: ", "", f" query {number}\n"],
        "positives": documents,
        "negatives": [["", "Title ", f"wrong {number} {k}"] for k in range(wrong)],
        "positive_scores": [],
        "negative_scores": [],
    }


def pair(number: int) -> dict:
    texts = (["be alike", "", f"{side} {number}"] for side in ("query", "document"))
    one, other = texts
    return {
        "task_type": "sts",
        "query": one,
        "positives": [other],
        "negatives": [],
        "positive_scores": [number % 6 / 5],
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files = {
        "ir/one.json": [query(number, 3, 6) for number in range(20)],
        "ir/two.jsonl": [query(number, 1, number % 3) for number in range(20, 36)],
        "sts/pairs.json": [pair(number) for number in range(40)],
    }
    for name, rows in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(json.dumps(row) for row in rows))
    (tmp_path / "ir" / "README.md").write_text("no data")
    return tmp_path


class ByNumber(nn.Module):
    """A text by the number at its end; of pairs, the more alike the higher the grade."""

    def embed_text(self, texts: list[str]) -> Tensor:
        rows = torch.zeros(len(texts), 80)
        for row, text in zip(rows, texts, strict=True):
            number = int(text.split()[-1])
            row[number] = 1
            row[40 + number] = (1 if "query" in text else -1) * (number % 6 - 5) / 5 * ("be alike" in text)
        return rows


def test_rows_become_batches_of_one_set(folder: Path) -> None:
    benchmark = TaskFiles(batch_size=4, pair_batch_size=8, data_root=str(folder))
    benchmark.prepare_data()
    benchmark.setup()
    assert benchmark.sizes() == {"train": 62, "val": 7, "test": 7}
    loader = benchmark.train_dataloader()
    batches = list(loader)
    # 36 queries of which 6 are scored, and 40 pairs of which 8 are: 16, 14 and 32 rows.
    assert sorted(len(batch.ids) for batch in batches) == [4] * 7 + [8] * 4
    for batch in batches:
        sts = not batch.negatives[0]
        for text, right, wrong, grade in zip(batch.query, batch.positives, batch.negatives, batch.grades, strict=True):
            number = int(text.split()[-1])
            if sts:
                assert text == f"Instruction: be alike Query: query {number}" and not wrong
                assert right == [f"Instruction: be alike Query: document {number}"]
                assert float(grade) == pytest.approx(number % 6 / 5)
            else:
                assert text == f"Instruction: find it Query: query {number}" and grade == -1
                assert len(right) == 2 and len(wrong) == 4
                own = {f"Passage: document {number}", f"Passage: more {number}"}
                assert set(right) <= own and (number < 20 or set(right) == {f"Passage: document {number}"})
                few = number % 3 or 1
                assert len(set(wrong)) == (4 if number < 20 else few)
                known = f"Passage: Titlewrong {number}" if number < 20 or number % 3 else "Passage: nothing"
                assert all(text.startswith(known) for text in wrong)
    loader.order.set_epoch(1)
    again = {int(i): texts for batch in loader for i, texts in zip(batch.ids, batch.negatives, strict=True)}
    assert any(
        again.get(int(i), texts) != texts
        for batch in batches
        for i, texts in zip(batch.ids, batch.negatives, strict=True)
    )
    found = benchmark.evaluate(ByNumber())
    assert found["mrr/held_out"] == 1 and found["spearman/held_out"] == pytest.approx(1, abs=0.05)
    assert found.keys() == benchmark.floor()["chance"].keys()
    other = TaskFiles(negatives=2, data_root=str(folder))
    other.setup()
    assert other.fingerprint() != benchmark.fingerprint()


def test_what_is_wrong_is_named(folder: Path) -> None:
    with pytest.raises(UserError, match="TencentCloudADP/youtu-embedding"):
        TaskFiles(data_root=str(folder / "ir")).prepare_data()
    with pytest.raises(UserError, match=r"data\.positives is 0"):
        TaskFiles(positives=0)
    path = folder / "sts" / "pairs.json"
    path.write_text(json.dumps(query(0, 1, 1)))
    with pytest.raises(UserError, match=r"pairs.json:1: no row of sts: ValueError task_type is 'ir'"):
        TaskFiles(data_root=str(folder)).setup()
    path.write_text(json.dumps(pair(0)))
    with pytest.raises(UserError, match="holds 1 rows; three are needed"):
        TaskFiles(data_root=str(folder)).setup()
