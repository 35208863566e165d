"""MovieLens-100K: which films will a person like next?"""

import torch
from torch import Tensor, nn

from common.batches import Interactions
from common.benchmark import Benchmark, Metrics, digest
from common.evaluation.embed import evaluating
from common.evaluation.links import recommendation_metrics
from common.protocols import ScoresItems
from common.random import uniform
from common.sampling.batches import ResumableLoader
from common.table import Table
from data.sources.recbole import RECBOLE, read_movielens

LIKED = 4
"""Stars from which on a film counts as liked; lower ratings are not used."""
LEAST = 10
"""People who like fewer films are left out."""


class MovieLens(Benchmark):
    """Films that people like, in the order of time: the last 20% of each person's are for the test, the 10% before for
    validation.

    897 people and 1,447 films; `titles`, `years` and `genres` describe the films. The Freebase graph that the source
    ships is left out: its table of which film is which entity is scrambled (see `data.sources.recbole`).

    Arguments as in `Benchmark`.
    """

    name = "movielens"
    primary = "recall@20/all_items"
    sources = (RECBOLE,)

    def __init__(self, batch_size: int = 1024, seed: int = 0, data_root: str | None = None) -> None:
        super().__init__(batch_size, seed, data_root)
        self.splits: dict[str, Tensor] = {}

    def build(self) -> None:
        tables = read_movielens(self.data_root)
        liked = [row for row in tables["inter"] if row["rating"] >= LIKED]
        # Whoever rates many films in one sitting rates them in one second; the film's number breaks such ties.
        liked.sort(key=lambda row: (int(row["user_id"]), row["timestamp"], int(row["item_id"])))
        by_user: dict[str, list[str]] = {}
        for row in liked:
            by_user.setdefault(row["user_id"], []).append(row["item_id"])
        by_user = {user: films for user, films in by_user.items() if len(films) >= LEAST}
        films = sorted({film for found in by_user.values() for film in found}, key=int)
        number = {film: at for at, film in enumerate(films)}
        splits: dict[str, list[tuple[int, int]]] = {"train": [], "val": [], "test": []}
        for user, found in enumerate(by_user.values()):
            test, val = round(0.8 * len(found)), round(0.7 * len(found))
            for split, part in (("train", found[:val]), ("val", found[val:test]), ("test", found[test:])):
                splits[split] += [(user, number[film]) for film in part]
        self.splits = {split: torch.tensor(pairs) for split, pairs in splits.items()}
        self.users = len(by_user)
        about = {row["item_id"]: row for row in tables["item"]}
        self.titles = [about[film]["movie_title"] for film in films]
        self.years = [about[film]["release_year"] for film in films]
        self.genres = [about[film]["class"] for film in films]

    def train_dataloader(self) -> ResumableLoader:
        self.setup()
        train = self.splits["train"]
        pairs = Interactions(*train.unbind(1), torch.arange(len(train)))
        return Table(pairs).loader(self.batch_size, self.seed)

    def liked(self, *splits: str) -> Tensor:
        """Who likes what in the named splits, bool of shape (users, films)."""
        found = torch.zeros(self.users, len(self.titles), dtype=torch.bool)
        for split in splits:
            user, film = self.splits[split].T
            found[user, film] = True
        return found

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """Every film that a person is not yet known to like is a candidate.

        Returns:
            `recall@20/all_items` and `ndcg@20/all_items`, means over people.

        Raises:
            UserError: the module does not offer `score_items`, or there is no such split.
        """
        self.setup()
        self.check_request(module, split, ScoresItems)
        with evaluating(module):
            scores = module.score_items(torch.arange(self.users)).float().cpu()
        known = self.liked("train") if split == "val" else self.liked("train", "val")
        metrics = recommendation_metrics(scores, self.liked(split), known, at=20)
        return {f"{name}/all_items": value for name, value in metrics.items()}

    def floor(self) -> dict[str, Metrics]:
        """Random scores, and the films that most people like."""
        self.setup()
        counts = self.liked("train").sum(dim=0).float()
        return {
            "chance": self.evaluate(_Scores(uniform(torch.arange(self.users), len(self.titles), 13))),
            "most liked": self.evaluate(_Scores(counts.expand(self.users, -1))),
        }

    def example(self) -> str:
        self.setup()
        films = [film for user, film in self.splits["train"].tolist() if user == 0]
        return "\n".join(f"user 0 liked {self.titles[film]} ({self.years[film]})" for film in films[:5])

    def fingerprint(self) -> str:
        self.setup()
        return digest((self.titles, self.years, self.genres), *self.splits.values())


class _Scores(nn.Module):
    def __init__(self, scores: Tensor) -> None:
        super().__init__()
        self.scores = scores

    def score_items(self, users: Tensor) -> Tensor:
        return self.scores[users]
