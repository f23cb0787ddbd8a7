"""Every random number of biasvar, from a seed and what it is for; nothing depends on what was drawn before.

Three kinds of stream, and seeds that follow from a seed:

- `generator(seed, purpose, *keys)`: a NumPy generator for one random choice of a study. The arm is never among the
  keys, so that replica r of every arm sees the same rows in the same order from the same initial weights and arms
  compare in pairs; only what belongs to an arm (shuffled weights, random masks) adds the arm's name. Purposes:
  "split" (data), "draw" (training rows of a replica), "order" (batches), "init" and a teacher's (initial weights),
  "teacher rows", "labelled" (rows that keep their label), "rivals" (wrong labels of bad teachers), "arm",
  "connectors" (initial weights), "search split" and "search order" (rows of a search of weights), "layer weights",
  "infodrop" (places that students of an arm drop) and "infodrop evaluation", "few-shot classes" (held out),
  "few-shot episodes" and "engine" (made images that steps are timed on).
- `words`, `uniforms`, `normals`: numbers that belong to a sample, made from (seed, purpose, sample_id, epoch), the same
  whatever the order of the rows or the chunks they are read in. Purposes: "ties", "mixture", "selection", "selection
  ties", "label noise", "train views", "non-target classes" (of a permuted teacher), "resized crop" (of streamed images,
  by a replica's seed), those of random soft labels and, with seed 0, kinds of corruption, "shuffled_patches" and "pgd".
  Every sample starts a SplitMix64 stream of its own, at a state mixed from the four.
- `resampling(seed, *keys)`: a generator for bootstrap draws of an analysis.
- `derived_seed(seed, purpose, *keys)`: the seed of a study that follows from another's. Purposes: "redraw",
  "selection" and "resized crop" (a replica's).

Streams are part of the results: a change here changes every study. `tests/test_seeding.py` pins their first numbers.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def generator(seed: int, purpose: str, *keys: int | str) -> np.random.Generator:
    """A generator that depends on (seed, purpose, keys) and on nothing else.

    >>> a, b = generator(1, "order", 3, 7), generator(1, "order", 3, 7)
    >>> bool((a.permutation(9) == b.permutation(9)).all())
    True
    """
    numbers = [zlib.crc32(key.encode()) if isinstance(key, str) else int(key) for key in (purpose, *keys)]
    return np.random.default_rng(
        [int(seed), len(numbers), *numbers]
    )  # the count: trailing zeros would not be told apart


def derived_seed(seed: int, purpose: str, *keys: int | str) -> int:
    """A seed from 0 to 2^48 - 1 that depends on (seed, purpose, keys); below 2^53, so that any reader of JSON has it.

    >>> derived_seed(1, "redraw", 0) == derived_seed(1, "redraw", 1)
    False
    """
    return int(generator(seed, purpose, *keys).integers(2**48))


def resampling(seed: int, *keys: int) -> np.random.Generator:
    """A generator of bootstrap draws, from the caller's seed and keys such as a class."""
    return np.random.default_rng([seed, *keys])


def words(seed: int, purpose: str, sample_ids: Any, width: int, *, epoch: int = 0) -> np.ndarray:
    """`(n, width)` uint64, uniform, one row per sample id: SplitMix64 (Steele, Lea and Flood 2014), seeded per sample.

    Args:
        seed: 0 .. 2^64 - 1.
        purpose: What the numbers are for; other purposes get other numbers.
        sample_ids: `(n,)` whole numbers.
        width: Numbers per sample.
        epoch: 0 or more; other epochs get other numbers.

    Raises:
        ValueError: A seed, an epoch or sample ids that are no whole numbers.

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
