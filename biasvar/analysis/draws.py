"""Random numbers that belong to a sample: made from (seed, purpose, sample_id, epoch), whatever the order of the rows.

A generator that is drawn from row by row gives another number when rows are shuffled, left out or read in chunks. Here
every sample starts its own SplitMix64 stream (Steele, Lea and Flood 2014) at a state mixed from the four, all rows at
once in NumPy.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def words(seed: int, purpose: str, sample_ids: Any, width: int, *, epoch: int = 0) -> np.ndarray:
    """`(n, width)` uint64, uniform, one row per sample id.

    Args:
        seed: 0 .. 2^64 - 1.
        purpose: what the numbers are for; other purposes get other numbers.
        sample_ids: `(n,)` whole numbers.
        width: numbers per sample.
        epoch: 0 or more; other epochs get other numbers.

    >>> a, b = words(0, "noise", [7, 8], 2), words(0, "noise", [8, 7], 2)
    >>> bool((a == b[::-1]).all())
    True
    """
    for name, value in (("seed", seed), ("epoch", epoch)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 0 <= value < 2**64:
            raise ValueError(f"{name} must be a whole number from 0 up, got {value!r}")
    ids = np.asarray(sample_ids)
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise ValueError(f"sample_ids must be whole numbers of shape (n,), got {ids.dtype} of shape {ids.shape}")
    state = np.zeros(1, dtype=np.uint64)
    for word in (int(seed), *purpose.encode(), int(epoch)):
        state = _mix(state + _GOLDEN ^ np.array([word], dtype=np.uint64))
    rows = _mix(state ^ _mix(ids.astype(np.uint64) + _GOLDEN))
    steps = (np.arange(1, width + 1, dtype=np.uint64)) * _GOLDEN
    return _mix(rows[:, None] + steps)


def uniforms(seed: int, purpose: str, sample_ids: Any, width: int, *, epoch: int = 0) -> np.ndarray:
    """`(n, width)` float64 strictly between 0 and 1; see `words`."""
    bits = words(seed, purpose, sample_ids, width, epoch=epoch) >> np.uint64(11)
    return np.asarray((bits + 0.5) * 2.0**-53)


def normals(seed: int, purpose: str, sample_ids: Any, width: int, *, epoch: int = 0) -> np.ndarray:
    """`(n, width)` float64 standard normal, by the inverse of the distribution function; see `words`."""
    from scipy.special import ndtri

    return np.asarray(ndtri(uniforms(seed, purpose, sample_ids, width, epoch=epoch)))


def _mix(x: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64; multiplication wraps around, as it should."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(x ^ (x >> np.uint64(31)))
