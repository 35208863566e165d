"""What of a benchmark's split can be embedded: its columns of texts, pictures or recordings."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

_BY_NAME = {
    "query": "query",
    "music": "music",
    "sequence": "protein",
    "motion": "motion",
    "signal": "signal",
    "x": "vectors",
    "views": "vectors",
}
"""The kind of a column where its values do not tell it."""


class Column(NamedTuple):
    """Inputs of one kind."""

    kind: str
    """As in `common.embedding.embedder.KINDS`."""
    items: Any
    """A list or a tensor, or files that are read when a slice of them is taken."""
    ids: list[int] | list[str]
    """Which sample each of them is."""


def columns_of(part: Any) -> dict[str, Column]:
    """The columns of a split, as benchmarks hold them.

    Args:
        part: a table (see `common.table`), a list of texts, or a mapping from a key to what has a `text`.

    Returns:
        By name; ids are those of the table, or else count the rows.
    """
    if isinstance(part, Mapping):
        texts = [getattr(value, "text", value) for value in part.values()]
        ids = ["-".join(map(str, key)) if isinstance(key, tuple) else str(key) for key in part]
        return {"text": Column("text", texts, ids)} if _are(texts, str) else {}
    if isinstance(part, tuple) and hasattr(part, "_fields"):
        named = dict(zip(part._fields, part, strict=True))
        own = named.get("ids")
        found = {}
        for name, value in _flat(named):
            kind = _kind(name, value)
            if kind is not None:
                items = Clips(value) if hasattr(value, "starts") else value
                numbers = (
                    own.tolist() if isinstance(own, Tensor) and len(own) == len(items) else list(range(len(items)))
                )
                found[name] = Column(kind, items, numbers)
        return found
    kind = _kind("text", part)
    return {} if kind is None else {kind: Column(kind, part, list(range(len(part))))}


def _flat(named: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Several lists under one name, such as captions in several languages, as `texts`, `texts2`, ..."""
    found = []
    for name, value in named.items():
        several = isinstance(value, tuple) and not hasattr(value, "_fields")
        for number, one in enumerate(value if several else [value], start=1):
            found.append((name if number == 1 else f"{name}{number}", one))
    return found


def _kind(name: str, value: Any) -> str | None:
    if isinstance(value, Tensor):
        if value.dtype == torch.uint8:
            return {4: "image", 5: "video"}.get(value.ndim)
        return _BY_NAME.get(name) if value.is_floating_point() else None
    if hasattr(value, "starts"):
        return "speech"
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        if _are(value, str):
            return _BY_NAME.get(name, "text")
        return ("motion" if name == "motion" else "speech") if _are(value, Tensor) else None
    if hasattr(value, "__getitem__") and hasattr(value, "__len__") and len(value):
        first = value[0:1]  # of files, which are read by slices
        if isinstance(first, list):
            return _kind(name, first)
        return _kind(name, first) if isinstance(first, Tensor) else None
    return None


def _are(values: Sequence[Any], kind: type) -> bool:
    return len(values) > 0 and isinstance(values[0], kind)


class Clips:
    """Recordings that lie one after the other, as a sequence of them.

    Args:
        recordings: has `clip(i)` and the beginnings `starts`, of which the last is where all end.
        at: which of them, by position; by default all.
    """

    def __init__(self, recordings: Any, at: Sequence[int] | None = None) -> None:
        self.recordings = recordings
        self.at = range(len(recordings.starts) - 1) if at is None else at

    def __len__(self) -> int:
        return len(self.at)

    def __getitem__(self, at: slice) -> list[Tensor]:
        return [self.recordings.clip(i) for i in self.at[at]]
