"""Writing Parquet files: the same content gives the same bytes, and a file is whole or absent."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from biasvar.files import write_bytes

# Few distinct values in a file: worth a dictionary. Everything else only grows by one.
_DICTIONARY = (
    *("replica", "label", "student_prediction", "teacher_prediction", "group", "count", "multiplicity"),
    *("arm", "split", "view", "pool", "family", "epoch"),
)


def table_bytes(table: pa.Table, metadata: Mapping[bytes, bytes] | None = None) -> pa.Buffer:
    """The Parquet file of ``table``: the same content and metadata give the same bytes."""
    sink = pa.BufferOutputStream()
    pq.write_table(
        table.replace_schema_metadata(dict(sorted((metadata or {}).items())) or None),
        sink,
        compression="zstd",
        compression_level=1,
        use_dictionary=[name for name in _DICTIONARY if name in table.column_names],
        write_statistics=[name for name in ("sample_id", "replica", "group") if name in table.column_names],
    )
    return sink.getvalue()


def write_table(
    path: str | Path, table: pa.Table, metadata: Mapping[bytes, bytes] | None = None, *, exclusive: bool = False
) -> None:
    """Write ``table`` as one Parquet file, zstd, atomically and with reproducible bytes.

    ``metadata`` is the file's key-value metadata, see :func:`biasvar.records.schema.metadata_of`. With ``exclusive`` a
    file that is there is not replaced: FileExistsError.
    """
    write_bytes(path, memoryview(table_bytes(table, metadata)), exclusive=exclusive)
