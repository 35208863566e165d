"""DPR's files in small, laid out like the real ones."""

import csv
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from common.errors import UserError
from data.benchmarks.published import natural_questions
from data.benchmarks.published.natural_questions import ANSWERS, PASSAGES, POOLS, NaturalQuestions, _holds, _tokens

WIKIPEDIA = [
    ("Tea came from China.", "Tea"),
    ("Coffee came from Ethiopia; some say Yemen.", "Coffee"),
    ('He said "cocoa" was known to the Maya.', "Cocoa"),
    ("Nothing to drink here.", "Stone"),
]


def context(number: int) -> dict:
    text, title = WIKIPEDIA[number]
    return {"title": title, "text": text, "score": 1.0, "passage_id": str(number + 1)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for file in (PASSAGES, POOLS["train"], ANSWERS):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    with (tmp_path / PASSAGES).open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(["id", "text", "title"])
        writer.writerows([number, text, title] for number, (text, title) in enumerate(WIKIPEDIA, 1))

    def row(question: str, positive: list[int], hard: list[int], other: list[int]) -> dict:
        pools = ("positive_ctxs", positive), ("hard_negative_ctxs", hard), ("negative_ctxs", other)
        return {"question": question, "answers": [], **{name: [context(n) for n in pool] for name, pool in pools}}

    questions = [
        row("where does tea come from", [0], [1, 2], [3]),
        row("who drank cocoa?", [2], [], [3]),
        row("nobody knows", [], [1], [2]),
    ]
    for file in POOLS.values():
        (tmp_path / file).write_text(json.dumps(questions))
    with (tmp_path / ANSWERS).open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(["where does tea come from", ["china", "the People's Republic"]])
        writer.writerow(["where does coffee come from", ["Yemen"]])
        writer.writerow(["what did the maya know", ['the "bean"']])
    return tmp_path


class ByTitle(nn.Module):
    """Passages are unit vectors; a query points to the one of its drink, or else to the last."""

    def embed_text(self, texts: list[str]) -> Tensor:
        titles = [title for _, title in WIKIPEDIA]
        return torch.eye(4)[[titles.index(text.split(" [SEP] ")[0]) for text in texts]]

    def embed_query(self, texts: list[str]) -> Tensor:
        drinks = ["tea", "coffee", "cocoa"]
        return torch.stack([torch.tensor([*(2.0 * (d in text) for d in drinks), 1.0]) for text in texts])


def test_training_batches(folder: Path) -> None:
    benchmark = NaturalQuestions(batch_size=2, data_root=str(folder))
    loader = benchmark.train_dataloader()
    negatives = set()
    for epoch in range(20):
        loader.order.set_epoch(epoch)
        (batch,) = loader
        rows = dict(zip(batch.anchor, zip(batch.positive, batch.negative, strict=True), strict=True))
        assert rows["where does tea come from"][0] == "Tea [SEP] Tea came from China."
        # The question mark goes; without a hard negative another passage takes its place; no positive, no question.
        assert rows["who drank cocoa"] == (
            'Cocoa [SEP] He said "cocoa" was known to the Maya.',
            "Stone [SEP] Nothing to drink here.",
        )
        negatives.add(rows["where does tea come from"][1].split()[0])
    assert negatives == {"Coffee", "Cocoa"}, "a hard negative is drawn anew each epoch"


@pytest.mark.parametrize("block", [1, 3, 100])
def test_an_answer_counts_wherever_it_is_found(folder: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(natural_questions, "BLOCK", block)
    monkeypatch.setattr(natural_questions, "DEPTHS", (1, 2))
    metrics = NaturalQuestions(data_root=str(folder)).evaluate(ByTitle())
    # Tea and coffee are found at once; nobody ever finds the bean.
    assert metrics == {"answer@1/wikipedia21m": pytest.approx(2 / 3), "answer@2/wikipedia21m": pytest.approx(2 / 3)}


def test_validation_ranks_the_positive_in_the_pool(folder: Path) -> None:
    # The gallery is tea, coffee, cocoa, stone, then cocoa, stone. The twin of the right passage counts against it.
    assert NaturalQuestions(data_root=str(folder)).evaluate(ByTitle(), "val") == {"average_rank/pool": 0.5}


@pytest.mark.parametrize(
    ("text", "answer", "found"),
    [
        ("In 1972, on 14 December UTC.", "14 december utc", True),
        ("Café-au-lait", "cafe\u0301 - au", True),
        ("The A's won", "a's", True),
        ("Therapist", "the", False),
        ("zero\u200bwidth", "zero width", True),
        ("x", "x y", False),
    ],
)
def test_answers_are_matched_by_tokens(text: str, answer: str, found: bool) -> None:
    assert _holds(_tokens(text), [_tokens(answer)]) is found


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"psgs_w100\.tsv is not in .*download_data\.py.*CC BY-NC"):
        NaturalQuestions(data_root=str(tmp_path)).prepare_data()
    with pytest.raises(UserError, match="benchmark nq needs a module with embed_query; Linear has none"):
        NaturalQuestions(data_root=str(tmp_path)).evaluate(nn.Linear(1, 1))


def test_the_fingerprint_follows_the_files(folder: Path) -> None:
    before = NaturalQuestions(data_root=str(folder)).fingerprint()
    (folder / ANSWERS).write_text("a\t['b']\n")
    assert NaturalQuestions(data_root=str(folder)).fingerprint() != before


def test_rows_end_at_line_feeds(folder: Path) -> None:
    benchmark = NaturalQuestions(data_root=str(folder))
    (folder / PASSAGES).write_text('id\ttext\ttitle\n1\t"one\u2028 ""two"" \x85\f\nthree"\tTitle\n', "utf-8")
    assert list(benchmark.passages()) == [('one\u2028 "two" \x85\f\nthree', "Title")]
    (folder / PASSAGES).write_text("id\ttext\ttitle\n1\tone\n", "utf-8")
    with pytest.raises(UserError, match=r"psgs_w100\.tsv:2: 2 cells; the first row has 3"):
        list(benchmark.passages())
    (folder / ANSWERS).write_text("who\t['me'\n", "utf-8")
    with pytest.raises(UserError, match=r"nq-test\.csv, row 1: a question and a list of answers are wanted"):
        benchmark.asked()
    (folder / POOLS["val"]).write_text("[\n{]")
    with pytest.raises(UserError, match=r"nq-dev\.json:2: not valid JSON"):
        benchmark.questions("val")
