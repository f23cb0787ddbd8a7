"""Predictions of other programs (arrays, frames, npy, npz, Parquet), opened, and read and checked by parts of rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from biasvar.analysis.arrays import to_numpy
from biasvar.analysis.inputs import as_array
from biasvar.columns import ONE_COLUMN, Roles, prediction_columns
from biasvar.errors import RecordError
from biasvar.messages import first_few
from biasvar.records import schema
from biasvar.records.numpy_files import stored_array
from biasvar.records.stored_files import read_columns
from biasvar.records.tables import Ids, as_table, ids_of, is_frame, kinds, matrix, parquet_schema

ARRAY_NAMES = ("logits", "predictions")
SUM_TOLERANCE = 1e-3  # float16 distributions over a thousand classes still pass
Values = Literal["logits", "probabilities"]


@dataclass(frozen=True)
class Source:
    """One replica's predictions, not yet read.

    ``name`` for messages, ``rows``, the sample ids if there are any, the columns of a table in the order of the
    classes, and ``load``, which gives the (N, C) array: a memory map where the file allows it.
    """

    name: str
    rows: int
    ids: Ids | None
    columns: tuple[str, ...] | None
    load: Callable[[], np.ndarray]
    is_file: bool = False


def open_predictions(
    source: Any, name: str, *, class_names: Sequence[str] | None = None, columns: Sequence[str] | None = None
) -> Source:
    """One replica's predictions from an array, a frame, .npy, .npz (one array, or logits or predictions) or .parquet.

    A table holds a list column, or one column a class: see :func:`biasvar.columns.prediction_columns`.
    """
    if isinstance(source, str | Path):
        path = existing(source)
        suffix = schema.one_of(path.suffix.lower(), (".npy", ".npz", ".parquet"), f"suffix of {path},")
        if suffix == ".parquet":
            layout, rows = parquet_schema(path)
            roles, ids = _roles(path, layout, rows, name, class_names, columns)
            found = _table(
                name, rows, roles, ids, lambda: matrix(read_columns(path, roles.classes), roles.classes, name)
            )
            return replace(found, is_file=True)
        stored = stored_array(path, ARRAY_NAMES)
        _check(stored.shape, stored.dtype, name)
        return Source(name, stored.shape[0], None, None, lambda: plain_floats(stored.mapped(), name), is_file=True)
    if is_frame(source):
        table = as_table(source, name)
        roles, ids = _roles(table, table.schema, table.num_rows, name, class_names, columns)
        return _table(name, table.num_rows, roles, ids, lambda: matrix(as_table(source, name), roles.classes, name))
    values = in_memory(source, name)
    _check(values.shape, values.dtype, name)
    return Source(name, values.shape[0], None, None, lambda: values)


def in_memory(source: Any, name: str) -> np.ndarray:
    """An array, tensor or list as a NumPy array of numbers; RecordError for masked arrays and for what is no array."""
    if isinstance(source, np.ma.MaskedArray) or type(source).__name__ == "MaskedTensor":
        raise RecordError(
            f"{name} is a masked array, whose masked entries would count like others: pass its .data, and where= (bool "
            "(N,), True for the rows that count)"
        )
    try:
        return plain_floats(to_numpy(as_array(source, name)), name)
    except RecordError:
        raise
    except (TypeError, ValueError) as error:
        raise RecordError((str(error).splitlines() or [f"{name} is no array of numbers"])[0]) from None


def plain_floats(values: np.ndarray, name: str) -> np.ndarray:
    """The array, bfloat16 (of ml_dtypes) as float32; RecordError for the bytes that NumPy makes of a stored one."""
    if values.dtype.name == "bfloat16":
        return values.astype(np.float32)
    if values.dtype == np.dtype("V2"):
        raise RecordError(f"{name}: holds {values.dtype}, as NumPy reads bfloat16 back; save it as float32")
    return values


def _roles(
    table: Any, layout: Any, rows: int, name: str, class_names: Sequence[str] | None, columns: Sequence[str] | None
) -> tuple[Roles, Ids | None]:
    found, index = kinds(layout)
    roles = prediction_columns(found, name, index=index.names, class_names=class_names, columns=columns)
    return roles, ids_of(table, roles.ids, index, rows, name)


def _table(name: str, rows: int, roles: Roles, ids: Ids | None, load: Callable[[], np.ndarray]) -> Source:
    def checked() -> np.ndarray:
        values = load()
        _check(values.shape, values.dtype, name)
        return values

    if not rows:
        raise RecordError(f"{name} holds no rows")
    return Source(name, rows, ids, roles.classes, checked)


def _check(shape: tuple[int, ...], dtype: np.dtype[Any], name: str) -> None:
    if len(shape) == 1 and shape[0] > 0 and dtype.kind in "fiu":
        raise RecordError(f"{name}: one replica's predictions must have shape (N, C), not {shape}: {ONE_COLUMN}")
    if len(shape) != 2 or 0 in shape:
        raise RecordError(f"{name}: one replica's predictions must have shape (N, C), not {shape}")
    if dtype.kind not in "fiu" and not (dtype.kind == "V" and dtype.fields is None):
        cure = "; save an array of one type of numbers" if dtype.kind in "OV" else ""
        raise RecordError(f"{name}: predictions must be real numbers, not {dtype}{cure}")
    if shape[1] < 2:
        raise RecordError(f"{name} has one class, shape {shape}; at least 2 are needed: {ONE_COLUMN}")


class LogProbabilities:
    """Log-probabilities of parts of rows of one replica, and the rows that break a rule, told at the end of all parts.

    ``values`` says what they are made of; ``clip`` raises probabilities below it.
    """

    def __init__(self, name: str, values: Values, clip: float | None) -> None:
        self._name, self._values, self._clip = name, values, clip
        self._faults: dict[str, list[np.ndarray]] = {}

    def of(self, values: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """(n, C) in float64, nats, of the values at ``rows`` of the file; call `check` after the last part."""
        with np.errstate(all="ignore"):
            x = values.astype(np.float64)
            self._refuse(~np.isfinite(x).all(axis=1), rows, "values that are not finite")
            if self._values == "probabilities":
                x = self._logarithms(x, rows)
            # The max first: exp never overflows, and shifting by a constant changes no distribution.
            x -= x.max(axis=1, keepdims=True)
            x -= np.log(np.exp(x).sum(axis=1, keepdims=True))
        return x

    def check(self) -> None:
        """Raise RecordError with the file, the rows and the rule: values that are not finite, rows that do not sum to
        one, probabilities of zero or below (a zero has no logarithm: ``clip`` raises it and rescales the row)."""
        for rule in _RULES:
            if rule in self._faults:
                rows = np.sort(np.concatenate(self._faults[rule]))
                raise RecordError(f"{self._name}: rows {first_few(rows)} hold {rule}{_CURES.get(rule, '')}")

    def _logarithms(self, x: np.ndarray, rows: np.ndarray) -> np.ndarray:
        self._refuse((x < 0).any(axis=1), rows, "negative probabilities")
        self._refuse(np.abs(x.sum(axis=1) - 1) > SUM_TOLERANCE, rows, "probabilities that do not sum to one")
        if self._clip is not None:
            x = np.maximum(x, self._clip)
        self._refuse((x == 0).any(axis=1), rows, "probabilities of exactly 0, whose loss is infinite")
        return np.asarray(np.log(x))

    def _refuse(self, bad: Any, rows: np.ndarray, rule: str) -> None:
        if bad.any():
            self._faults.setdefault(rule, []).append(rows[bad])


_SUMS = (
    '; divide every row by its sum (votes become shares with from_votes), or pass values="logits" if these are logits'
)
_LOGITS = '; are these logits? then pass values="logits"'
_RULES = (
    "values that are not finite",
    "negative probabilities",
    "probabilities that do not sum to one",
    "probabilities of exactly 0, whose loss is infinite",
)
_CURES = {_RULES[0]: " (where= leaves rows out)", _RULES[1]: _LOGITS, _RULES[2]: _SUMS, _RULES[3]: "; pass clip=1e-7"}


def existing(path: str | Path) -> Path:
    """The path, if a file is there."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist or is no file")
    return path
