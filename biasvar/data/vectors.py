"""The features of a data set, from lists in Parquet files to one float32 array."""

from __future__ import annotations

from typing import BinaryIO

import numpy as np
import pyarrow as pa

from biasvar.data.contents import Contents


def write_vectors(file: BinaryIO, contents: Contents) -> None:
    """Write the features of all samples, float32 (N, D), as a .npy file.

    Raises:
        ValueError: A row without a list, lists of unequal or no length, values that are missing or not finite; names
            the file and the first such row.
    """
    assert contents.lists is not None
    width, done = 0, 0
    for cells in contents.lists():
        lengths = _lengths(cells)
        _refuse(contents, done, lengths < 0, "no features; every row needs a list of numbers")
        _refuse(contents, done, lengths == 0, "an empty list of features; needed: at least one number")
        if not done:
            width = int(lengths[0])
            header = {"descr": "<f4", "fortran_order": False, "shape": (len(contents.labels), width)}
            np.lib.format.write_array_header_1_0(file, header)
        differs = lengths != width
        if differs.any():
            given = lengths[np.argmax(differs)]
            _refuse(contents, done, differs, f"{given} features, the first row {width}; all rows must be of one length")
        values = cells.flatten()
        if values.null_count:
            missing = values.is_null().to_numpy(zero_copy_only=False).reshape(-1, width).any(axis=1)
            _refuse(contents, done, missing, "a feature that is missing; every one needs a number")
        with np.errstate(over="ignore"):
            rows = values.to_numpy(zero_copy_only=False).astype(np.float32).reshape(-1, width)
        _refuse(contents, done, ~np.isfinite(rows).all(axis=1), "a feature that is not finite in float32")
        file.write(np.ascontiguousarray(rows).data)
        done += len(rows)


def _lengths(cells: pa.Array) -> np.ndarray:
    """(n,) the length of each list; -1 for none."""
    if pa.types.is_fixed_size_list(cells.type):
        lengths = np.full(len(cells), cells.type.list_size)
        lengths[cells.is_null().to_numpy(zero_copy_only=False)] = -1
        return lengths
    return np.asarray(cells.value_lengths().fill_null(-1).to_numpy(zero_copy_only=False), dtype=np.int64)


def _refuse(contents: Contents, done: int, wrong: np.ndarray, what: str) -> None:
    if wrong.any():
        i = done + int(np.argmax(wrong))
        raise ValueError(f"{contents.where(i)} has {what} ({contents.column})")
