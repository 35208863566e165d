"""Folk tunes in ABC notation and what is written about them: music <-> text, type and region."""

import hashlib
import json
import re
from collections import Counter
from string import capwords
from typing import NamedTuple

import numpy as np
import torch
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from torch import Tensor, nn
from torch.nn import functional as F

from common.batches import TextPairs
from common.benchmark import Benchmark, Metrics, digest
from common.evaluation.embed import embed_dataset
from common.evaluation.probe import linear_probe
from common.evaluation.retrieval import both_directions
from common.protocols import EmbedsMusic, EmbedsText
from common.random import uniform
from common.sampling.batches import ResumableLoader
from common.table import Table
from data.benchmarks.bases.abc_notation import music_of, same_tune, steps_of
from data.benchmarks.bases.floors import Scattered
from data.cache import cached_tensors
from data.sources.music21 import MUSIC21, Tune, read_tunes

HELD_OUT = {"test": 1_000, "val": 500}
"""Tunes in the galleries, each the only one of its group."""
RUN = 16
"""Moves in a row that make two tunes settings of one."""
LARGEST_GROUP = 8
"""Larger groups stay in the train split: what they share is a scale and not a tune."""

TYPES = {
    # What to look for in the field R; the first that is found decides.
    "slip jig": r"slip ?jig",
    "jig": r"jig",
    "reel": r"reel",
    "hornpipe": r"hornpipe",
    "strathspey": r"strathspey|fling",
    "xiaodiao": r"xiaodiao",
    "shan'ge": r"shange",
    "hymn": r"geistlich|religi",
    "children's song": r"kinder -|wiegen",
    "ballad": r"ballade|romanze",
    "love song": r"liebes",
}
REGIONS = {
    "China": r"china",
    "Luxembourg": r"luxemburg",
    "Lorraine": r"lothringen",
    "Germany": r"deutschland",
    "Austria": r"oesterreich|tirol|steiermark",
    "Switzerland": r"schweiz",
    "the Netherlands": r"niederlande",
    "Ireland": r"irland",
    "Yugoslavia": r"jugoslawien",
}
# Those with a few hundred tunes each; of the others the held-out splits hold a handful.
SCORED_TYPES = tuple(name for name in TYPES if name not in ("slip jig", "strathspey"))
SCORED_REGIONS = ("China", "Luxembourg", "Lorraine", "Germany")
PER_CLASS = 300
"""Tunes of each class, at most, that the probes are fitted on."""
_MODES = {"m": "minor", "dor": "Dorian", "phr": "Phrygian", "lyd": "Lydian", "mix": "Mixolydian"}


class Tunes(NamedTuple):
    """Tunes with what is written about them."""

    music: list[str]
    """ABC: metre, unit and key, a line each, then the music without spaces."""
    text: list[str]
    """A line each for the title and, where known, the type, the region, the key and the metre."""
    type: Tensor
    """Position in `TYPES`, -1 where unknown, int64 of shape (n,)."""
    region: Tensor
    """Position in `REGIONS`, -1 where unknown, shape (n,)."""
    ids: Tensor
    """Position in the source, shape (n,)."""


class FolkTunes(Benchmark):
    """Learns from tunes with descriptions; finds tunes by description and back, and tells types and regions.

    In a training batch the description is the query and the tune the document. The notation is stripped of what tells
    the typist (spacing, chord names, lyrics). Settings of one tune, under whatever title and in whatever key, stand in
    one split: tunes that share 16 moves of the melody in a row, directly or through others.
    """

    name = "tunes"
    primary = f"text_to_music/mrr/gallery{HELD_OUT['test']}"
    sources = (MUSIC21,)

    def __init__(self, batch_size: int = 64, seed: int = 0, data_root: str | None = None) -> None:
        super().__init__(batch_size, seed, data_root)
        self.splits: dict[str, Tunes] = {}

    def build(self) -> None:
        def lists() -> dict[str, Tensor]:
            content = json.dumps({split: _lists(tunes) for split, tunes in _split(read_tunes(self.data_root)).items()})
            return {"json": torch.frombuffer(bytearray(content.encode()), dtype=torch.uint8)}

        stored = cached_tensors("tunes", lists, (MUSIC21,), version=1, data_root=self.data_root)["json"]
        for split, (music, text, *numbers) in json.loads(stored.numpy().tobytes()).items():
            self.splits[split] = Tunes(music, text, *map(torch.tensor, numbers))

    def train_dataloader(self) -> ResumableLoader:
        self.setup()
        train = self.splits["train"]
        return Table(TextPairs(train.text, train.music, train.ids)).loader(self.batch_size, self.seed)

    def evaluate(self, module: nn.Module, split: str = "test") -> Metrics:
        """Retrieval by cosine, if the module embeds text too, and what is to be heard.

        Returns:
            `text_to_music/...` and `music_to_text/...` with `recall@{1,10,100}`, `median_rank` and `mrr` in the gallery
            of the split; `probe_linear/type_macro` and `probe_linear/region_macro`, a probe fitted on the train split,
            the mean over the classes of the share that is told right; and `zero_shot/type_macro`, the type whose name
            is the nearest text, as in CLaMP.

        Raises:
            UserError: the module does not offer `embed_music`, or there is no such split.
        """
        self.setup()
        self.check_request(module, split, EmbedsMusic)
        tunes, train = self.splits[split], self.splits["train"]
        music = F.normalize(embed_dataset(module.embed_music, tunes.music, 64, module), dim=1)
        metrics = {}
        labels = {split: self.labels(split), "train": self.labels("train")}
        if isinstance(module, EmbedsText):
            text = F.normalize(embed_dataset(module.embed_text, tunes.text, 64, module), dim=1)
            metrics |= both_directions(text, music, names=("text", "music"), at=(1, 10, 100))
            names = F.normalize(embed_dataset(module.embed_text, list(SCORED_TYPES), 64, module), dim=1)
            truth = labels[split]["type"]
            metrics["zero_shot/type_macro"] = _macro(truth, (music @ names.T).argmax(dim=1))
        for what, truth in labels[split].items():
            chosen = _at_most(PER_CLASS, labels["train"][what], train.ids)
            rows = embed_dataset(module.embed_music, [train.music[row] for row in chosen.tolist()], 64, module)
            predicted = linear_probe(F.normalize(rows, dim=1), labels["train"][what][chosen], music)
            metrics[f"probe_linear/{what}_macro"] = _macro(truth, predicted)
        return metrics

    def labels(self, split: str) -> dict[str, Tensor]:
        """For "type" and "region" the class of each tune among those that are scored, -1 for the others."""
        tunes = self.splits[split]
        return {
            "type": _among(tunes.type, list(TYPES), SCORED_TYPES),
            "region": _among(tunes.region, list(REGIONS), SCORED_REGIONS),
        }

    def floor(self) -> dict[str, Metrics]:
        """Chance; counted pieces of notation; and a linear map from these to counted words."""
        self.setup()
        pieces = PiecesOfNotation(self.splits["train"].music)
        return {
            "chance": self.evaluate(ScatteredMusic()),
            "n-grams": self.evaluate(pieces),
            "linear map of n-grams to words": self.evaluate(PiecesToWords(pieces, self.splits["train"])),
        }

    def example(self) -> str:
        self.setup()
        train = self.splits["train"]
        return f"{train.text[0]}\n\n{train.music[0]}"

    def fingerprint(self) -> str:
        self.setup()
        return digest(json.dumps({split: _lists(tunes) for split, tunes in self.splits.items()}, sort_keys=True))


def _lists(tunes: Tunes) -> list[list]:
    return [column.tolist() if isinstance(column, Tensor) else column for column in tunes]


def _among(labels: Tensor, names: list[str], scored: tuple[str, ...]) -> Tensor:
    """The labels as positions in `scored`; -1 stays and is what the others become."""
    table = torch.tensor([scored.index(name) if name in scored else -1 for name in names] + [-1])
    return table[labels]


def _at_most(count: int, labels: Tensor, ids: Tensor) -> Tensor:
    """Rows of up to `count` of each class, drawn by their ids."""
    order = uniform(ids, 1, count).flatten().argsort(stable=True)
    return torch.cat([order[labels[order] == label][:count] for label in range(int(labels.max()) + 1)])


def _macro(truth: Tensor, predicted: Tensor) -> float:
    """The mean over the classes of the share that is told right; rows of class -1 do not count."""
    known = truth >= 0
    return float(balanced_accuracy_score(truth[known].numpy(), predicted.cpu()[known].numpy()))


def _split(tunes: list[Tune]) -> dict[str, Tunes]:
    music = [music_of(tune.notes) for tune in tunes]
    group = same_tune([steps_of(notes) for notes in music], RUN)
    size = Counter(group)
    small = [root for root in size if size[root] <= LARGEST_GROUP]
    # By a hash of the music: which tunes are held out does not depend on the order of the files.
    small.sort(key=lambda root: hashlib.sha256(music[root].encode()).digest())
    held_out = {}
    for split, count in HELD_OUT.items():
        held_out[split], small = small[:count], small[count:]
    taken = set().union(*held_out.values())
    rows = {"train": [row for row, root in enumerate(group) if root not in taken], **held_out}
    return {split: _described(tunes, music, sorted(chosen)) for split, chosen in rows.items()}


def _described(tunes: list[Tune], music: list[str], rows: list[int]) -> Tunes:
    found = Tunes([], [], *(torch.empty(len(rows), dtype=torch.int64) for _ in range(3)))
    for place, row in enumerate(rows):
        fields = tunes[row].fields
        key, metre = _key(fields["K"]), {"C": "4/4", "C|": "2/2"}.get(fields["M"], fields["M"])
        kind, region = _first(TYPES, fields.get("R", "")), _first(REGIONS, fields.get("O", ""))
        found.music.append(f"M:{metre}\nL:{fields.get('L', '1/8')}\nK:{''.join(key)}\n{music[row]}")
        lines = [_title(fields["T"])]
        lines += [list(TYPES)[kind]] if kind >= 0 else []
        lines += [f"from {list(REGIONS)[region]}"] if region >= 0 else []
        lines += [f"in {key[0]} {_MODES.get(key[1], 'major')}"]
        lines += [f"in {metre} time"] if re.fullmatch(r"\d+/\d+", metre) else []
        found.text.append("\n".join(lines))
        found.type[place], found.region[place], found.ids[place] = kind, region, row
    return found


def _first(patterns: dict[str, str], field: str) -> int:
    """The position of the first pattern that is found, or -1."""
    return next((k for k, pattern in enumerate(patterns.values()) if re.search(pattern, field.lower())), -1)


def _key(field: str) -> tuple[str, str]:
    """Tonic and mode of a field K, the mode "" for major or one of `_MODES`; collections write "Em" and "E Minor"."""
    tonic, mode = re.match(r"([A-G][#b]?)?\s*([a-z]*)", field[:1] + field[1:].lower()).groups()
    mode = mode[:3]
    return tonic or "C", "m" if mode in ("m", "min") else mode if mode in _MODES else ""


def _title(field: str) -> str:
    """A title without the type behind a dash, with its article in front, and not in capitals."""
    title = re.sub(r"\s+--.*", "", field).strip(" .,\"'")
    title = re.sub(r"^(.*), (The|A|An)$", r"\2 \1", title, flags=re.IGNORECASE)
    return capwords(title) if title.isupper() else title


class ScatteredMusic(Scattered):
    """A random direction for every tune, too."""

    def embed_music(self, music: list[str]) -> Tensor:
        return self.embed_text(music)


class PiecesOfNotation(nn.Module):
    """TF-IDF of the pieces of up to 3 characters in ABC notation, on its 128 main axes."""

    def __init__(self, music: list[str]) -> None:
        super().__init__()
        count = TfidfVectorizer(
            analyzer="char", ngram_range=(1, 3), lowercase=False, max_features=5_000, sublinear_tf=True
        )
        self.pieces = make_pipeline(count, TruncatedSVD(128, random_state=0)).fit(music)

    def embed_music(self, music: list[str]) -> Tensor:
        return torch.from_numpy(self.pieces.transform(music)).float()


class PiecesToWords(nn.Module):
    """Ridge regression of a description's TF-IDF, on its 128 main axes, from the pieces of notation."""

    def __init__(self, pieces: PiecesOfNotation, train: Tunes) -> None:
        super().__init__()
        self.notation = pieces
        count = TfidfVectorizer(token_pattern=r"[^\s]+", min_df=2, sublinear_tf=True)
        self.words = make_pipeline(count, TruncatedSVD(128, random_state=0)).fit(train.text)
        self.map = Ridge(0.1).fit(pieces.embed_music(train.music).numpy(), self.words.transform(train.text))

    def embed_music(self, music: list[str]) -> Tensor:
        return torch.from_numpy(np.asarray(self.map.predict(self.notation.embed_music(music).numpy()))).float()

    def embed_text(self, texts: list[str]) -> Tensor:
        return torch.from_numpy(self.words.transform(texts)).float()
