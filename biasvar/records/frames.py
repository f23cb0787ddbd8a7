"""Record files as pandas frames: only the rows and columns asked for, one file in memory at a time until the end."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from biasvar.errors import RecordError
from biasvar.messages import first_few
from biasvar.records import schema
from biasvar.records.checked_tables import sorting
from biasvar.records.stored_files import StoredFile, file_replicas, listed, read_columns

if TYPE_CHECKING:
    import pandas as pd

KEYS = ("arm", "split", "view", "epoch")


def wanted_columns(columns: Any) -> list[str]:
    """The record columns asked for, in the order asked for; the keys are always there and need not be named."""
    if columns is None:
        return list(schema.RECORD_COLUMNS)
    allowed = (*schema.RECORD_COLUMNS, *KEYS)
    names = [schema.one_of(name, allowed, "column of the record,") for name in listed(columns)]
    return [name for name in dict.fromkeys(names) if name not in KEYS]


def record_tables(
    files: Sequence[StoredFile], columns: Sequence[str], samples: Any = None, replicas: Any = None
) -> Iterator[pa.Table]:
    """One table a file, keys first. Files without the replicas asked for are not read beyond their footer."""
    if replicas is not None:
        files = _with_replicas(files, listed(replicas))
    ids = None if samples is None else _numbers(samples, "samples")
    numbers = None if replicas is None else _numbers(replicas, "replicas")
    filters = [(name, values) for name, values in (("sample_id", ids), ("replica", numbers)) if values is not None]
    read = [*columns, *(name for name, _ in filters if name not in columns)]
    dictionaries = {
        name: sorted({getattr(file, attribute) for file in files})
        for name, attribute in (("arm", "arm"), ("split", "split"), ("view", "part"))
    }
    for file in files:
        table = read_columns(file.path, read or ["replica"], schema.RECORD_SCHEMA)
        if "replica" in read:
            check_replicas(table, file.path)
        if "replica" in read and "sample_id" in read:
            table = in_order(table, ("replica", "sample_id"), file.path)
        for name, values in filters:
            table = table.filter(pa.array(np.isin(table.column(name).to_numpy(), values)))
        keys = {
            name: _repeated(value, dictionaries[name], table.num_rows)
            for name, value in (("arm", file.arm), ("split", file.split), ("view", file.part))
        }
        keys["epoch"] = pa.array(np.full(table.num_rows, file.epoch, dtype=np.int32))
        data = {name: table.column(name) for name in columns}
        yield pa.table({**keys, **data})


def in_order(table: pa.Table, keys: tuple[str, ...], path: Path) -> pa.Table:
    """A table with its rows by these columns of whole numbers, rising; RecordError for two rows of the same keys."""
    inner = table.column(keys[-1]).to_numpy()
    outer = table.column(keys[0]).to_numpy() if len(keys) > 1 else np.zeros(len(inner), np.int32)
    order = sorting(outer, inner, f"{path}: {keys[-1]}", keys[0] if len(keys) > 1 else None)
    return table if order is None else table.take(order)


def check_replicas(table: pa.Table, path: Path) -> None:
    """Raise RecordError where the rows of a record file are of other replicas than the file says of itself."""
    said, there = file_replicas(path), np.unique(table.column("replica").to_numpy()).tolist()
    if said is not None and sorted(said) != there:
        held = first_few(there) if there else "none"
        raise RecordError(
            f"{path}: by its own words it is of replica {first_few(said)}, its rows are of {held}; restore it, or run "
            "or record it again"
        )


def sample_keys(path: Path) -> np.ndarray:
    """(replica, sample_id) of every row of a record file, (n, 2)."""
    table = read_columns(path, ["replica", "sample_id"], schema.RECORD_SCHEMA)
    return np.stack([table.column(name).to_numpy() for name in ("replica", "sample_id")], axis=1)


def empty_table(columns: Sequence[str]) -> pa.Table:
    """No rows, the right columns."""
    names = pa.dictionary(pa.int32(), pa.string())
    types = {"arm": names, "split": names, "view": names, "epoch": pa.int32()}
    fields = [(name, types[name]) for name in KEYS]
    return pa.schema([*fields, *((name, schema.RECORD_SCHEMA.field(name).type) for name in columns)]).empty_table()


def to_frame(table: pa.Table) -> pd.DataFrame:
    """A table as a frame. Nulls are NaN in float columns and pandas.NA in columns of whole numbers and of flags."""
    import pandas as pd

    nullable = {pa.bool_(): pd.BooleanDtype(), pa.int32(): pd.Int32Dtype(), pa.int64(): pd.Int64Dtype()}
    columns = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        mapper = nullable.get if column.null_count else None
        columns[name] = column.to_pandas(types_mapper=mapper)
    return pd.DataFrame(columns, copy=False)


def arrays_of(table: pa.Table) -> dict[str, np.ndarray | None]:
    """A table's columns as arrays, None for a column of nulls."""
    return {
        name: None if column.null_count == len(column) else column.to_numpy()
        for name, column in zip(table.column_names, table.columns, strict=True)
    }


def _numbers(asked: Any, name: str) -> np.ndarray:
    """Whole numbers that were asked for, one or several."""
    entries = listed(asked)
    try:
        return np.array([operator.index(entry) for entry in entries], dtype=np.int64)
    except (TypeError, OverflowError):
        raise RecordError(f"{name} must be one whole number or several, got {first_few(map(repr, entries))}") from None


def _repeated(value: str, dictionary: list[str], rows: int) -> pa.DictionaryArray:
    codes = np.full(rows, dictionary.index(value), dtype=np.int32)
    return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(dictionary, pa.string()))


def _with_replicas(files: Sequence[StoredFile], replicas: list[Any]) -> list[StoredFile]:
    contents = [file_replicas(file.path) for file in files]
    if None not in contents:
        there = sorted({number for numbers in contents for number in numbers or []})
        for number in replicas:
            schema.one_of(number, there, "replica of the record,")
    return [
        file
        for file, numbers in zip(files, contents, strict=True)
        if numbers is None or not set(numbers).isdisjoint(replicas)
    ]
