"""Soft labels of which only the largest entries were kept, as stores of a teacher's answers do to save space."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np

from biasvar.analysis.arrays import Array, namespace, to_numpy
from biasvar.analysis.inputs import SUM_TOLERANCE, as_array, check_real, like
from biasvar.arguments import checked
from biasvar.messages import first_few

Rest = Literal["uniform", "zero"]
RESTS: tuple[str, ...] = get_args(Rest)


@checked
def from_top_k(indices: Any, values: Any, num_classes: int, *, rest: Rest, first_row: int = 0) -> Array:
    """Distributions over all classes from the k classes of each row that were kept, float64 `(N, K)`.

    With s the sum of a row's k values, the other K - k classes get, by `rest`,

    - "uniform": (1 - s) / (K - k) each ("marginal smoothing" of Shen and Xing 2022, whose stores are of this kind); a
      sum that rounding left above 1 is divided out;
    - "zero": nothing, and the k values are divided by s ("marginal re-norm").

    Where the teacher was sure the two agree; they differ by how much of the tail is believed, so that there is no
    default.

    Args:
        indices: `(N, k)` class numbers, different ones in a row, in any order. -1 marks a place without an entry, in
            rows with fewer than k; its value is not looked at.
        values: `(N, k)` probabilities, of sum 1 at most (within 1e-3). Of stored logarithms give their exp.
        num_classes: K.
        rest: "uniform" or "zero".
        first_row: the number of the first row in messages.

    Raises:
        ValueError: naming the row and the rule it breaks: indices out of range or twice in a row, values that are
            negative or not finite, sums above 1, rows without mass, and all K classes listed with a sum below 1.

    >>> from_top_k([[2, 0]], [[0.6, 0.2]], 4, rest="uniform").round(3).tolist()
    [[0.2, 0.1, 0.6, 0.1]]
    >>> from_top_k([[2, 0]], [[0.6, 0.2]], 4, rest="zero").round(3).tolist()
    [[0.25, 0.0, 0.75, 0.0]]
    """
    if rest not in RESTS:
        raise ValueError(f"rest must be one of {', '.join(RESTS)}, got {rest!r}")
    if not 2 <= num_classes <= 10**9:
        raise ValueError(f"num_classes must be at least 2 and at most 10^9, got {num_classes}")
    reference = as_array(values, "values")
    places, mass = _entries(as_array(indices, "indices"), reference)
    given = places >= 0
    _check_places(places, num_classes, first_row)
    mass = np.where(given, mass, 0.0)
    _refuse(~np.isfinite(mass), first_row, "values must be finite", "holds NaN or infinity")
    _refuse(mass < 0, first_row, "values are probabilities and cannot be negative",
            "holds a negative entry; of logarithms give np.exp(values)")  # fmt: skip
    total, listed = mass.sum(axis=1), given.sum(axis=1)
    _refuse(total > 1.0 + SUM_TOLERANCE, first_row, "values of a row must sum to 1 at most, within 0.001",
            "sums to more; of votes or weights give shares of all classes")  # fmt: skip
    _refuse(total == 0, first_row, "every row needs a value above 0", "has none")
    if rest == "uniform":
        full = (listed == num_classes) & (total < 1.0 - SUM_TOLERANCE)
        _refuse(full, first_row, 'rest="uniform" needs a class that is not listed',
                'lists all and sums to less than 1; rest="zero" divides by the sum')  # fmt: skip
        left = np.maximum(1.0 - total, 0.0) / np.maximum(num_classes - listed, 1)
    else:
        left = np.zeros(len(mass))
    dense = np.repeat(left[:, None], num_classes, axis=1)
    rows = np.broadcast_to(np.arange(len(mass))[:, None], places.shape)
    dense[rows[given], places[given]] = mass[given]
    return like(dense / dense.sum(axis=1, keepdims=True), reference)


def _entries(indices: Array, values: Array) -> tuple[np.ndarray, np.ndarray]:
    """Indices as int64 and values as float64, both `(N, k)`."""
    check_real(values, "values")
    if not namespace(indices).isdtype(indices.dtype, "integral"):
        raise ValueError(f"indices must be integers (class numbers), got dtype {indices.dtype}")
    places, mass = to_numpy(indices), to_numpy(values).astype(np.float64)
    if places.ndim != 2 or places.shape != mass.shape or 0 in places.shape:
        raise ValueError(
            f"indices and values must both have shape (N, k), at least one row and one entry, got {places.shape} and"
            f" {mass.shape}"
        )
    return places.astype(np.int64), mass


def _check_places(places: np.ndarray, num_classes: int, first_row: int) -> None:
    top = f"0 .. {num_classes - 1} (-1: no entry)"
    _refuse((places < -1) | (places >= num_classes), first_row, f"indices must lie in {top}", "does not")
    ordered = np.sort(places, axis=1)
    twice = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    _refuse(twice.any(axis=1), first_row, "indices of a row must be different classes", "has a class twice")


def _refuse(bad: np.ndarray, first_row: int, rule: str, breach: str) -> None:
    rows = np.flatnonzero(bad.any(axis=1) if bad.ndim == 2 else bad)
    if len(rows):
        raise ValueError(f"{rule}; row {first_few((first_row + rows).tolist())} {breach}")
