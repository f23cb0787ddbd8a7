"""Whether the columns of a file hold what the layout says: their kind, and a value in every row that needs one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from biasvar.errors import RecordError
from biasvar.messages import first_few


def check_kinds(path: Path, table: pa.Table, layout: pa.Schema, cure: str) -> None:
    """Raise RecordError, naming the file and the column, where a column holds another kind of value, or lacks some.

    The width of numbers may differ, as other tools write them: an int64 stands for an int32, a double for a float.

    Args:
        path: The file.
        table: Columns of it, all of them in the layout.
        layout: What they must hold, and which of them may lack values.
        cure: What to do about it.
    """
    for name, column in zip(table.column_names, table.columns, strict=True):
        field = layout.field(name)
        if not _stands_for(column.type, field):
            raise RecordError(f"{path}: column {name!r} holds {column.type}, it must hold {field.type}; {cure}")
        if column.null_count and not field.nullable:
            rows = np.flatnonzero(column.is_null().to_numpy())
            raise RecordError(f"{path}: column {name!r} lacks a value in row {first_few(rows)}; {cure}")


def together(tables: list[pa.Table]) -> pa.Table:
    """The rows of several files in one table, whatever the widths of numbers that their writers chose."""
    return pa.concat_tables(tables, promote_options="permissive")


def is_list_of_reals(kind: pa.DataType) -> bool:
    """True for lists, of fixed length or not, of float32 or float64."""
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    if not any(check(kind) for check in lists):
        return False
    return bool(pa.types.is_float32(kind.value_type) or pa.types.is_float64(kind.value_type))


def _stands_for(there: pa.DataType, field: pa.Field) -> bool:
    if pa.types.is_dictionary(there):
        there = there.value_type
    real = pa.types.is_floating(there)
    if pa.types.is_null(there):
        return bool(field.nullable)
    if pa.types.is_integer(field.type):  # pandas writes whole numbers with gaps as reals
        return bool(pa.types.is_integer(there) or (real and field.nullable))
    if pa.types.is_floating(field.type):
        return bool(real or pa.types.is_integer(there))
    if pa.types.is_string(field.type):
        texts = ("is_string", "is_large_string", "is_string_view")
        return any(getattr(pa.types, name)(there) for name in texts if hasattr(pa.types, name))
    if pa.types.is_fixed_size_list(field.type):
        return is_list_of_reals(there)
    return bool(there == field.type)
