"""Open-domain retrieval as DPR published it: questions, 21 million passages of Wikipedia, answers found as strings."""

import ast
import hashlib
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from common.batches import SentenceTriplets
from common.benchmark import Benchmark, Metrics, digest
from common.errors import UserError
from common.evaluation.embed import embed_dataset
from common.evaluation.means import Mean
from common.evaluation.retrieval import best_ranks
from common.lines import read_table
from common.protocols import EmbedsQuery, EmbedsText
from common.random import uniform
from common.sampling.batches import GlobalBatchSampler, ResumableLoader
from data.published import published_folder, read_json

PASSAGES = "wikipedia_split/psgs_w100.tsv"
POOLS = {"train": "retriever/nq-train.json", "val": "retriever/nq-dev.json"}
ANSWERS = "retriever/qas/nq-test.csv"
DEPTHS = (5, 20, 100)
BLOCK = 1 << 15
"""Passages embedded before their best are kept and the rest forgotten."""
VAL_QUESTIONS, VAL_NEGATIVES = 1_000, 30


class Question(NamedTuple):
    """A question with its pools of passages."""

    text: str
    positive: str
    """The passage that the annotators marked, or the best that BM25 found with the answer in it."""
    hard: list[str]
    """Passages that BM25 ranks high and that hold no answer."""
    other: list[str]
    """Passages of other questions."""


class _Triplets(Dataset):
    """Takes a whole list of indices at once and returns a batch; the hard negative is another one in each epoch."""

    def __init__(self, questions: list[Question], order: GlobalBatchSampler) -> None:
        self.questions = questions
        self.order = order

    def __getitem__(self, index: list[int]) -> SentenceTriplets:
        ids = torch.tensor(index)
        draws = uniform(ids, 1, self.order.seed, self.order.epoch).flatten().tolist()
        rows = [self.questions[i] for i in index]
        pools = [row.hard or row.other for row in rows]
        negative = [pool[int(draw * len(pool))] for pool, draw in zip(pools, draws, strict=True)]
        return SentenceTriplets([row.text for row in rows], [row.positive for row in rows], negative, ids)


class NaturalQuestions(Benchmark):
    """Natural Questions in DPR's files (Karpukhin et al. 2020); a passage of 100 words is written "title [SEP] text".

    Args:
        batch_size, seed: as in `Benchmark`.
        data_root: the folder `data` that DPR's download script makes.
    """

    name = "nq"
    primary = "answer@20/wikipedia21m"
    published = True

    def __init__(self, batch_size: int = 128, seed: int = 0, data_root: str | None = None) -> None:
        super().__init__(batch_size, seed, data_root)

    def _folder(self) -> Path:
        return published_folder(
            self.data_root,
            title="DPR's Natural Questions",
            files=[PASSAGES, *POOLS.values(), ANSWERS],
            where="data/download_data.py of https://github.com/facebookresearch/DPR, resources "
            "data.wikipedia_split.psgs_w100, data.retriever.nq and data.retriever.qas.nq",
            terms="Natural Questions is CC BY-SA 3.0, DPR's files CC BY-NC 4.0",
        )

    def prepare_data(self) -> None:
        self._folder()

    def questions(self, split: str) -> list[Question]:
        """The questions of "train" or "val" that have a positive passage."""
        rows = read_json(self._folder() / POOLS[split])
        return [
            Question(
                _question(row["question"]),
                _passage(row["positive_ctxs"][0]),
                [_passage(found) for found in row["hard_negative_ctxs"]],
                [_passage(found) for found in row["negative_ctxs"]],
            )
            for row in rows
            if row["positive_ctxs"] and (row["hard_negative_ctxs"] or row["negative_ctxs"])
        ]

    def train_dataloader(self) -> ResumableLoader:
        questions = self.questions("train")
        order = GlobalBatchSampler(len(questions), self.batch_size, self.seed)
        return ResumableLoader(_Triplets(questions, order), sampler=order, batch_size=None)

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """Whether the passages with the largest dot products hold an answer; while training, the positive's rank.

        Returns:
            On "test" `answer@k/wikipedia21m`: the share of the 3,610 questions with an answer, token by token, in one
            of the first k passages of all. On "val" `average_rank/pool`, from 0 and smaller is better: the place of a
            question's positive among the positives and up to 60 negatives of each of 1,000 questions.

        Raises:
            UserError: the module does not offer `embed_query` and `embed_text`, or there is no such split.
        """
        self.check_request(module, split, EmbedsQuery, EmbedsText)
        return self._average_rank(module) if split == "val" else self._answers(module)

    def _average_rank(self, module: nn.Module) -> Metrics:
        questions = self.questions("val")[:VAL_QUESTIONS]
        gallery, places = [], []
        for question in questions:
            places.append(len(gallery))
            gallery += [question.positive, *question.hard[:VAL_NEGATIVES], *question.other[:VAL_NEGATIVES]]
        query = _embedded(module.embed_query, [question.text for question in questions], module)
        key = _embedded(module.embed_text, gallery, module)
        place = torch.tensor(places, device=key.device)
        ranks = best_ranks(query, key, lambda rows: (torch.arange(len(place[rows]), device=key.device), place[rows]))
        return {"average_rank/pool": Mean(ranks - 1)}

    def _answers(self, module: nn.Module) -> Metrics:
        questions, answers = self.asked()
        query = _embedded(module.embed_query, questions, module)
        best = query.new_empty(len(query), 0)
        where = torch.empty(len(query), 0, dtype=torch.int64, device=query.device)
        start, unread = 0, self.passages()
        while block := list(islice(unread, BLOCK)):
            key = _embedded(module.embed_text, [f"{title} [SEP] {text}" for text, title in block], module)
            score, column = (query @ key.T).topk(min(max(DEPTHS), len(key)), dim=1)
            best, where = torch.cat([best, score], dim=1), torch.cat([where, column + start], dim=1)
            best, order = best.topk(min(max(DEPTHS), best.shape[1]), dim=1)
            where = where.gather(1, order)
            start += len(block)
        wanted = set(where.flatten().tolist())
        found = {number: _tokens(text) for number, (text, _) in enumerate(self.passages()) if number in wanted}
        places = [
            next((place for place, number in enumerate(row, 1) if _holds(found[number], tokens)), None)
            for row, tokens in zip(where.tolist(), answers, strict=True)
        ]
        return {
            f"answer@{depth}/wikipedia21m": sum(place is not None and place <= depth for place in places) / len(places)
            for depth in DEPTHS
        }

    def asked(self) -> tuple[list[str], list[list[list[str]]]]:
        """The test questions, and the answers to each as tokens."""
        questions, answers = [], []
        for number, row in enumerate(read_table(self._folder() / ANSWERS, "\t"), start=1):
            try:
                answers.append([_tokens(answer) for answer in ast.literal_eval(row[1])])
            except (IndexError, ValueError, SyntaxError, TypeError):
                raise UserError(f"{ANSWERS}, row {number}: a question and a list of answers are wanted") from None
            questions.append(_question(row[0]))
        return questions, answers

    def passages(self) -> Iterator[tuple[str, str]]:
        """Text and title of every passage."""
        rows = read_table(self._folder() / PASSAGES, "\t")
        next(rows)
        yield from ((text, title) for _, text, title in rows)

    def floor(self) -> dict[str, Metrics]:
        """A passage at random holds no answer."""
        return {"chance": {f"answer@{depth}/wikipedia21m": 0.0 for depth in DEPTHS}}

    def fingerprint(self) -> str:
        found = []
        for file in (PASSAGES, *POOLS.values(), ANSWERS):
            with (self._folder() / file).open("rb") as content:
                found.append(hashlib.file_digest(content, "sha256").digest())
        return digest(*found)


def _embedded(embed: Callable[[list[str]], Tensor], texts: list[str], module: nn.Module) -> Tensor:
    return embed_dataset(embed, texts, 1024, module)


def _question(text: str) -> str:
    return text.removesuffix("?")


def _passage(found: dict[str, str]) -> str:
    return f"{found['title']} [SEP] {found['text']}"


def _tokens(text: str) -> list[str]:
    """Runs of letters, marks and digits, and every other visible character by itself, in lower case and NFD."""
    pieces = []
    for character in unicodedata.normalize("NFD", text):
        match unicodedata.category(character)[0]:
            case "L" | "N" | "M":
                pieces.append(character.lower())
            case "Z" | "C":
                pieces.append(" ")
            case _:
                pieces.append(f" {character} ")
    return "".join(pieces).split()


def _holds(text: list[str], answers: Iterable[list[str]]) -> bool:
    """Whether one of the answers stands in the text, token by token."""
    return any(text[i : i + len(a)] == a for a in answers for i in range(len(text) - len(a) + 1))
