"""Queries, a corpus and which of its documents answer them: the user's own, in the layout of BEIR."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.batches import Sentences, SentenceTriplets, TextPairs
from common.benchmark import Metrics
from common.embedding.columns import Column
from common.errors import UserError
from common.evaluation.embed import embed_dataset
from common.evaluation.retrieval import hit_metrics, listed, ranking_metrics, retrieval_metrics
from common.paths import as_path
from common.protocols import EmbedsQuery, EmbedsText
from common.random import uniform
from common.sampling.batches import ResumableLoader
from common.table import Rows
from data.benchmarks.bases.floors import Scattered, bounded_words
from data.benchmarks.bases.own_data import (
    SPLITS,
    Lazy,
    OwnData,
    Part,
    Units,
    number_in,
    text_fault,
    text_of,
    texts_at,
    texts_in,
)
from data.readers import Source, read_file, shown, split_of

QUERY, DOCUMENT, SCORE = "query-id", "corpus-id", "score"
"""The columns of relevance judgements."""
AT_ONCE = 256
"""Texts that a module embeds in one call."""
FITTED = 50_000
"""Documents whose words are counted, at most."""
_POSITIVE, _NEGATIVE = 4, 5


class Judged(NamedTuple):
    """Which documents answer the queries of a split."""

    right: Tensor
    """(position of the query in the split, position of the document in the corpus), int64 (p, 2), in that order."""
    wrong: Tensor
    """The same of documents that were judged not to: hard negatives, int64 (q, 2)."""


class Retrieval(OwnData):
    """Own queries and documents in BEIR's layout (Thakur et al. 2021): corpus.jsonl, queries.jsonl and qrels/*.tsv.

    A document is its title and its text. What a method reads decides what it is given: documents, triplets or pairs;
    in each epoch a query comes once, with one of its documents. A triplet's negative is a document that was judged 0,
    and else any other of the corpus. Queries are scored against the whole corpus; a gain is 1 whatever the judgement.

    `qrels` holds train.tsv, and dev.tsv and test.tsv; what is missing is drawn from the queries that there are.

    Example, with a folder `scifact` as BEIR distributes it::

        papers fit gradcache --data Retrieval --data.path scifact --model.hard_negatives true
        papers test gradcache --ckpt_path last --data Retrieval --data.path scifact

    Args:
        path: the folder.
        id, text, title: columns of corpus and queries; a title there need not be.
        train: "auto" gives what the method reads, the others "documents", "triplets" or "pairs" whatever it reads.
        others: as in `OwnData`.
    """

    name = "retrieval"

    def __init__(
        self,
        *,
        path: str = "",
        id: str = "_id",
        text: str = "text",
        title: str = "title",
        train: Literal["auto", "documents", "triplets", "pairs"] = "auto",
        **others,
    ) -> None:
        super().__init__(path=path, **others)
        if train not in ("auto", "documents", "triplets", "pairs"):
            raise UserError(f"data.train is {train!r}; it must be 'auto', 'documents', 'triplets' or 'pairs'")
        if self.val_path or self.test_path:
            raise UserError("data.val_path and data.test_path must be null: qrels/dev.tsv and test.tsv are the splits")
        self.id, self.text, self.title, self.train = id, text, title, train

    def columns(self) -> dict[str, str]:
        return {"id": self.id, "text": self.text}

    def read_columns(self, source: Source) -> list[str]:
        return [
            column for column in (self.id, self.text, self.title, QUERY, DOCUMENT, SCORE) if column in source.columns
        ]

    def fault(self, row: Mapping[str, Any], folder: Path) -> str | None:
        return self._judgement_fault(row) if QUERY in row else self._text_fault(row)

    def _text_fault(self, row: Mapping[str, Any]) -> str | None:
        if fault := text_fault(self.id, row[self.id]) or text_fault(self.text, row[self.text]):
            return fault
        if (name := text_of(row[self.id])) in self._places:
            return f"{self.id} {name!r} stands in an earlier row as well"
        self._places[name] = len(self._places)
        return None

    def _judgement_fault(self, row: Mapping[str, Any]) -> str | None:
        for column, known in ((QUERY, self._queries), (DOCUMENT, self._documents)):
            if fault := text_fault(column, row[column]):
                return fault
            if (name := text_of(row[column])) not in known:
                return f"{column} {name!r} is in no row of {'queries' if column == QUERY else 'corpus'}.jsonl"
        if (score := number_in(row[SCORE])) is None:
            return f"{SCORE} is {row[SCORE]!r}, which is no number"
        query, document = text_of(row[QUERY]), text_of(row[DOCUMENT])
        if self._said.setdefault((query, document), score > 0) != (score > 0):
            return f"an earlier row judges {QUERY} {query!r} and {DOCUMENT} {document!r} the other way"
        return None

    def _folder(self) -> Path:
        folder = as_path(self.path, "data.path")
        folder = folder if self.data_root is None else as_path(self.data_root, "data.data_root") / folder
        if not folder.is_dir():
            raise UserError(
                f"data.path is '{self.path}'; it must be a folder with corpus.jsonl, queries.jsonl and qrels"
            )
        return folder

    def build(self) -> None:
        self.forget_left_out()
        folder = self._folder()
        self.corpus, self.documents, self._documents = self._texts(folder / "corpus.jsonl")
        queries, at, self._queries = self._texts(folder / "queries.jsonl")
        self.judged: dict[str, Judged] = {}
        self.splits = {}
        for split, (rows, right, wrong) in self._judgements(folder / "qrels").items():
            number = torch.full((len(at),), -1).index_put_((rows,), torch.arange(len(rows)))
            sides = (torch.stack([number[pairs[:, 0]], pairs[:, 1]], dim=1) for pairs in (right, wrong))
            self.judged[split] = Judged(*(pairs[pairs[:, 0] >= 0].unique(dim=0) for pairs in sides))
            self.splits[split] = Part(queries, at[rows], at[rows], at[rows])
        self.primary = f"ndcg@10/gallery{len(self.documents)}"  # type: ignore[misc]
        self.tell_left_out()
        for split in ("val", "test"):
            self.tell_shared(split, int(torch.isin(self.splits[split].at, self.splits["train"].at).sum()))

    def _texts(self, path: Path) -> tuple[Source, Tensor, dict[str, int]]:
        """A file's rows, which of them can be used, and the place of each id among those."""
        self._places: dict[str, int] = {}
        source = read_file(path)
        return source, self.checked(source), self._places

    def _judgements(self, folder: Path) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
        """By split the queries that have an answer, and pairs of a query and a document, right and wrong."""
        if not folder.is_dir():
            raise UserError(f"{shown(folder)} is no folder; it must hold train.tsv, dev.tsv or test.tsv")
        files = {split: path for path in sorted(folder.glob("*.tsv")) if (split := split_of(path.stem))}
        if not files:
            raise UserError(f"{shown(folder)} holds none of train.tsv, dev.tsv and test.tsv")
        if "train" not in files and len(files) > 1:
            raise UserError(f"{shown(folder)} holds no train.tsv; there must be one beside {', '.join(files)}")
        if "train" not in files:
            files = {"train": next(iter(files.values()))}
        found = {split: self._read_judgements(path) for split, path in files.items()}
        if wanted := [split for split in ("val", "test") if split not in found]:
            right, wrong = found["train"]
            rows = right[:, 0].unique()
            order = rows[uniform(rows, 1, self.split_seed).flatten().argsort(stable=True)]
            if len(rows) <= len(wanted):
                raise UserError(f"{shown(files['train'])}: has {len(rows)} queries; there must be {len(wanted) + 1}")
            for split in wanted:
                size = max(1, round(self.shares[split] * len(rows)))
                mine, order = order[:size], order[size:]
                found[split] = right[torch.isin(right[:, 0], mine)], wrong
            found["train"] = right[torch.isin(right[:, 0], order)], wrong
        return {split: (found[split][0][:, 0].unique(), *found[split]) for split in SPLITS}

    def _read_judgements(self, path: Path) -> tuple[Tensor, Tensor]:
        source = read_file(path)
        self._said: dict[tuple[str, str], bool] = {}
        for column in (QUERY, DOCUMENT, SCORE):
            if column not in source.columns:
                raise UserError(f"{source.name}: there is no column '{column}'; it has {', '.join(source.columns)}")
        pairs: tuple[list[tuple[int, int]], list[tuple[int, int]]] = [], []
        for row in source.rows.select(self.checked(source, required={}).tolist()):
            pair = self._queries[text_of(row[QUERY])], self._documents[text_of(row[DOCUMENT])]
            pairs[float(row[SCORE]) <= 0].append(pair)
        if not pairs[0]:
            raise UserError(f"{source.name}: no score is above 0")
        return torch.tensor(pairs[0]), torch.tensor(pairs[1], dtype=torch.int64).reshape(-1, 2)

    def document_texts(self) -> Lazy:
        """Title and text of each document that can be used."""
        return Lazy(len(self.documents), _Documents(self.corpus, self.documents, self.title, self.text))

    def train_dataloader(self) -> ResumableLoader:
        self.setup()
        names = {"documents": Sentences, "triplets": SentenceTriplets, "pairs": TextPairs}
        kind = names.get(self.train) or self.batch_kind(SentenceTriplets, Sentences, TextPairs)
        texts = self.document_texts()
        if kind is Sentences:
            return self.loader(len(texts), _Single(texts))
        part, judged = self.splits["train"], self.judged["train"]
        answers = Units(judged.right[:, 0])
        return self.loader(len(part.at), _Pairs(part, self.text, texts, judged, answers, kind is SentenceTriplets))

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """Cosines of the queries with all documents; queries go through `embed_query` where a module has it.

        Returns:
            `ndcg@10`, `map`, `recall@1`, `recall@10`, `mrr`, `median_rank`, `log2_rank` of the best answer, and
            `recall_of_all@100`, the share of a query's answers among the first hundred; each with `/galleryN` of the N
            documents.

        Raises:
            UserError: the module does not offer `embed_text`, or there is no such split.
        """
        self.setup()
        embed_text = self.check_request(module, split, EmbedsText).embed_text
        embed_query = module.embed_query if isinstance(module, EmbedsQuery) else embed_text
        query, key = (
            F.normalize(embed_dataset(embed, items, AT_ONCE, module), dim=1)
            for embed, items in (
                (embed_query, self.texts(self.splits[split], self.text)),
                (embed_text, self.document_texts()),
            )
        )
        right = listed(self.judged[split].right.to(query.device))
        recall = f"recall_of_all@100/gallery{len(key)}"
        return {
            **ranking_metrics(query, key, right),
            **retrieval_metrics(query, key, right, at=(1, 10)),
            recall: hit_metrics(query, key, right, at=(100,))[recall],
        }

    def floor(self) -> dict[str, Metrics]:
        """Random directions, and the commonest words of the corpus counted."""
        self.setup()
        texts = self.document_texts()
        words = bounded_words(texts[:FITTED], len(texts))
        return {"chance": self.evaluate(Scattered()), "bag of words": self.evaluate(words)}

    def embedded_columns(self, split: str) -> list[Column]:
        """The queries of the split, and all documents, by their ids."""
        part = self.splits[split]
        queries = list(texts_in(part.source, part.at, self.id))
        documents = list(texts_in(self.corpus, self.documents, self.id))
        return [
            Column("query", self.texts(part, self.text), queries),
            Column("text", self.document_texts(), documents),
        ]

    def sizes(self) -> dict[str, int]:
        return super().sizes() | {"documents": len(self.documents)}

    def example(self) -> str:
        part, texts = self.part("train"), self.document_texts()
        pairs = self.judged["train"].right[:3]
        sides = zip(texts_at(part, pairs[:, 0], self.text), texts[pairs[:, 1]], strict=True)
        return "\n".join(f"{query}\n    {' '.join(document.split())}" for query, document in sides)

    def settings(self) -> tuple[object, ...]:
        return *super().settings(), self.title, [judged.right.tolist() for judged in self.judged.values()]


class _Documents(NamedTuple):
    """Reads documents by their position among those that can be used."""

    corpus: Source
    at: Tensor
    title: str
    text: str

    def __call__(self, index: Tensor) -> list[str]:
        columns = [column for column in (self.title, self.text) if column in self.corpus.columns]
        at = self.at[index].tolist()
        rows = zip(*(self.corpus.cells(column, at) for column in columns), strict=True)
        return [" ".join(text_of(part) for part in row if part is not None).strip() for row in rows]


class _Single(NamedTuple):
    """Makes batches of documents."""

    texts: Lazy

    def __call__(self, rows: Rows, seed: int, epoch: int) -> Sentences:
        return Sentences(self.texts[rows.index], rows.index)


class _Pairs(NamedTuple):
    """Makes batches of queries with an answer of each."""

    part: Part
    text: str
    documents: Lazy
    judged: Judged
    answers: Units
    triplets: bool

    def __call__(self, rows: Rows, seed: int, epoch: int) -> SentenceTriplets | TextPairs:
        ids = self.part.ids[rows.index]
        queries = texts_at(self.part, rows.index, self.text)
        chosen = self.judged.right[self.answers.rows(rows.index, seed, epoch), 1]
        answers = self.documents[chosen]
        if not self.triplets:
            return TextPairs(queries, answers, ids)
        return SentenceTriplets(queries, answers, self.documents[self.negatives(rows.index, seed, epoch)], ids)

    def negatives(self, index: Tensor, *key: int) -> Tensor:
        """A document for each query that does not answer it, drawn from those judged so or else from all."""
        found = []
        for row, draws in zip(index.tolist(), uniform(index, 8, *key, _NEGATIVE).tolist(), strict=True):
            wrong = _of_query(self.judged.wrong, row)
            right = set(_of_query(self.judged.right, row).tolist())
            if len(wrong):
                found.append(int(wrong[int(draws[0] * len(wrong))]))
                continue
            drawn = (int(draw * len(self.documents)) for draw in draws)
            found.append(next((one for one in drawn if one not in right), int(draws[0] * len(self.documents))))
        return torch.tensor(found)


def _of_query(pairs: Tensor, query: int) -> Tensor:
    """The documents of a query, in pairs that stand in order."""
    first, last = torch.searchsorted(pairs[:, 0].contiguous(), torch.tensor([query, query + 1])).tolist()
    return pairs[first:last, 1]
