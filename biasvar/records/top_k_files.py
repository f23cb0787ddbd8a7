"""Soft labels of which a file keeps the largest entries of a row: arrays or list columns `indices` and `values`."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from biasvar.analysis.soft_labels.top_k import RESTS, Rest, from_top_k
from biasvar.columns import SAMPLE_ID
from biasvar.errors import RecordError
from biasvar.messages import first_few
from biasvar.records.numpy_files import StoredArray, stored_array
from biasvar.records.tables import kinds, numbers, parquet_schema

LABEL = "label"
NAMES = ("indices", "values")
Rows = tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]  # indices, values, labels, sample ids
Part = tuple[np.ndarray, np.ndarray | None, np.ndarray | None]  # soft labels, labels, sample ids


def holds_top_k(path: Path) -> bool:
    """True for a .npz with arrays, or a .parquet with list columns, named `indices` and `values`."""
    if path.suffix.lower() == ".parquet":
        found = dict(kinds(parquet_schema(path)[0])[0])
        return all(found.get(name) == "list" for name in NAMES)
    if path.suffix.lower() != ".npz" or not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return {f"{name}.npy" for name in NAMES} <= set(archive.namelist())


def open_top_k(
    path: Path, num_classes: int | None, rest: Rest | None
) -> tuple[int, int, Callable[[int], Iterator[Part]], bool]:
    """Number of classes and rows, the way to read some rows at a time, and whether there are sample ids.

    Raises:
        RecordError: A file that does not hold what it should, or of which it is not said how many classes there are and
            what the others than those listed get. While it is read: whatever `from_top_k` refuses, with the file.
    """
    if rest is None or num_classes is None:
        raise RecordError(
            f"{path} keeps some classes of every row (indices and values): say what the others get with rest="
            f"{' or '.join(map(repr, RESTS))}, and how many classes there are with num_classes="
        )
    rows, parts, has_ids = _parquet(path) if path.suffix.lower() == ".parquet" else _numpy(path)
    if not rows:
        raise RecordError(f"{path} holds no rows")

    def read(step: int) -> Iterator[Part]:
        first = 0
        for indices, values, labels, ids in parts(step):
            try:
                soft = from_top_k(indices, values, num_classes, rest=rest, first_row=first)
            except ValueError as error:
                raise RecordError(f"{path}: {error}") from None
            first += len(indices)
            yield soft, labels, ids

    return num_classes, rows, read, has_ids


def _numpy(path: Path) -> tuple[int, Callable[[int], Iterator[Rows]], bool]:
    stored: list[StoredArray] = [stored_array(path, (name,)) for name in NAMES]
    shapes = [array.shape for array in stored]
    if len(shapes[0]) != 2 or shapes[0] != shapes[1] or any(array.fortran for array in stored):
        raise RecordError(
            f"{path}: indices and values must both have shape (N, k), row by row; they have {shapes[0]} and {shapes[1]}"
            + (", column by column (save np.ascontiguousarray of them)" if any(a.fortran for a in stored) else "")
        )

    def parts(step: int) -> Iterator[Rows]:
        for indices, values in zip(*(array.parts(step) for array in stored), strict=True):
            yield indices, values, None, None

    return shapes[0][0], parts, False


def _parquet(path: Path) -> tuple[int, Callable[[int], Iterator[Rows]], bool]:
    layout, rows = parquet_schema(path)
    odd = [name for name in layout.names if name not in (*NAMES, LABEL, SAMPLE_ID)]
    if odd:
        raise RecordError(
            f"{path}: beside {' and '.join(NAMES)} there may be {LABEL} and {SAMPLE_ID}; it has {first_few(odd)} too:"
            f" drop them, or rename the sample ids to {SAMPLE_ID}"
        )

    def parts(step: int) -> Iterator[Rows]:
        first = 0
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=2**20) as file:
            for batch in file.iter_batches(batch_size=step):
                places, values = (_lists(batch, name, path, first) for name in NAMES)
                if not np.array_equal(places[1], values[1]):
                    rows = first_few((first + np.flatnonzero(places[1] != values[1])).tolist())
                    raise RecordError(f"{path}: indices and values must be as many in a row; row {rows} breaks this")
                labels, ids = (_column(batch, name, path, first) for name in (LABEL, SAMPLE_ID))
                yield places[0].astype(np.int64), values[0], labels, ids
                first += len(batch)

    return rows, parts, SAMPLE_ID in layout.names


def _lists(batch: pa.RecordBatch, name: str, path: Path, first: int) -> tuple[np.ndarray, np.ndarray]:
    """A list column as (n, longest), -1 where a row is shorter, and the lengths (n,)."""
    column = batch.column(name)
    lengths = pyarrow.compute.list_value_length(column).fill_null(-1).to_numpy(zero_copy_only=False)
    if (lengths < 1).any():
        rows = first_few((first + np.flatnonzero(lengths < 1)).tolist())
        raise RecordError(f"{path}: column {name!r} lacks its list in row {rows}")
    flat = numbers(column.flatten(), name, str(path))
    if name == NAMES[0] and flat.dtype.kind not in "iu":
        raise RecordError(f"{path}: column {name!r} must hold whole numbers (classes) without gaps, not {flat.dtype}")
    filled = np.full((len(lengths), int(lengths.max())), -1, dtype=flat.dtype)
    filled[np.arange(filled.shape[1]) < lengths[:, None]] = flat
    return filled, lengths


def _column(batch: pa.RecordBatch, name: str, path: Path, first: int) -> np.ndarray | None:
    if name not in batch.schema.names:
        return None
    column = batch.column(name)
    if column.null_count:
        rows = first_few((first + np.flatnonzero(column.is_null())).tolist())
        raise RecordError(f"{path}: column {name!r} lacks a value in row {rows}")
    return numbers(column, name, str(path))
