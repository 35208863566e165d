"""Parquet files of row groups of any size, read some rows at a time."""

from collections.abc import Iterator
from typing import Any

import pyarrow
from datasets.builder import Key
from datasets.packaged_modules.parquet.parquet import Parquet
from pyarrow.parquet import ParquetFile

ROWS = 1000
BUFFER = 1 << 20
"""Bytes that are read of a column at a time."""


class Rows(Parquet):
    """The builder of `datasets`, which decodes a row group as a whole whatever its `batch_size` is."""

    def _generate_tables(self, files: list[str], row_groups_list: list[Any]) -> Iterator[tuple[Key, pyarrow.Table]]:
        for number, file in enumerate(files):
            with ParquetFile(file, pre_buffer=False, buffer_size=BUFFER) as opened:
                for place, batch in enumerate(opened.iter_batches(ROWS)):
                    yield Key(number, place), self._cast_table(pyarrow.Table.from_batches([batch]))
