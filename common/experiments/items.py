"""The scores of single test items behind a run's metrics, kept compactly in results/items/<slug>.jsonl.

From them a verdict tells how far a difference would move with other test items. A line stands for a run, as in the
record that is appended after it; values are thinned and rounded, as only their spread is asked for.
"""

import base64
import json
import string
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from common.experiments.journal import Journal, parse_object
from common.experiments.records import ItemKey

MOST_UNITS = 1000
"""Units kept of a metric."""
_STEPS_PER_SPREAD = 4
"""Values are rounded to this part of their spread, which adds 1 / (12 * 16) of their variance."""
_MOST_LEVELS = 8
"""Up to so many different values, such as right and wrong, are kept as they are."""
_DIGITS = np.full(256, 85, np.int64)
"""Of each character in base 85 (RFC 1924); what is none is 85."""
_DIGITS[[*(string.digits + string.ascii_letters.swapcase() + "!#$%&()*+-;<=>?@^_`{|}~").encode()]] = range(85)
_POWERS = 85 ** np.arange(4, -1, -1)


class Items(NamedTuple):
    """The values of one metric by unit (a query, a document, a speaker)."""

    values: np.ndarray
    """float64, shape (n,): at most `MOST_UNITS`, evenly chosen, the same ones of every run over as many units."""
    total: int
    """How many units the metric was over."""


Values = Sequence[float] | np.ndarray | Items
"""All values of a metric, or those that were kept of another run."""


class ItemLedger(Journal):
    """A folder of item files, usually `results/items` of the repository."""

    def read(self, slug: str) -> dict[ItemKey, dict[str, Items]]:
        """The items of each run of a paper by metric; if a run has several lines, the last one counts."""
        return self.scan(slug)[0]

    def scan(self, slug: str) -> tuple[dict[ItemKey, dict[str, Items]], list[str]]:
        """As `read`, and one warning for each line that cannot be read.

        Raises:
            UserError: the file exists and cannot be opened.
        """
        found, warnings = self.entries(slug, _parse, "line of items")
        return dict(entry for _, entry in found), warnings

    def append(self, slug: str, key: ItemKey, metrics: Mapping[str, Values]) -> None:
        """Adds the values of a run, all of them given; done before its record, so that no record lacks its items.

        Raises:
            UserError: no permission, or the disk is full; the file is as it was before.
        """
        self.write(slug, item_line(key, metrics))


def item_line(key: ItemKey, metrics: Mapping[str, Values]) -> str:
    """The values of a run as one line of JSON, without the line feed."""
    line = key._asdict() | {"metrics": {name: _encode(values) for name, values in metrics.items()}}
    return json.dumps(line, ensure_ascii=False, allow_nan=False)


def thinned(values: Sequence[float] | np.ndarray) -> np.ndarray:
    """At most `MOST_UNITS` of the values, evenly chosen."""
    values = np.asarray(values, np.float64)
    kept = min(len(values), MOST_UNITS)
    return values[np.arange(kept) * len(values) // max(1, kept)]


def _encode(values: Values) -> dict[str, Any]:
    values, total = values if isinstance(values, Items) else (values, len(values))
    kept = thinned(values)
    levels = np.unique(kept)
    if len(levels) <= _MOST_LEVELS:
        codes = np.searchsorted(levels, kept)
        scale: dict[str, Any] = {"levels": levels.tolist()}
    else:
        # By the middle half, so that a few outliers do not make all else equal.
        low, high = np.quantile(kept, [0.25, 0.75])
        step = float((high - low) / 1.35 or kept.std()) / _STEPS_PER_SPREAD
        step = float(f"{max(step, np.ptp(kept) / 2**31):.3g}")
        codes = np.rint((kept - levels[0]) / step)
        scale = {"low": float(f"{levels[0]:.6g}"), "step": step}
    width = next(w for w in (1, 2, 4) if codes.max() < 256**w)
    # Byte by byte: the upper bytes are mostly zero and shrink to nothing.
    planes = codes.astype("<u4").view(np.uint8).reshape(-1, 4)[:, :width].T
    packed = base64.b85encode(zlib.compress(planes.tobytes(), 9)).decode()
    return {"total": total, "count": len(kept), "width": width, **scale, "codes": packed}


def _parse(line: str) -> tuple[ItemKey, dict[str, Items]]:
    data = parse_object(line)
    try:
        key = ItemKey(*(data[name] for name in ItemKey._fields))
        metrics = {name: _decode(entry) for name, entry in data["metrics"].items()}
    except KeyError as error:
        raise ValueError(f"the field {error} is missing") from None
    except (TypeError, AttributeError, IndexError, OverflowError, MemoryError, zlib.error) as error:
        raise ValueError(f"its values cannot be read ({error})") from None
    if [type(part) for part in key] != [str, str, str, int] or key.seed < 0:
        raise ValueError(f"it names no run: {key}")
    return key, metrics


def _from_base85(text: str) -> bytes:
    """As `base64.b85decode`, which goes digit by digit: half of the time of `papers list` went there."""
    padding = -len(text) % 5
    digits = _DIGITS[np.frombuffer(text.encode("ascii") + b"~" * padding, np.uint8)].reshape(-1, 5)
    words = digits @ _POWERS
    if (digits == 85).any() or (words >= 256**4).any():
        raise ValueError("its codes are no base 85")
    content = words.astype(">u4").tobytes()
    return content[: len(content) - padding]


def _decode(entry: dict[str, Any]) -> Items:
    total, count, width = (entry[name] for name in ("total", "count", "width"))
    if any(type(n) is not int for n in (total, count, width)) or not 1 <= count <= min(total, MOST_UNITS):
        raise ValueError(f"it has {count} values of {total}; at most {MOST_UNITS} are kept")
    size = count * width
    content = zlib.decompressobj().decompress(_from_base85(entry["codes"]), size + 1)
    if width not in (1, 2, 4) or len(content) != size:
        raise ValueError(f"its codes are not {count} of {width} bytes")
    planes = np.zeros((count, 4), np.uint8)
    planes[:, :width] = np.frombuffer(content, np.uint8).reshape(width, count).T
    codes = planes.reshape(-1).view("<u4").astype(np.int64)
    if "levels" in entry:
        return Items(np.array(entry["levels"], np.float64)[codes], total)
    return Items(float(entry["low"]) + codes * float(entry["step"]), total)
