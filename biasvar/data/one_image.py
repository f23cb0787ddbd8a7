"""The bytes of one image out of many Parquet or Arrow files, without reading the others."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from biasvar.data.table_files import readable


def image_bytes(cells: pa.Array) -> pa.Array:
    """The bytes of a column of images, however they are stored: plain, in a struct, in a dictionary, as views."""
    if pa.types.is_struct(cells.type):
        cells = cells.field("bytes")
    if pa.types.is_dictionary(cells.type):
        cells = cells.dictionary_decode()
    return cells.cast(pa.large_binary()) if pa.types.is_binary_view(cells.type) else cells  # no rows of a view


class OneImage:
    """The bytes of the image of a sample, read from its row group.

    Files stay open, and the last row group is kept, in each process anew: rows in the order of the files are read once.

    Args:
        paths: The files.
        file, row: int (N,) the file of each sample and its row there.
        column: Of the images.

    Attributes:
        file: The file of each sample.
    """

    def __init__(self, paths: Sequence[Path], file: np.ndarray, row: np.ndarray, column: str) -> None:
        self._paths, self.file, self._row, self._column = list(paths), file, row, column
        self._process = -1
        self._forget()

    def _forget(self) -> None:
        self._open: dict[int, tuple[Any, np.ndarray]] = {}
        self._last: tuple[int, int] | None = None
        self._cells: pa.Array | None = None
        self._process = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}, "_last": None, "_cells": None, "_process": -1}

    def __call__(self, sample: int) -> bytes | None:
        """The bytes, or None where the cell is empty.

        Raises:
            FileNotFoundError: The file is not there any more.
            ValueError: It is damaged; names it.
        """
        if self._process != os.getpid():
            self._forget()
        number, row = int(self.file[sample]), int(self._row[sample])
        with readable(self._paths[number]):
            content, starts = self._opened(number)
            group = int(np.searchsorted(starts, row, side="right")) - 1
            if self._last != (number, group):
                self._cells = _group(content, group, self._column)
                self._last = (number, group)
            assert self._cells is not None
            value: bytes | None = self._cells[row - int(starts[group])].as_py()
        return value

    def _opened(self, number: int) -> tuple[Any, np.ndarray]:
        """A file and the first row of each of its groups."""
        if number not in self._open:
            path = self._paths[number]
            content: Any
            if path.suffix == ".arrow":
                content = pa.ipc.open_stream(pa.memory_map(str(path))).read_all().to_batches()
                sizes = [batch.num_rows for batch in content]
            else:
                content = pq.ParquetFile(path)
                sizes = [content.metadata.row_group(i).num_rows for i in range(content.num_row_groups)]
            if len(self._open) >= MOST_OPEN:
                self._open.pop(next(iter(self._open)))
            self._open[number] = content, np.concatenate([[0], np.cumsum(sizes)[:-1]])
        return self._open[number]


MOST_OPEN = 256  # files; a process may mostly have 1,024


def _group(content: Any, group: int, column: str) -> pa.Array:
    if isinstance(content, list):
        return image_bytes(content[group].column(column))
    table = content.read_row_group(group, columns=[column], use_threads=False)
    return image_bytes(table.column(column).combine_chunks())
