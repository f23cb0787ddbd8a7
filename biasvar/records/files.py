"""Writing Parquet files: the same content gives the same bytes, and a file is whole or absent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from biasvar.files import write_bytes, writing

# Few distinct values in a file: worth a dictionary. Everything else only grows by one.
_DICTIONARY = (
    *("replica", "label", "student_prediction", "teacher_prediction", "group", "count", "multiplicity"),
    *("arm", "split", "view", "pool", "family", "epoch"),
)
# The same for every replica: left as they are, since zstd finds the repetitions.
_REPEATED = ("teacher_loss", "teacher_prob")
_SPLIT = "BYTE_STREAM_SPLIT"
"""The first bytes of all numbers, then the second: those that hold sign and exponent are much alike."""


def table_bytes(table: pa.Table, metadata: Mapping[bytes, bytes] | None = None) -> pa.Buffer:
    """The Parquet file of ``table``: the same content and metadata give the same bytes."""
    sink = pa.BufferOutputStream()
    _write(sink, table.schema, [table], metadata)
    return sink.getvalue()


def write_table(
    path: str | Path, table: pa.Table, metadata: Mapping[bytes, bytes] | None = None, *, exclusive: bool = False
) -> None:
    """Write ``table`` as one Parquet file, zstd, atomically and with reproducible bytes.

    ``metadata`` is the file's key-value metadata, see :func:`biasvar.records.schema.metadata_of`. ``exclusive`` raises
    FileExistsError for a file that is there already, instead of replacing it.
    """
    write_bytes(path, memoryview(table_bytes(table, metadata)), exclusive=exclusive)


def write_tables(
    path: str | Path, layout: pa.Schema, tables: Iterable[pa.Table], metadata: Mapping[bytes, bytes] | None = None
) -> None:
    """The same of a table that comes in parts, each a row group of its own, of which only one is in memory."""
    write_bytes(path, lambda file: _write(file, layout, tables, metadata))


@contextmanager
def table_parts(
    path: str | Path, layout: pa.Schema, metadata: Mapping[bytes, bytes] | None = None
) -> Iterator[Callable[[pa.Table], None]]:
    """The same, written as the parts are made: what adds one; the file is there, whole, when the block ends."""
    with writing(path) as file, _parquet(file, layout, metadata) as writer:
        yield lambda table: writer.write_table(table.cast(writer.schema))


def _write(sink: Any, layout: pa.Schema, tables: Iterable[pa.Table], metadata: Mapping[bytes, bytes] | None) -> None:
    with _parquet(sink, layout, metadata) as writer:
        for table in tables:
            writer.write_table(table.cast(writer.schema))


def _parquet(sink: Any, layout: pa.Schema, metadata: Mapping[bytes, bytes] | None) -> pq.ParquetWriter:
    layout = layout.with_metadata(dict(sorted((metadata or {}).items())) or None)
    real = [path for field in layout if (path := _real_numbers(field)) and field.name not in _REPEATED]
    return pq.ParquetWriter(
        sink,
        layout,
        compression="zstd",
        compression_level=3,
        column_encoding=dict.fromkeys(real, _SPLIT) or None,
        use_dictionary=[name for name in _DICTIONARY if name in layout.names],
        write_statistics=[name for name in ("sample_id", "replica", "group") if name in layout.names],
    )


def _real_numbers(field: pa.Field) -> str | None:
    """Where a file has the numbers of a float32 column, or of a column of lists; None if it holds others."""
    if pa.types.is_float32(field.type):
        return str(field.name)
    is_list = pa.types.is_fixed_size_list(field.type) and pa.types.is_floating(field.type.value_type)
    return f"{field.name}.list.element" if is_list else None
