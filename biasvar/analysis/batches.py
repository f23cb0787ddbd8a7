"""Soft labels and labels read in batches, checked, with errors that name the row in the whole data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from biasvar.analysis.arrays import namespace, to_numpy
from biasvar.analysis.inputs import as_array, as_labels, as_logits, as_where, check_label_shape, sum_tolerance
from biasvar.messages import first_few

# A batch of this many entries (2 MB of float32) stays in the processor's cache through all passes over it.
ENTRIES = 2**19
# Rows of float32 over a thousand classes sum to 1 within about 1e-6; beyond this their mass is divided by the sum.
ROUNDING = 1e-5


@dataclass(frozen=True, eq=False)
class Batch:
    """Checked rows as NumPy arrays: values and mass `(n, K)` float32 or float64, labels and sample ids `(n,)` int64.

    `values` are as given, for what goes by rank: division could make ties of entries that differ. `mass` is for what
    goes by size: a row whose sum is further from 1 than rounding of float32 leaves it is divided by that sum. Where no
    row is, or the rows are scores, the two are one array.
    """

    values: np.ndarray
    mass: np.ndarray
    labels: np.ndarray
    sample_ids: np.ndarray


def checked_batch(
    soft_labels: Any,
    labels: Any,
    *,
    sample_ids: Any = None,
    where: Any = None,
    first_row: int = 0,
    num_classes: int | None = None,
    normalize: bool = False,
    scores: bool = False,
) -> Batch:
    """One batch, or a ValueError that names rows (counted from `first_row`) and the rule they break.

    Rows must be finite, not negative, and sum to 1 within 1e-3; `normalize` divides rows by their sum instead of asking
    for that, `scores` asks for finite numbers only. Sample ids default to the row numbers. Rows that are False in the
    bool `where` `(n,)` are left out, and may hold anything.
    """
    if normalize and scores:
        raise ValueError(
            "normalize=True makes distributions of non-negative rows, scores=True says they are none: give one"
        )
    values = as_logits(soft_labels, "soft_labels", "(N, K)")
    tolerance, xp = sum_tolerance(values), namespace(values)
    if values.dtype not in (xp.float32, xp.float64):
        small = xp.isdtype(values.dtype, "real floating") and xp.finfo(values.dtype).bits < 32
        values = xp.astype(values, xp.float32 if small else xp.float64)  # NumPy knows no bfloat16
    values = to_numpy(values)
    n, classes = values.shape
    if num_classes is not None and classes != num_classes:
        raise ValueError(f"soft_labels must have {num_classes} classes, got shape {values.shape}")
    keep = slice(None) if where is None else as_where(where, values, (n,))
    if not 0 <= first_row < 2**62:
        raise ValueError(f"first_row must be the number of a row, from 0 on, got {first_row}")
    rows = first_row + np.arange(n)[keep]
    values, mass = _checked_values(values[keep], rows, tolerance, normalize, scores)
    truth = as_labels(labels, values, (n,), classes, where=None if where is None else keep, start=first_row)[keep]
    return Batch(values, mass, truth, rows if sample_ids is None else _ids(sample_ids, n)[keep])


Part = tuple[Any, Any, Any, Any]


def batches(
    soft_labels: Any, labels: Any = None, sample_ids: Any = None, where: Any = None, *, rows: int | None = None
) -> Iterator[Part]:
    """Parts (soft_labels, labels, sample_ids or None, where or None), from arrays, or from an iterable of tuples.

    `soft_labels` is an array `(N, K)` (NumPy, torch, a memory map) beside `labels` `(N,)`; or, with `labels=None`, an
    iterable of tuples (soft_labels, labels) or (soft_labels, labels, sample_ids). `rows` per part of an array; by
    default as many as the processor's cache holds.
    """
    if labels is None:
        if not isinstance(soft_labels, Iterable) or hasattr(soft_labels, "shape"):
            raise ValueError(
                "labels are missing: give them beside an array of soft labels, or give an iterable of tuples"
                " (soft_labels, labels)"
            )
        if where is not None or sample_ids is not None:
            raise ValueError(
                "where and sample_ids go with arrays: batches have sample_ids and leave rows out themselves"
            )
        for part in soft_labels:
            if not isinstance(part, tuple) or len(part) not in (2, 3):
                raise ValueError(
                    "every part must be a tuple (soft_labels, labels) or (soft_labels, labels, sample_ids)"
                )
            yield (*part, *[None] * (4 - len(part)))
        return
    values, truth = as_array(soft_labels, "soft_labels"), as_array(labels, "labels")
    if values.ndim != 2 or 0 in values.shape:
        raise ValueError(f"soft_labels must have shape (N, K) with rows and classes, got {tuple(values.shape)}")
    n = values.shape[0]
    check_label_shape(truth, (n,), values.shape[1])
    ids, keep = (None if x is None else as_array(x, name) for x, name in ((sample_ids, "sample_ids"), (where, "where")))
    for name, other in (("sample_ids", ids), ("where", keep)):
        if other is not None and tuple(other.shape) != (n,):
            raise ValueError(f"{name} must have shape ({n},) to match soft_labels, got {tuple(other.shape)}")
    step = rows or max(1, ENTRIES // values.shape[1])
    for start in range(0, n, step):
        part = slice(start, min(start + step, n))
        yield values[part], truth[part], None if ids is None else ids[part], None if keep is None else keep[part]


def _checked_values(
    values: np.ndarray, rows: np.ndarray, tolerance: float, normalize: bool, scores: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Values and mass."""
    # Two passes settle the usual case: a NaN makes the minimum NaN and an infinity the sum.
    with np.errstate(over="ignore"):
        total = values.sum(axis=1, dtype=np.float64)
    if not np.isfinite(total).all():
        bad = ~np.isfinite(values).all(axis=1)
        if bad.any():
            raise ValueError(f"soft_labels must be finite; row {_first(rows, bad)} holds NaN or infinity")
    if scores:
        return values, values
    negative = values.min(axis=1) < 0
    if negative.any():
        raise ValueError(
            f"soft_labels are probabilities and cannot be negative; row {_first(rows, negative)} holds a negative"
            " entry; pass scores=True if these are raw scores"
        )
    if normalize:
        if (total == 0).any():
            raise ValueError(
                f"soft_labels need a positive sum to be normalized; row {_first(rows, total == 0)} is all zero"
            )
        values = np.asarray(values / total[:, None])
        return values, values
    off = ~(np.abs(total - 1.0) <= tolerance)
    if off.any():
        raise ValueError(
            f"every row of soft_labels must sum to 1 within {tolerance:g}; row {_first(rows, off)} does not"
            f" (the first sums to {total[off][0]:.6g}); normalize=True divides rows by their sum"
        )
    far = np.abs(total - 1.0) > ROUNDING
    if not far.any():
        return values, values
    return values, (values / np.where(far, total, 1.0)[:, None]).astype(values.dtype)


def _ids(sample_ids: Any, n: int) -> np.ndarray:
    ids = to_numpy(as_array(sample_ids, "sample_ids"))
    if ids.shape != (n,):
        raise ValueError(f"sample_ids must have shape ({n},) to match soft_labels, got {ids.shape}")
    if ids.dtype.kind not in "iu":
        raise ValueError(f"sample_ids must be integers, got dtype {ids.dtype}")
    return ids.astype(np.int64)


def _first(rows: np.ndarray, bad: np.ndarray) -> str:
    return first_few(rows[bad].tolist())
