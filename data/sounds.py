"""Recordings as people keep them, read by soundfile: by path or by their bytes, of any rate and number of channels."""

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import soundfile
import torch
from torch import Tensor
from torch.nn import functional as F

from common.audio import RATE, decode, log_mel
from common.errors import UserError
from data.cells import named, stored
from data.readers import Source

THREADS = 4
"""That read and decode in one process."""


class Length(NamedTuple):
    """What the check of a recording finds."""

    fault: str | None
    seconds: float


class SoundReader(NamedTuple):
    """Reads recordings of a table by their row; it is sent to the workers."""

    source: Source
    column: str
    root: Path | None
    """Where relative paths start from; by default in the folder of their file."""
    frames: bool
    """Log-mel frames, see `log_mel`, instead of the waveform."""
    normalized: bool
    """Waveforms of mean 0 and variance 1."""

    def __call__(self, rows: Sequence[int]) -> list[Tensor]:
        """The recordings, each of shape (t, 40) or (samples,), at 16 kHz."""
        values = self.source.cells(self.column, rows)

        def one(item: tuple[int, Any]) -> Tensor:
            row, value = item
            try:
                return self._made(self._read(row, value))
            except UserError as error:
                raise UserError(f"{self.source.where(row)}: the recording{named(value)} {error}") from None

        with ThreadPoolExecutor(THREADS) as pool:
            return list(pool.map(one, zip(rows, values, strict=True)))

    def _read(self, row: int, value: Any) -> Tensor:
        place = stored(value, self.root or self.source.part(row)[0].folder)
        try:
            return decode(place if isinstance(place, bytes) else place.read_bytes())
        except (OSError, soundfile.SoundFileError) as error:
            raise UserError(_why(error)) from None

    def _made(self, waveform: Tensor) -> Tensor:
        if not waveform.isfinite().all() or not waveform.any():
            raise UserError("is silent, or holds what is no number")
        if self.frames:
            return log_mel(waveform)
        return F.layer_norm(waveform, waveform.shape) if self.normalized else waveform

    def lengths(self, values: Sequence[Any], start: int, headers: bool) -> list[Length]:
        """Of each of the recordings from a row on its length, and why it cannot be used, or None.

        Args:
            headers: look into the headers alone.
        """

        def one(item: tuple[int, Any]) -> Length:
            row, value = item
            try:
                if not headers:
                    waveform = self._read(row, value)
                    self._made(waveform)
                    return Length(None, len(waveform) / RATE)
                place = stored(value, self.root or self.source.part(row)[0].folder)
                with io.BytesIO(place) if isinstance(place, bytes) else place.open("rb") as file:
                    found = soundfile.info(file)
                return Length(None, found.frames / found.samplerate)
            except (UserError, OSError, soundfile.SoundFileError) as error:
                why = str(error) if isinstance(error, UserError) else _why(error)
                return Length(f"the recording{named(value)} {why}", 0.0)

        with ThreadPoolExecutor(THREADS) as pool:
            return list(pool.map(one, enumerate(values, start)))


def _why(error: Exception) -> str:
    """Why a recording cannot be read."""
    if isinstance(error, FileNotFoundError | IsADirectoryError):
        return "does not exist" if isinstance(error, FileNotFoundError) else "is a folder"
    return f"cannot be read: {' '.join(str(error).split('>:')[-1].split())}"


def padded(clips: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Recordings as one tensor, zero behind the end of each, and their lengths, int64 of shape (n,)."""
    rows = torch.nn.utils.rnn.pad_sequence(list(clips), batch_first=True)
    return rows, torch.tensor([len(clip) for clip in clips])
