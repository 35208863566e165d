"""Questions with documents and mined hard negatives, as NeMo Automodel reads them: for full recipes."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as parquet
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.batches import MinedTexts
from common.benchmark import Benchmark, Metrics, digest
from common.errors import UserError
from common.evaluation.embed import embed_dataset
from common.evaluation.means import Mean
from common.evaluation.retrieval import best_ranks
from common.protocols import EmbedsText
from common.sampling.batches import ResumableLoader
from common.table import Rows, Table
from data.published import published_folder, read_json

METADATA = "merlin_metadata.json"
HELD_OUT = 1000
"""Questions that are scored on "val" and on "test", the last of each, and not trained on."""


class Question(NamedTuple):
    """With the texts of its documents; instructions stand before them."""

    text: str
    positives: list[str]
    negatives: list[str]


class EmbedNemotron(Benchmark):
    """The sets of nvidia/embed-nemotron-dataset-v1 that its data preparation writes: a folder NAME with NAME.json each.

    The released recipe scores by public leaderboards. Here the last questions are held out, 1,000 for each split or a
    tenth of all, and a question's first document is sought among those of the others.

    Args:
        sets: names of the folders; all that are there by default.
        negatives: of each question, the first so many that were mined; a question with fewer repeats them.
        batch_size, seed: as in `Benchmark`.
        data_root: the folder that holds them.
    """

    name = "embed_nemotron"
    primary = "mrr/held_out"
    published = True

    def __init__(
        self,
        batch_size: int = 128,
        seed: int = 0,
        data_root: str | None = None,
        sets: Sequence[str] | None = None,
        negatives: int = 4,
    ) -> None:
        super().__init__(batch_size, seed, data_root)
        if negatives < 1:
            raise UserError(f"data.negatives is {negatives}; it must be at least 1")
        self.sets, self.negatives = sets, negatives
        self.splits: dict[str, list[Question]] = {}

    def _folder(self) -> Path:
        return published_folder(
            self.data_root,
            title="embed-nemotron-dataset-v1",
            files=[f"{name}/{name}.json" for name in self.sets or ()],
            where="examples/retrieval/bi_encoder/llama_embed_nemotron_8b/data_preparation.py of NVIDIA-NeMo/Automodel",
            terms="as each of its sets says",
        )

    def prepare_data(self) -> None:
        self._folder()

    def build(self) -> None:
        folder = self._folder()
        files = [folder / name / f"{name}.json" for name in self.sets or ()] or sorted(folder.glob("*/*.json"))
        questions = [question for path in files if path.stem == path.parent.name for question in _read(path)]
        if len(questions) < 3:
            raise UserError(f"{folder} holds {len(questions)} questions; three are needed")
        # Sets stand one after the other: every k-th question keeps their shares.
        held = min(HELD_OUT, max(1, len(questions) // 10))
        step = len(questions) // (2 * held)
        scored = range(0, 2 * held * step, step)
        self.splits = {
            "val": [questions[at] for at in scored[::2]],
            "test": [questions[at] for at in scored[1::2]],
            "train": [question for at, question in enumerate(questions) if at not in set(scored)],
        }

    def train_dataloader(self) -> ResumableLoader:
        self.setup()
        return Table(Rows(torch.arange(len(self.splits["train"]))), self._mined).loader(self.batch_size, self.seed)

    def _mined(self, rows: Rows, seed: int, epoch: int) -> MinedTexts:
        """One of each question's documents, the first in the first epoch and the next in the next, as released."""
        found = [self.splits["train"][at] for at in rows.index.tolist()]
        chosen = [one.positives[epoch % len(one.positives)] for one in found]
        hard = [[one.negatives[k % len(one.negatives)] for k in range(self.negatives)] for one in found]
        return MinedTexts([one.text for one in found], chosen, hard, rows.index)

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """`mrr/held_out` and `recall@1/held_out` of a question's first document among those of the split.

        Raises:
            UserError: the module does not offer `embed_text`, or there is no such split.
        """
        self.setup()
        embeds = self.check_request(module, split, EmbedsText)

        def rows(texts: list[str]) -> Tensor:
            return F.normalize(embed_dataset(embeds.embed_text, texts, 64, module), dim=1)

        asked = self.splits[split]
        ranks = best_ranks(rows([one.text for one in asked]), rows([one.positives[0] for one in asked]))
        return {"mrr/held_out": Mean(ranks.double().reciprocal()), "recall@1/held_out": Mean(ranks == 1)}

    def floor(self) -> dict[str, Metrics]:
        """A random order of the documents."""
        self.setup()
        count = len(self.splits["test"])
        return {
            "chance": {"mrr/held_out": sum(1 / r for r in range(1, count + 1)) / count, "recall@1/held_out": 1 / count}
        }

    def fingerprint(self) -> str:
        self.setup()
        return digest((self.negatives, {name: list(map(tuple, part)) for name, part in self.splits.items()}))


def _read(path: Path) -> list[Question]:
    held: Any = read_json(path)
    try:
        corpora = held["corpus"] if isinstance(held["corpus"], list) else [held["corpus"]]
        known = {}
        for corpus in corpora:
            about, texts = _corpus(
                path.parent / corpus["path"] if not Path(corpus["path"]).is_absolute() else Path(corpus["path"])
            )
            known[about["corpus_id"]] = about, texts
        return [_question(row, *known[row["corpus_id"]]) for row in held["data"]]
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: lacks or does not know {error}") from None


def _corpus(folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """What is known of a corpus, and its texts by their ids."""
    about = read_json(folder / METADATA)
    files = sorted(folder.glob("**/*.parquet"))
    if not files:
        raise UserError(f"{folder}: there is no *.parquet with the documents")
    rows = [row for file in files for row in parquet.read_table(file, columns=["id", "text"]).to_pylist()]
    return about, {str(row["id"]): row["text"] for row in rows}


def _question(row: dict[str, Any], about: dict[str, Any], texts: dict[str, str]) -> Question:
    def documents(found: list[Any]) -> list[str]:
        ids = [str(one["id"]) if isinstance(one, dict) else str(one) for one in found]
        return [_instructed(about.get("passage_instruction", ""), texts[one]) for one in ids]

    positives, negatives = documents(row["pos_doc"]), documents(row["neg_doc"])
    if not positives or not negatives:
        raise UserError(f"question {json.dumps(row['question_id'])} has no document, or none that was mined")
    return Question(_instructed(about.get("query_instruction", ""), row["question"]), positives, negatives)


def _instructed(instruction: str, text: str) -> str:
    return f"{instruction} {text}" if instruction else text
