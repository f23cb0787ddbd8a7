"""Checks of the vectors that `biasvar.analysis.statistics` is given; every error names the argument and the rule.

Single numbers are checked by `biasvar.arguments.checked`. A vector of booleans is one of 0 and 1 where that means
something.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from biasvar.analysis.arrays import namespace, to_numpy
from biasvar.analysis.inputs import as_array
from biasvar.messages import first_few


def as_real(x: Any, name: str, *, bools: bool = True) -> np.ndarray:
    """`x` as a float64 NumPy array of its shape; ValueError where it holds no real numbers."""
    x = as_array(x, name)
    x = x.cpu() if hasattr(x, "cpu") else x
    xp = namespace(x)
    kinds = ("integral", "real floating", "bool") if bools else ("integral", "real floating")
    if x.dtype == object or not xp.isdtype(x.dtype, kinds):
        raise ValueError(f"{name} must hold real numbers, got dtype {x.dtype}")
    return to_numpy(xp.astype(x, xp.float64))


def as_vector(x: Any, name: str, *, bools: bool = True) -> np.ndarray:
    """`x` as float64 `(n,)` with at least one value; NaN and infinities stay."""
    values = as_real(x, name, bools=bools)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"{name} must be a vector with at least one value, got shape {values.shape}")
    return values


def as_pair(a: Any, b: Any, first: str, second: str) -> tuple[np.ndarray, np.ndarray]:
    """Two vectors of one length."""
    a, b = as_vector(a, first), as_vector(b, second)
    if a.shape != b.shape:
        raise ValueError(f"{first} and {second} must have the same length, got {len(a)} and {len(b)}")
    return a, b


def refuse_nan(x: np.ndarray, name: str) -> None:
    """ValueError where there is a NaN: a statistic of ranks would place it somewhere."""
    if np.isnan(x).any():
        raise ValueError(
            f"{name} holds NaN at {int(np.isnan(x).sum())} of {x.size} places; leave those out and say how many"
        )


def refuse_rows(bad: np.ndarray, name: str, rule: str, values: np.ndarray) -> None:
    """ValueError naming the first few rows that break a rule, and the value of the first."""
    if bad.any():
        rows = np.flatnonzero(bad)
        raise ValueError(f"{name} {rule}; row {first_few(rows.tolist())} does not (the first is {values[rows[0]]:g})")


def in_unit(value: float, name: str) -> float:
    """`value` if it lies between 0 and 1, both excluded."""
    if not 0.0 < value < 1.0:
        raise ValueError(f"{name} must lie between 0 and 1, got {value}")
    return value


def not_negative(value: float, name: str) -> float:
    """`value` if it is 0 or more, or NaN, as a standard error is where there is none."""
    if value < 0.0:
        raise ValueError(f"{name} cannot be negative, got {value}")
    return value
