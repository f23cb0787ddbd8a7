"""Soft labels and labels read in batches, checked, with errors that name the row in the whole data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from biasvar.analysis.arrays import SUM_TOLERANCE, as_array, as_logits, namespace, to_numpy
from biasvar.messages import first_few

# A batch of this many entries (2 MB of float32) stays in the processor's cache through all passes over it.
ENTRIES = 2**19
_NAMED = 5


@dataclass(frozen=True, eq=False)
class Batch:
    """Checked rows as NumPy arrays: values `(n, K)` float32 or float64, labels and sample ids `(n,)` int64."""

    values: np.ndarray
    labels: np.ndarray
    sample_ids: np.ndarray


def checked_batch(
    soft_labels: Any,
    labels: Any,
    *,
    sample_ids: Any = None,
    first_row: int = 0,
    num_classes: int | None = None,
    normalize: bool = False,
    scores: bool = False,
) -> Batch:
    """One batch, or a ValueError that names rows (counted from `first_row`) and the rule they break.

    Rows must be finite, not negative, and sum to 1 within 1e-5; `normalize` divides rows by their sum instead of asking
    for that, `scores` asks for finite numbers only. Values keep their precision and are not divided otherwise: division
    could make ties of entries that differ. Sample ids default to the row numbers.
    """
    if normalize and scores:
        raise ValueError(
            "normalize=True makes distributions of non-negative rows, scores=True says they are none: give one"
        )
    values = as_logits(soft_labels, "soft_labels", "(N, K)")
    xp = namespace(values)
    if values.dtype not in (xp.float32, xp.float64):
        small = xp.isdtype(values.dtype, "real floating") and xp.finfo(values.dtype).bits < 32
        values = xp.astype(values, xp.float32 if small else xp.float64)  # NumPy knows no bfloat16
    values = to_numpy(values)
    if num_classes is not None and values.shape[1] != num_classes:
        raise ValueError(f"soft_labels must have {num_classes} classes, got shape {values.shape}")
    values = _checked_values(values, first_row, normalize, scores)
    n, classes = values.shape
    truth = _whole(labels, n, "labels (class numbers)")
    wrong = (truth < 0) | (truth >= classes)
    if wrong.any():
        raise ValueError(
            f"labels must lie in 0 .. {classes - 1}; row {_rows(wrong, first_row)} does not"
            f" (the first is {truth[wrong][0]})"
        )
    ids = np.arange(first_row, first_row + n) if sample_ids is None else _whole(sample_ids, n, "sample_ids")
    return Batch(values, truth, ids)


def batches(
    soft_labels: Any, labels: Any = None, sample_ids: Any = None, *, rows: int | None = None
) -> Iterator[tuple[Any, Any, Any]]:
    """Parts (soft_labels, labels, sample_ids or None), from arrays, or from an iterable of such tuples.

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
        for part in soft_labels:
            if not isinstance(part, tuple) or len(part) not in (2, 3):
                raise ValueError(
                    "every part must be a tuple (soft_labels, labels) or (soft_labels, labels, sample_ids)"
                )
            yield part if len(part) == 3 else (*part, None)
        return
    values, truth = as_array(soft_labels, "soft_labels"), as_array(labels, "labels")
    ids = None if sample_ids is None else as_array(sample_ids, "sample_ids")
    if values.ndim != 2 or 0 in values.shape:
        raise ValueError(f"soft_labels must have shape (N, K) with rows and classes, got {tuple(values.shape)}")
    n = values.shape[0]
    for name, other in (("labels", truth), ("sample_ids", ids)):
        if other is not None and tuple(other.shape) != (n,):
            raise ValueError(f"{name} must have shape ({n},) to match soft_labels, got {tuple(other.shape)}")
    step = rows or max(1, ENTRIES // values.shape[1])
    for start in range(0, n, step):
        part = slice(start, min(start + step, n))
        yield values[part], truth[part], None if ids is None else ids[part]


def _checked_values(values: np.ndarray, first_row: int, normalize: bool, scores: bool) -> np.ndarray:
    # Two passes settle the usual case: a NaN makes the minimum NaN and an infinity the sum.
    total = values.sum(axis=1, dtype=np.float64)
    if not np.isfinite(total).all():
        bad = ~np.isfinite(values).all(axis=1)
        raise ValueError(f"soft_labels must be finite; row {_rows(bad, first_row)} holds NaN or infinity")
    if scores:
        return values
    negative = values.min(axis=1) < 0
    if negative.any():
        raise ValueError(
            f"soft_labels are probabilities and cannot be negative; row {_rows(negative, first_row)} holds a negative"
            " entry; pass scores=True if these are raw scores"
        )
    if normalize:
        if (total == 0).any():
            raise ValueError(
                f"soft_labels need a positive sum to be normalized; row {_rows(total == 0, first_row)} is all zero"
            )
        return np.asarray(values / total[:, None])
    off = np.abs(total - 1.0) > SUM_TOLERANCE
    if off.any():
        raise ValueError(
            f"every row of soft_labels must sum to 1 within {SUM_TOLERANCE:g}; row {_rows(off, first_row)} does not"
            f" (the first sums to {total[off][0]:.6g}); normalize=True divides rows by their sum"
        )
    return values


def _whole(x: Any, n: int, name: str) -> np.ndarray:
    x = to_numpy(as_array(x, word := name.split()[0]))
    if x.shape != (n,):
        raise ValueError(f"{word} must have shape ({n},) to match soft_labels, got {x.shape}")
    if x.dtype.kind not in "iu":
        raise ValueError(f"{name} must be integers, got dtype {x.dtype}")
    return x.astype(np.int64)


def _rows(bad: np.ndarray, first_row: int) -> str:
    return first_few((first_row + np.flatnonzero(bad)).tolist())
