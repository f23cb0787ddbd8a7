"""Votes counted from a table of what each annotator said, one row a sample and one column an annotator, with gaps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from biasvar.analysis.arrays import to_numpy
from biasvar.analysis.inputs import as_array, like, refuse_masked
from biasvar.arguments import checked
from biasvar.messages import did_you_mean, first_few

EMPTY = ("refuse", "zero")
GAPS = ("", "nan", "NaN", "NA", "<NA>", "None", "null")  # text that stands for a gap, unless it names a class
_GAP = -1
_WRONG = -2
_MANY_ROWS = 20


@checked
def count_votes(
    annotations: Any,
    num_classes: int | None = None,
    *,
    class_names: Sequence[str] | None = None,
    empty: Literal["refuse", "zero"] = "refuse",
) -> Any:
    """How many annotators named each class, int64 `(N, K)`; what `from_votes` makes soft labels of.

    Args:
        annotations: `(N, A)`, an array, a frame or lists: what each of A annotators said of each of N samples. Class
            numbers, also as whole floats or text, or words of `class_names`. A gap is -1, NaN, None, NA or an empty
            text: that annotator did not see the sample.
        num_classes: K; by default as many as `class_names`.
        class_names: K words in the order of the classes.
        empty: what becomes of samples that nobody labelled: "refuse" them, or "zero" votes in all classes.

    Raises:
        ValueError: naming rows and the first entry that is no class; for samples that nobody labelled; where neither
            `num_classes` nor `class_names` says how many classes there are; for what looks like counts already.

    >>> count_votes([[0, 2, None], [1, 1, -1]], 3).tolist()
    [[1, 0, 1], [0, 2, 0]]
    >>> count_votes([["cat", ""], ["dog", "cat"]], class_names=["cat", "dog"]).tolist()
    [[1, 0], [1, 1]]
    """
    import pandas as pd

    classes = _num_classes(num_classes, class_names)
    if empty not in EMPTY:
        raise ValueError(f"empty must be one of {', '.join(EMPTY)}, got {empty!r}")
    table = _table(annotations)
    if table.ndim != 2 or 0 in table.shape:
        raise ValueError(
            "annotations must have shape (N, A), one row for each sample and one column for each annotator, got"
            f" {table.shape}"
        )
    try:
        place, found = pd.factorize(table.reshape(-1))
    except TypeError:
        raise ValueError("annotations must hold one class, or a gap, in each place; some hold a list") from None
    known = np.array([_class(value, classes, class_names) for value in found] + [_GAP])  # -1: pandas' own gaps
    codes = known[place].reshape(table.shape)
    if (codes == _WRONG).any():
        rows = np.flatnonzero((codes == _WRONG).any(axis=1))
        entry = table[rows[0], np.flatnonzero(codes[rows[0]] == _WRONG)[0]]
        raise ValueError(f"annotations: row {first_few(rows.tolist())} {_cause(entry, classes, class_names)}")
    given = codes >= 0
    _refuse_counts(codes, classes)
    if empty == "refuse" and not given.any(axis=1).all():
        nobody = first_few(np.flatnonzero(~given.any(axis=1)).tolist())
        raise ValueError(f'annotations: nobody labelled row {nobody}; leave them out, or keep them with empty="zero"')
    cells = (np.arange(len(codes))[:, None] * classes + codes)[given]
    counts = np.bincount(cells, minlength=len(codes) * classes).reshape(len(codes), classes).astype(np.int64)
    return like(counts, annotations) if hasattr(annotations, "detach") else counts


def _refuse_counts(codes: np.ndarray, classes: int) -> None:
    """Refuse a table of counts: as many columns as classes, and from 20 rows on one sum above 0 in all of them."""
    sums = codes.sum(axis=1)
    alike = (
        codes.shape == (len(codes), classes) and len(codes) >= _MANY_ROWS and (sums == sums[0]).all() and sums[0] > 0
    )
    if alike and (codes >= 0).all() and (codes != codes[:, :1]).any():
        raise ValueError(
            f"annotations look like counts of votes: as many columns as classes ({classes}), and every row sums to "
            f"{sums[0]}; counts go to from_votes as they are (a column more, all -1, says that annotators they are)"
        )


def _num_classes(num_classes: int | None, class_names: Sequence[str] | None) -> int:
    if class_names is not None and (
        isinstance(class_names, str | bytes)
        or not hasattr(class_names, "__len__")
        or getattr(class_names, "ndim", 1) != 1
        or len({str(name) for name in class_names}) < len(class_names)
    ):
        raise ValueError("class_names must be a list of different names, in the order of the classes")
    classes = num_classes if class_names is None else len(class_names)
    if classes is None:
        raise ValueError("say how many classes there are with num_classes=, or which with class_names=")
    if not 2 <= classes <= 10**9 or num_classes not in (None, classes):
        raise ValueError(f"num_classes must be at least 2, and as many as class_names, got {num_classes} and {classes}")
    return classes


def _table(annotations: Any) -> np.ndarray:
    refuse_masked(annotations, "annotations")
    if hasattr(annotations, "detach"):
        return to_numpy(as_array(annotations, "annotations"))
    if isinstance(annotations, np.ndarray):
        return annotations.astype(annotations.dtype.newbyteorder("="))  # pandas reads no foreign byte order
    if hasattr(annotations, "to_pandas"):  # Arrow and Polars
        annotations = annotations.to_pandas()
    if annotations is None or isinstance(annotations, str | bytes | dict | set):
        raise TypeError(f"annotations must be a table (N, A), got {type(annotations).__name__}")
    if not hasattr(annotations, "dtypes"):
        rows = list(annotations) if hasattr(annotations, "__iter__") else []
        rows = [to_numpy(as_array(row, "annotations")) if hasattr(row, "detach") else row for row in rows]
        if not all(hasattr(row, "__len__") and not isinstance(row, str | bytes) and np.ndim(row) for row in rows):
            return np.empty(len(rows), dtype=object)
        rows = [list(row) for row in rows]
        sizes = [len(row) for row in rows]
        odd = next((i for i, size in enumerate(sizes) if size != sizes[0]), None)
        if odd is not None:
            raise ValueError(f"annotations: row {odd} has {sizes[odd]} entries, row 0 {sizes[0]}; mark gaps with None")
        made = np.empty((len(rows), sizes[0] if rows else 0), dtype=object)
        made[...] = rows
        return made
    return np.asarray(annotations, dtype=object)


def _class(value: Any, classes: int, class_names: Sequence[str] | None) -> int:
    """The class number of an entry, `_GAP`, or `_WRONG`."""
    value = value.item() if isinstance(value, np.generic) else value
    value = value.decode(errors="replace") if isinstance(value, bytes) else value
    if isinstance(value, str):
        word = value.strip()
        if class_names is not None and word in class_names:
            return list(class_names).index(word)
        if word in GAPS:
            return _GAP
        try:
            value = float(word)
        except ValueError:
            return _WRONG
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return _GAP
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _WRONG
    if value != value or value == _GAP:
        return _GAP
    return int(value) if 0 <= value < classes and value == int(value) else _WRONG


def _cause(entry: Any, classes: int, class_names: Sequence[str] | None) -> str:
    entry = entry.item() if isinstance(entry, np.generic) else entry
    said = f"holds {entry!r}; allowed are classes 0 .. {classes - 1}, and -1, NaN, None or nothing for a gap"
    if isinstance(entry, str) and class_names is None:
        return f"{said}; of words give their order with class_names="
    if isinstance(entry, str):
        return f"{said}, or class_names{did_you_mean(entry.strip(), class_names or ())}"
    if entry == classes:
        return f"{said}; if classes start at 1, subtract 1"
    return said
