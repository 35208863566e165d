"""20 Newsgroups as weighted words, scored on tasks of a few newsgroups: a ground for the theory of latent classes."""

from functools import cached_property

import torch
from torch import Tensor, nn

from common.batches import LabelledVectors
from common.benchmark import Metrics, digest
from common.errors import UserError
from common.evaluation.class_tasks import contrastive_bound, mean_classifier_metrics, task_metrics
from common.evaluation.embed import embed_dataset
from common.evaluation.means import average
from common.evaluation.probe import fitted_probe
from common.protocols import EmbedsVectors
from common.sampling.batches import GlobalBatchSampler, ResumableLoader
from common.table import Table, take
from data.benchmarks.bases.texts import shuffled_classes
from data.benchmarks.mini.newsgroups_tfidf import NewsgroupsTfidf

FEW, DRAWS = 5, 10
"""Class means are also taken from five posts of each class, ten times anew."""
_BOUND = 25
"""Posts of each class over which the bound is enumerated: 500 of 20 classes, 6.3 million triples."""
_FEW = 2
_AT_ONCE = 1000


class NewsgroupsTasks(NewsgroupsTfidf):
    """The posts of `newsgroups_tfidf`; embeddings are scored by the mean classifier on tasks of a few newsgroups.

    Args:
        batch_size: posts in one global batch.
        seed: fixes the order of the posts and which ones `shots` draws; the splits are the same for every seed.
        data_root: folder to read the source from.
        shots: methods train on this many posts of each class alone, or on all there are of a smaller class.
        topic: the classes whose names begin so, as "comp.", are all there are; the others are neither trained on nor
            scored.

    Raises:
        UserError: a switch is out of range, or fewer than two classes are left.
    """

    name = "newsgroups_tasks"
    primary = "mean_5shot/avg2"

    def __init__(
        self,
        *,
        batch_size: int = 96,
        seed: int = 0,
        data_root: str | None = None,
        shots: int | None = None,
        topic: str = "",
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, data_root=data_root, shots=shots)
        kept = [number for number, name in enumerate(self.classes) if name.startswith(topic)]
        if len(kept) < 2:
            known = ", ".join(dict.fromkeys(name.split(".")[0] + "." for name in self.classes))
            raise UserError(f"data.topic is {topic!r}; at least 2 newsgroups must begin so, as with {known}")
        self.kept = torch.tensor(kept)
        self.sampler: GlobalBatchSampler | None = None
        """Puts batches together in place of a permutation, where a method sets one in its `setup`."""

    def build(self) -> None:
        super().build()
        if len(self.kept) == len(self.classes):
            return
        for name, part in self.splits.items():
            part = take(part, torch.isin(part.labels, self.kept))
            self.splits[name] = part._replace(labels=torch.searchsorted(self.kept, part.labels))

    @cached_property
    def train(self) -> LabelledVectors:
        """What methods train on."""
        return self.labelled_set(self.seed)

    def train_dataloader(self) -> ResumableLoader:
        table: Table = Table(self.train, lambda rows, seed, epoch: rows._replace(views=rows.views[None]))
        order = GlobalBatchSampler(len(self.train.ids), self.batch_size, self.seed)
        return table.loader_over(order if self.sampler is None else self.sampler)

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """`mean/...` and `mean_5shot/...`, see `mean_classifier_metrics`, and `linear/...`, the same of a linear probe.

        Returns:
            These: of class means of all posts that methods train on, of class means of five posts of the train split,
            the average of ten draws that are the same for every seed, and of a logistic regression on the posts that
            methods train on. And `contrastive/loss`, `ceiling/loss`, `supervised/loss` and `rescaled/loss`, in bits,
            see `Bound`, over 25 posts of each class of the split.

        Raises:
            UserError: the module does not offer `embed_vectors`, or there is no such split.
        """
        self.setup()
        embed = self.check_request(module, split, EmbedsVectors).embed_vectors

        def side(part: LabelledVectors) -> Tensor:
            return embed_dataset(embed, part.views, _AT_ONCE, module).cpu()

        posts, asked = self.splits["train"], self.splits[split]
        known, rows = side(posts), side(asked)
        learnt = torch.isin(posts.ids, self.train.ids)
        metrics: Metrics = {}

        def add(name: str, found: Metrics) -> None:
            metrics.update({f"{name}/{metric}": value for metric, value in found.items()})

        add("mean", mean_classifier_metrics(known[learnt], posts.labels[learnt], rows, asked.labels))
        draws = [torch.cat([of[:FEW] for of in shuffled_classes(posts, draw, _FEW)]) for draw in range(DRAWS)]
        few = [mean_classifier_metrics(known[at], posts.labels[at], rows, asked.labels) for at in draws]
        add(f"mean_{FEW}shot", {name: average([one[name] for one in few]) for name in few[0]})
        probe = fitted_probe(known[learnt], posts.labels[learnt])
        add("linear", task_metrics(torch.from_numpy(probe.predict_log_proba(rows.numpy())), asked.labels))
        some = torch.cat([of[:_BOUND] for of in shuffled_classes(asked, 0, _FEW)])
        bound = contrastive_bound(rows[some], asked.labels[some])
        for of in ("contrastive", "ceiling", "supervised", "rescaled"):
            metrics[f"{of}/loss"] = getattr(bound, of)
        return metrics

    def floor(self) -> dict[str, Metrics]:
        """Chance, and the posts as they are."""
        posts = self.evaluate(_AsTheyAre())
        chance = {"avg2": 1 / 2, "avg10": 1 / 10, "top1": 1 / len(self.kept)}
        known = {name: chance[of] for name in posts if (of := name.rsplit("/")[1]) in chance}
        # What is the same for all posts has products without a gap, whose loss is 1.
        return {"chance": known | {name: 1.0 for name in posts if name.endswith("/loss")}, "posts as they are": posts}

    def fingerprint(self) -> str:
        return digest(super().fingerprint(), self.kept)


class _AsTheyAre(nn.Module):
    def embed_vectors(self, x: Tensor) -> Tensor:
        return x
