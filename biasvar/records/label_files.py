"""True classes of samples from arrays, frames and files: class numbers, words that are class names, or one-hot rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from biasvar.columns import label_columns
from biasvar.errors import RecordError
from biasvar.messages import did_you_mean, first_few
from biasvar.records import schema
from biasvar.records.checked_tables import typed
from biasvar.records.numpy_files import stored_array
from biasvar.records.prediction_files import existing, in_memory
from biasvar.records.stored_files import read_columns
from biasvar.records.tables import Ids, as_table, ids_of, is_frame, kinds, matrix

ARRAY_NAMES = ("labels", "label")
_WHERE = "pass where= (bool (N,), True for the rows that count)"
_LEFT_OUT = (-100, -1, 255)  # what PyTorch, scikit-learn and pictures of segments put where no label counts


@dataclass(frozen=True)
class Labels:
    """Class numbers (N,), the sample ids of a table's rows, and how many classes one-hot rows have.

    ``by_place`` is True for a pandas Series, of which NumPy knows no index: rows go by place where nothing has ids.
    """

    values: np.ndarray
    ids: Ids | None
    name: str
    classes: int | None = None
    by_place: bool = False


def read_labels(source: Any, *, class_names: Sequence[str] | None = None, where: Any = None) -> Labels:
    """Labels (N,) from an array, a frame, .npy, .npz, .csv or .parquet; rows that ``where`` leaves out are 0.

    A table's labels are its column ``label``, or the one named like it, and its ids those of ``sample_id``, of a column
    named like an id, or of the index of a pandas frame. Words are looked up in ``class_names``; rows (N, C) of one 1
    and else 0 are one-hot.
    """
    name, ids, series = "labels", None, False
    if isinstance(source, str | Path):
        path = existing(source)
        name = f"labels {path}"
        suffix = schema.one_of(path.suffix.lower(), (".npy", ".npz", ".csv", ".parquet"), f"suffix of {path},")
        if suffix in (".npy", ".npz"):
            values = np.asarray(stored_array(path, ARRAY_NAMES).mapped())
        else:
            values, ids = _of_table(read_csv(path, class_names) if suffix == ".csv" else read_columns(path), name)
    elif is_frame(source):
        values, ids = _of_table(as_table(source, name), name)
    else:
        values, series = _values(source, name), hasattr(source, "index") and hasattr(source, "to_frame")
        if series:
            ids = _of_table(as_table(source.to_frame("label"), name), name)[1]
    keep = None if where is None or not values.ndim else rows_that_count(where, len(values))
    values, classes = _one_hot(values, name, keep)
    return Labels(_class_numbers(values, name, class_names, keep), ids, name, classes, series)


def rows_that_count(where: Any, rows: int) -> np.ndarray:
    """``where`` as bool (N,), checked."""
    keep = np.asarray(where)
    if keep.shape != (rows,) or keep.dtype != bool:
        raise RecordError(
            f"where must be bool of shape ({rows},), True for the rows that count, not {keep.dtype} {keep.shape}"
        )
    if not keep.any():
        raise RecordError("where leaves no row: True is for the rows that count")
    return keep


def check_classes(labels: Labels, ids: np.ndarray, counted: np.ndarray, classes: int) -> None:
    """Raise RecordError, naming sample ids and the likely cause, for ``counted`` labels outside 0 to C - 1."""
    if labels.classes is not None and labels.classes != classes:
        raise RecordError(f"{labels.name}: its one-hot rows have {labels.classes} classes, the predictions {classes}")
    wrong = (counted < 0) | (counted >= classes)
    if not wrong.any():
        return
    values = np.unique(counted[wrong])
    cause = ""
    if len(values) == 1 and values[0] in _LEFT_OUT:
        cause = f"; {values[0]} often marks rows to leave out: {_WHERE}, here labels != {values[0]}"
    elif counted.min() >= 1 and values.tolist() == [classes]:
        cause = f"; they run from {counted.min()} to {classes}: if they start at 1, pass labels - 1"
    raise RecordError(
        f"labels of sample_id {first_few(ids[wrong])} are out of range; allowed: 0 to {classes - 1} (the first "
        f"is {counted[wrong][0]}){cause}"
    )


def _values(source: Any, name: str) -> np.ndarray:
    """An array, list or series in memory; words stay words."""
    if isinstance(source, np.ma.MaskedArray) or hasattr(source, "detach"):
        return in_memory(source, name)
    try:
        return np.asarray(source)
    except ValueError as error:
        raise RecordError(f"{name} are no array ({str(error).splitlines()[0]})") from None


def _of_table(table: pa.Table, name: str) -> tuple[np.ndarray, Ids | None]:
    found, index = kinds(table.schema)
    roles = label_columns(found, name, index=index.names)
    ids = ids_of(table, roles.ids, index, table.num_rows, name)
    if roles.label is None:
        return matrix(table, roles.classes, name), ids
    column = table.column(roles.label)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column.to_numpy(), ids


def _one_hot(values: np.ndarray, name: str, keep: np.ndarray | None) -> tuple[np.ndarray, int | None]:
    """Labels (N,) and None, or of one-hot rows (N, C) the place of the 1 and C."""
    if values.ndim == 2 and values.shape[1] > 1 and values.dtype.kind in "biuf":
        rows = values if keep is None else values[keep]
        odd = ((rows != 0) & (rows != 1)).any(axis=1) | ((rows == 1).sum(axis=1) != 1)
        if not odd.any():
            return values.argmax(axis=1), values.shape[1]
        raise RecordError(
            f"{name}: must hold one class number a sample, shape (N,), not {values.shape}; as one-hot rows each needs "
            f"one 1 and else 0, and {int(odd.sum())} of {len(rows)} have not (soft labels are a target: "
            "run.decomposition(arm, target=...))"
        )
    if values.ndim != 1:
        cure = "; pass labels[:, 0]" if values.ndim == 2 and values.shape[1] == 1 else ""
        raise RecordError(f"{name}: must hold one class number a sample, shape (N,), not {values.shape}{cure}")
    return values, None


def _class_numbers(
    values: np.ndarray, name: str, class_names: Sequence[str] | None, keep: np.ndarray | None
) -> np.ndarray:
    if keep is not None:
        values = np.where(keep, values, values[np.argmax(keep)])
    if values.dtype.kind in "OSUT":
        values = _numbers_of_words(values, name, class_names)
    if values.dtype == bool:
        raise RecordError(
            f"{name}: expected whole numbers, from 0 for the first class, not bool; pass labels.astype(int)"
        )
    if values.dtype.kind == "f" and np.isnan(values).any():
        raise RecordError(f"{name}: rows {first_few(np.flatnonzero(np.isnan(values)))} lack a label; {_WHERE}")
    return typed(values, pa.int32(), name, whole_floats=True)


def _numbers_of_words(values: np.ndarray, name: str, class_names: Sequence[str] | None) -> np.ndarray:
    """Class numbers of words by their place in ``class_names``; of objects that are all whole numbers, themselves."""
    words: list[Any] = [word.decode(errors="replace") if isinstance(word, bytes) else word for word in values.tolist()]
    if words and all(isinstance(word, int) and not isinstance(word, bool) for word in words):
        return np.array(words)
    lacking = [row for row, word in enumerate(words) if word is None or str(word) in ("<NA>", "nan", "NaT")]
    if lacking:
        raise RecordError(f"{name}: rows {first_few(lacking)} lack a label; {_WHERE}")
    texts = [str(word).strip() for word in words]
    if class_names is None:
        row = next((row for row, text in enumerate(texts) if not text.isdigit()), None)
        said = (
            f"they are text, {values.dtype}: pass labels.astype(int)"
            if row is None
            else (
                f"row {row} holds {texts[row]!r}: are these the names of classes? then pass class_names=[...], in the "
                "order of the classes"
            )
        )
        raise RecordError(f"{name}: expected whole numbers, from 0 for the first class; {said}")
    numbers = {str(word): number for number, word in enumerate(class_names)}
    if len(numbers) < len(class_names):
        raise RecordError(f"class_names has a name more than once, so that words of {name} cannot be looked up")
    unknown = dict.fromkeys(text for text in texts if text not in numbers)
    if unknown:
        first = next(iter(unknown))
        raise RecordError(
            f"{name}: {first_few(map(repr, unknown))} are none of class_names (row {texts.index(first)} first)"
            f"{did_you_mean(first, numbers, after=';') or ';'} there is: {first_few(numbers, 12)}"
        )
    return np.array([numbers[text] for text in texts])


def read_csv(path: Path, class_names: Sequence[str] | None = None) -> pa.Table:
    """A CSV file as a table; of a single column the first line may be a number or a class, no heading."""
    import pandas as pd

    try:
        frame = pd.read_csv(path, low_memory=False)
        first = str(frame.columns[0]).strip()
        if len(frame.columns) == 1 and (_is_number(first) or first in map(str, class_names or ())):  # no heading
            frame = pd.read_csv(path, header=None, low_memory=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise RecordError(f"{path} cannot be read as CSV ({str(error).splitlines()[0]})") from None
    frame.columns = [str(column).strip() for column in frame.columns]
    return as_table(frame, str(path))


def _is_number(text: str) -> bool:
    try:
        return float(text) == float(text)
    except ValueError:
        return False
