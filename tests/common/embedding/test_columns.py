"""Which columns of a split can be embedded."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from common.batches import TextPairs
from common.embedding.columns import Clips, columns_of
from common.errors import UserError
from data.benchmarks.bases.image_text import Captioned
from data.benchmarks.bases.images import Pictures
from data.benchmarks.bases.recordings import Recordings
from data.benchmarks.mini.prompts import Utterances
from data.benchmarks.mini.spoken import Spoken

IDS = torch.tensor([5, 7])
PIXELS = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
RECORDINGS = Recordings(torch.arange(12.0).view(6, 2).half(), torch.tensor([0, 2, 6]), [])


class Gloss(NamedTuple):
    text: str
    field: int


class Features(NamedTuple):
    x: Tensor
    ids: Tensor


class Files:
    """Pictures that are read when they are asked for."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, at: slice) -> Tensor:
        return PIXELS[at]


@pytest.mark.parametrize(
    ("part", "kinds", "ids"),
    [
        (Pictures(PIXELS, torch.zeros(2), IDS), {"pixels": "image"}, [5, 7]),
        (Pictures(PIXELS[:, None], torch.zeros(2), IDS), {"pixels": "video"}, [5, 7]),
        (Pictures(Files(), torch.zeros(2), IDS), {"pixels": "image"}, [5, 7]),
        (
            Captioned(PIXELS, (["a", "b"], ["c", "d"]), IDS, IDS),
            {"pixels": "image", "texts": "text", "texts2": "text"},
            [5, 7],
        ),
        (Features(torch.zeros(2, 3), IDS), {"x": "vectors"}, [5, 7]),
        (Utterances(RECORDINGS, ["a", "b"], ["c", "d"]), None, [0, 1]),
        (["a", "b"], {"text": "text"}, [0, 1]),
        ({("n", 1): Gloss("a", 0), ("v", 2): Gloss("b", 0)}, {"text": "text"}, ["n-1", "v-2"]),
        (IDS, {}, None),
        ([], {}, None),
    ],
)
def test_columns_of_what_benchmarks_hold(part, kinds, ids) -> None:
    found = columns_of(part)
    wanted = kinds if kinds is not None else {"speech": "speech", "transcripts": "text", "translations": "text"}
    assert {name: column.kind for name, column in found.items()} == wanted
    for column in found.values():
        assert column.ids == ids and len(column.items) == 2 and len(column.items[1:2]) == 1


def test_queries_are_told_from_documents() -> None:
    fields = {name: ["a", "b"] for name in ("query", "document")}
    pairs = TextPairs(**fields, **{name: IDS for name in TextPairs._fields if name not in fields})
    assert {name: column.kind for name, column in columns_of(pairs).items()} == {"query": "query", "document": "text"}


def test_clips_are_those_at_their_positions() -> None:
    assert [len(clip) for clip in Clips(RECORDINGS)[0:2]] == [2, 4]
    (clip,) = Clips(RECORDINGS, [1])[0:5]
    assert torch.equal(clip, RECORDINGS.clip(1))


def test_spoken_names_its_splits() -> None:
    benchmark = Spoken()
    benchmark.recordings, benchmark.splits, benchmark._built = RECORDINGS, {"test": torch.tensor([1])}, True
    column = benchmark.embeddable("test")["speech"]
    assert column.ids == [1] and len(column.items[0:1][0]) == 4
    with pytest.raises(UserError, match="split is 'dev'; spoken has: test"):
        benchmark.embeddable("dev")
