"""Tables of other programs (Parquet files, frames of pandas or Polars, Arrow tables): their columns as NumPy arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from biasvar.columns import SAMPLE_ID, Index, Kind, pandas_index
from biasvar.errors import RecordError
from biasvar.files import unreadable
from biasvar.messages import first_few
from biasvar.records.checked_tables import typed
from biasvar.records.stored_files import UNREADABLE, read_columns


@dataclass(frozen=True)
class Ids:
    """Sample ids (N,) of the rows of a table, and where they come from: a column, or a range that pandas noted.

    ``sure`` if they are a column ``sample_id``, which says that they are ids; others count where both sides have ids.
    """

    values: np.ndarray
    column: str | None
    sure: bool

    @property
    def title(self) -> str:
        """The words for a message."""
        return "the index of the frame" if self.column is None else f"column {self.column!r}"

    @property
    def rise(self) -> bool:
        """True if the ids are in order, so that the place of a row says the same as its id."""
        return bool((self.values[1:] > self.values[:-1]).all())


def is_frame(source: Any) -> bool:
    """True for a table in memory: pandas, Polars, Arrow, or a mapping of columns."""
    return isinstance(source, Mapping) or (hasattr(source, "columns") and hasattr(source, "__arrow_c_stream__"))


def as_table(source: Any, where: str) -> pa.Table:
    """A frame as an Arrow table, with a pandas index as columns; RecordError if Arrow has no type for a column."""
    try:
        if isinstance(source, Mapping):
            return pa.table({str(name): np.asarray(values) for name, values in source.items()})
        if type(source).__module__.partition(".")[0] == "pandas":
            return pa.Table.from_pandas(source.set_axis([str(name) for name in source.columns], axis=1))
        return pa.table(source)
    except (pa.ArrowException, ValueError, TypeError, NotImplementedError) as error:
        raise RecordError(f"{where}: {(str(error).splitlines() or ['no table of plain columns'])[0]}") from None


def parquet_schema(path: Path) -> tuple[pa.Schema, int]:
    """The columns and the number of rows of a Parquet file, from its footer."""
    try:
        with pq.ParquetFile(path) as file:
            return file.schema_arrow, file.metadata.num_rows
    except FileNotFoundError:
        raise
    except UNREADABLE as error:
        raise unreadable(path, error, "Parquet") from None


def kinds(schema: pa.Schema) -> tuple[list[tuple[str, Kind]], Index]:
    """What each column holds, and what pandas noted of an index."""
    return [(field.name, _kind(field.type)) for field in schema], pandas_index(schema.metadata)


def ids_of(table: pa.Table | Path, name: str | None, index: Index, rows: int, where: str) -> Ids | None:
    """The sample ids in a column, else those of a pandas index that is a range other than 0 to N - 1."""
    if name is None:
        if index.span is None:
            return None
        return Ids(index.span[0] + index.span[1] * np.arange(rows, dtype=np.int64), None, False)
    column = (read_columns(table, [name]) if isinstance(table, Path) else table).column(name)
    if column.null_count:
        raise RecordError(
            f"{where}: column {name!r} lacks a value in row {first_few(np.flatnonzero(column.is_null()))}"
        )
    values = typed(numbers(column, name, where), pa.int64(), f"{where}, {name}", whole_floats=True)
    return Ids(values, name, name == SAMPLE_ID)


def matrix(table: pa.Table, classes: Sequence[str], where: str) -> np.ndarray:
    """The class columns, or the one list column, as (N, C); NaN where a value is missing."""
    if len(classes) == 1:
        return lists(table.column(classes[0]), classes[0], where)
    return np.stack([numbers(table.column(name), name, where) for name in classes], axis=1)


def lists(column: Any, name: str, where: str, *, classes: int | None = None, first: int = 0) -> np.ndarray:
    """A list column as (n, C), with C of the first row by default; an error names rows, counted from ``first``."""
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(column, pa.ChunkedArray):  # too large for one array of its type
        column = pa.concat_arrays([chunk.cast(pa.large_list(column.type.value_type)) for chunk in column.chunks])
    if not (len(column) and _kind(column.type) == "list"):
        raise RecordError(f"{where}: {name!r} must hold lists of numbers; it holds {column.type}")
    lengths = pyarrow.compute.list_value_length(column).fill_null(-1).to_numpy(zero_copy_only=False)
    wanted = int(lengths[0]) if classes is None else classes
    bad = (lengths != wanted) | (lengths < 1)
    if bad.any():
        raise RecordError(
            f"{where}: every row of {name!r} must hold the same number of values, {max(wanted, 1)}; row "
            f"{first_few(first + np.flatnonzero(bad))} does not"
        )
    return numbers(column.flatten(), name, where).reshape(-1, wanted)


def numbers(column: Any, name: str, where: str) -> np.ndarray:
    """A column of numbers, NaN where one is missing."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
    if pa.types.is_decimal(column.type):
        column = column.cast(pa.float64())
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        raise RecordError(f"{where}: column {name!r} must hold numbers, not {kind}")
    return np.asarray(column.to_numpy() if isinstance(column, pa.ChunkedArray) else column.to_numpy(False))


def _kind(kind: pa.DataType) -> Kind:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_integer(kind):
        return "whole"
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "real"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return "text"
    is_list = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    views = tuple(getattr(pa.types, name) for name in ("is_list_view", "is_large_list_view") if hasattr(pa.types, name))
    return "list" if any(check(kind) for check in (*is_list, *views)) else "other"
