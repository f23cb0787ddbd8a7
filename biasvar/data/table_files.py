"""Tables as files: Parquet, CSV, and the Arrow files of a Hugging Face dataset that was saved to disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

BATCH = 4096  # rows held at a time


class Table:
    """An open table.

    Attributes:
        schema: Names, types and metadata of its columns.
    """

    def __init__(self, content: pa.Table | pq.ParquetFile) -> None:
        self._content = content
        self.schema: pa.Schema = content.schema if isinstance(content, pa.Table) else content.schema_arrow

    def read(self, columns: Sequence[str]) -> pa.Table:
        """These columns, whole."""
        if isinstance(self._content, pa.Table):
            return self._content.select(list(columns))
        return self._content.read(columns=list(columns))

    def batches(self, columns: Sequence[str], rows: np.ndarray, size: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        """(number of its first row, batch) of these columns; of Parquet only the groups that hold some of the rows.

        Args:
            columns: Their names.
            rows: Sorted numbers of the rows that are wanted.
            size: Rows in a batch, at most.
        """
        first = 0
        if isinstance(self._content, pa.Table):
            for batch in self._content.select(list(columns)).to_batches(max_chunksize=size):
                yield first, batch
                first += batch.num_rows
            return
        for group in range(self._content.num_row_groups):
            last = first + self._content.metadata.row_group(group).num_rows
            if np.searchsorted(rows, first) < np.searchsorted(rows, last):
                for batch in self._content.iter_batches(size, row_groups=[group], columns=list(columns)):
                    yield first, batch
                    first += batch.num_rows
            first = last


@contextmanager
def open_table(path: Path) -> Iterator[Table]:
    """The table in a file; Arrow's errors about a broken one name it.

    Raises:
        ValueError: The file is damaged, or no such table.
    """
    with readable(path):
        if path.suffix == ".csv":
            yield Table(_read_csv(path))
        elif path.suffix == ".arrow":
            with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as stream:
                yield Table(stream.read_all())
        else:
            with pq.ParquetFile(path) as file:
                yield Table(file)


def _read_csv(path: Path) -> pa.Table:
    table = pyarrow.csv.read_csv(path)
    if not table.num_rows:
        raise ValueError(f"{path}: the file is empty; needed: at least one row below the names of the columns")
    twice = sorted({name for name in table.column_names if table.column_names.count(name) > 1})
    if twice:
        raise ValueError(f"{path}: more than one column is named {twice[0]!r}; the first line must name every column")
    if "" in table.column_names:
        raise ValueError(
            f"{path}: column {table.column_names.index('') + 1} has no name, as the index that pandas writes; leave it "
            "out (to_csv(path, index=False)), or name it"
        )
    return table


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Arrow's errors about a broken file, in the block, as a ValueError that names the file."""
    try:
        yield
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        raise _broken(path, error) from None
    except (FileNotFoundError, PermissionError):
        raise
    except OSError as error:  # how Arrow reports a damaged page
        raise _broken(path, error) from None


def _broken(path: Path, error: Exception) -> ValueError:
    first = str(error).splitlines()[0]
    if "lists to be of size" in first:  # older Arrow cannot read a missing fixed-size list (apache/arrow#35692)
        return ValueError(f"{path} has a row without features, or with another number of them ({first})")
    if path.suffix == ".csv":
        return ValueError(
            f"{path} cannot be read as CSV ({first}); needed: a first line that names the columns, the same number of "
            "values in every line, commas between them"
        )
    kind = {".arrow": "Arrow"}.get(path.suffix, "Parquet")
    return ValueError(f"{path} is not a whole {kind} file ({first}); copy or download it again")
