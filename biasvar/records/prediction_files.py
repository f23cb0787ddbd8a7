"""Predictions and labels from files of other programs (npy, npz, CSV, Parquet), read and checked."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from biasvar.errors import RecordError
from biasvar.messages import first_few
from biasvar.records import schema
from biasvar.records.checked_tables import typed
from biasvar.records.stored_files import read_columns

ARRAY_NAMES = ("logits", "predictions")
_SUM_TOLERANCE = 1e-3  # float16 distributions over a thousand classes still pass


@dataclass(frozen=True)
class Table:
    """Values (N, ...) and, where the file had them, the sample_ids (N,) of its rows."""

    values: np.ndarray
    sample_ids: np.ndarray | None


def read_predictions(source: Any, where: str) -> Table:
    """One replica's (N, C) array from an array, .npy, .npz (one array, or one named logits or predictions) or .parquet.

    A Parquet file holds a list column, or C columns of numbers in the order of the classes; a column ``sample_id`` says
    which row is which, a column ``label`` is not looked at.
    """
    if isinstance(source, str | Path):
        path = existing(source)
        suffix = schema.one_of(path.suffix.lower(), (".npy", ".npz", ".parquet"), f"suffix of {path},")
        table = _parquet_matrix(path) if suffix == ".parquet" else Table(_numpy_file(path, ARRAY_NAMES), None)
    else:
        table = Table(np.asarray(source), None)
    values = table.values
    if values.ndim != 2 or 0 in values.shape:
        raise RecordError(f"{where}: one replica's predictions must have shape (N, C), not {values.shape}")
    if values.dtype.kind not in "fiu":
        raise RecordError(f"{where}: predictions must be numbers, not {values.dtype}")
    return table


def read_labels(source: Any) -> Table:
    """Labels (N,) from an array, .npy, .npz, .csv or .parquet; a column ``sample_id`` beside ``label`` is kept."""
    where, ids = "labels", None
    if isinstance(source, str | Path):
        path = existing(source)
        where = f"labels {path}"
        suffix = schema.one_of(path.suffix.lower(), (".npy", ".npz", ".csv", ".parquet"), f"suffix of {path},")
        if suffix in (".npy", ".npz"):
            values = _numpy_file(path, ("labels", "label"))
        else:
            columns = _csv(path) if suffix == ".csv" else _columns(read_columns(path))
            ids = columns.pop("sample_id", None)
            if "label" not in columns and len(columns) != 1:
                raise RecordError(f"{where}: needs a column 'label'; it has {', '.join(columns) or 'none'}")
            values = columns.get("label", next(iter(columns.values())))
    else:
        values = np.asarray(source)
    if values.ndim != 1:
        raise RecordError(f"{where}: must hold one class number a sample, shape (N,), not {values.shape}")
    if values.dtype.kind in "OSU":
        words = [i for i, value in enumerate(values.tolist()) if not str(value).strip().isdigit()]
        said = f"row {first_few(words)} holds {values[words[0]]!r}" if words else f"they are text, {values.dtype}"
        raise RecordError(f"{where}: expected whole numbers, from 0 for the first class; {said}")
    labels = typed(values, pa.int32(), where, whole_floats=True)
    return Table(labels, None if ids is None else typed(ids, pa.int64(), f"{where}, sample_id", whole_floats=True))


def log_probabilities(values: np.ndarray, where: str, *, probabilities: bool, clip: float | None) -> np.ndarray:
    """Logits, or distributions with ``probabilities``, as log-probabilities (N, C) in float64, nats.

    Raises RecordError naming ``where`` and the rows for values that are not finite, rows that do not sum to one, and
    probabilities of zero or below (a zero has no logarithm: ``clip`` raises those below it and rescales the row).
    """
    x = values.astype(np.float64)
    _refuse(~np.isfinite(x).all(axis=1), where, "values that are not finite")
    if probabilities:
        _refuse((x < 0).any(axis=1), where, "negative probabilities; are these logits? then leave probabilities=False")
        off = np.abs(x.sum(axis=1) - 1) > _SUM_TOLERANCE
        _refuse(off, where, "probabilities that do not sum to one; are these logits? then leave probabilities=False")
        if clip is not None:
            x = np.maximum(x, clip)
        _refuse((x == 0).any(axis=1), where, "probabilities of exactly 0, whose loss is infinite; pass clip=1e-7")
        x = np.log(x)
    # The max first: exp never overflows, and shifting by a constant changes no distribution.
    x -= x.max(axis=1, keepdims=True)
    x -= np.log(np.exp(x).sum(axis=1, keepdims=True))
    return x


def existing(path: str | Path) -> Path:
    """The path, if a file is there."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist or is no file")
    return path


def _refuse(bad: Any, where: str, what: str) -> None:
    if bad.any():
        raise RecordError(f"{where}: rows {first_few(np.flatnonzero(bad))} hold {what}")


def check_numpy(path: Path) -> None:
    """Raise RecordError for a file that does not begin as .npy and .npz files do, which NumPy takes for a pickle."""
    with path.open("rb") as file:
        if not file.read(6).startswith((b"\x93NUMPY", b"PK")):
            raise RecordError(f"{path} cannot be read as a NumPy file (it does not begin as one)")


def _numpy_file(path: Path, names: tuple[str, ...]) -> np.ndarray:
    check_numpy(path)
    try:
        content = np.load(path, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return content
        with content:
            name = content.files[0] if len(content.files) == 1 else next((n for n in names if n in content.files), None)
            if name is None:
                raise RecordError(
                    f"{path} holds {len(content.files)} arrays ({', '.join(content.files)}); it must hold one, or one "
                    f"named {' or '.join(names)}"
                )
            array: np.ndarray = content[name]
            return array
    except RecordError:
        raise
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise RecordError(f"{path} cannot be read as a NumPy file ({error})") from None


def _columns(table: pa.Table) -> dict[str, np.ndarray]:
    return {name: column.to_numpy() for name, column in zip(table.column_names, table.columns, strict=True)}


def _parquet_matrix(path: Path) -> Table:
    table = read_columns(path)
    names = [name for name in table.column_names if name not in ("sample_id", "label")]
    lists = [name for name in names if pa.types.is_nested(table.schema.field(name).type)]
    ids = table.column("sample_id").to_numpy() if "sample_id" in table.column_names else None
    if len(lists) == 1 and len(names) == 1:
        rows = table.column(lists[0]).to_pylist()
        lengths = {len(row) if isinstance(row, list) else 0 for row in rows}
        if len(lengths) > 1 or 0 in lengths:
            raise RecordError(f"{path}: every row of {lists[0]!r} must hold the same number of values")
        values = np.array(rows)
    elif lists or not names:
        raise RecordError(
            f"{path} must hold one list column, or one column of numbers a class, beside sample_id; it has "
            f"{', '.join(table.column_names)}"
        )
    else:
        values = np.stack([table.column(name).to_numpy() for name in names], axis=1)
    return Table(values, None if ids is None else typed(ids, pa.int64(), f"{path}, sample_id"))


def _csv(path: Path) -> dict[str, np.ndarray]:
    import pandas as pd

    try:
        frame = pd.read_csv(path)
        if len(frame.columns) == 1 and str(frame.columns[0]).strip().isdigit():  # numbers without a heading
            frame = pd.read_csv(path, header=None)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise RecordError(f"{path} cannot be read as CSV ({str(error).splitlines()[0]})") from None
    return {str(name).strip(): frame[name].to_numpy() for name in frame.columns}
