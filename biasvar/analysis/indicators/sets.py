"""Sets of labels that a soft label singles out: the k largest entries, or those of at least some mass; and their ties.

Sets are taken in main memory: breaking ties by a seed must not depend on a device.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from biasvar.analysis.arrays import to_numpy
from biasvar.analysis.batches import Batch
from biasvar.analysis.inputs import as_array
from biasvar.seeding import words

TIES = ("random", "include", "exclude_zero")


@dataclass(frozen=True, eq=False)
class Ranking:
    """The largest entries of every row: labels `order` `(n, depth)` and values `top` `(n, depth + 1)`, or all K.

    Equal entries stand in an order drawn from the seed and the sample's id. Sets of a larger k hold those of a smaller.
    """

    order: np.ndarray
    top: np.ndarray

    def tied(self, k: int, ties: str) -> np.ndarray:
        """`(n,)` bool: is the k-th entry equal to the (k+1)-th, so that the rule decides on the set of size k."""
        if k >= self.top.shape[1]:
            return np.zeros(len(self.top), dtype=bool)
        equal = self.top[:, k - 1] == self.top[:, k]
        return equal & (self.top[:, k] > 0) if ties == "exclude_zero" else equal


def rank_labels(batch: Batch, depth: int, seed: int) -> Ranking:
    """The `depth` largest entries of every row, ties in random order."""
    values, classes = batch.values, batch.values.shape[1]
    width = min(depth + 1, classes)
    top = np.sort(np.partition(values, classes - width, axis=1)[:, classes - width :], axis=1)[:, ::-1]
    # Comparing with the smallest of them is three times quicker than argpartition, and finds ties at the end as well.
    among = values >= top[:, -1:]
    unclear = (top[:, :-1] == top[:, 1:]).any(axis=1)
    if width < classes:
        unclear |= among.sum(axis=1) != width
    order = np.empty((len(values), depth), dtype=np.int64)
    clear = ~unclear
    if clear.any():
        rows = slice(None) if clear.all() else clear
        place = (np.flatnonzero(among[rows]) % classes).reshape(-1, width)
        chosen = np.take_along_axis(values[rows], place, axis=1)
        order[rows] = np.take_along_axis(place, np.argsort(-chosen, axis=1)[:, :depth], axis=1)
    if unclear.any():
        ids = batch.sample_ids[unclear]
        order[unclear] = _ordered_by_draw(values[unclear], top[unclear, depth - 1], ids, depth, seed)
    return Ranking(order, top)


def _ordered_by_draw(values: np.ndarray, edge: np.ndarray, ids: np.ndarray, depth: int, seed: int) -> np.ndarray:
    """The `depth` largest labels, `edge` being the last value among them, equal entries by their draw."""
    key = words(seed, "ties", ids, values.shape[1]) >> np.uint64(1)
    edge = edge[:, None]
    # What lies above the edge is in, then the labels on it by their draw; the rest is never reached.
    rank = np.where(values > edge, np.uint64(0), np.where(values == edge, key, np.uint64(2**64 - 1)))
    near = np.argpartition(rank, depth - 1, axis=1)[:, :depth]
    by_draw = np.lexsort((np.take_along_axis(key, near, axis=1), -np.take_along_axis(values, near, axis=1)), axis=1)
    return np.take_along_axis(near, by_draw, axis=1)


def member_mask(batch: Batch, ranking: Ranking, k: int, ties: str) -> np.ndarray:
    """`(n, K)` bool: the top sets of size k under a tie rule, of a ranking at least as deep."""
    if ties == "include":
        return np.asarray(batch.values >= ranking.top[:, k - 1 : k])
    mask = np.zeros(batch.values.shape, dtype=bool)
    np.put_along_axis(mask, ranking.order[:, :k], True, axis=1)
    return mask & (batch.values > 0) if ties == "exclude_zero" else mask


def above(values: np.ndarray, threshold: float) -> np.ndarray:
    """`(n, K)` bool: labels of mass >= threshold; at threshold 0 those of mass > 0, since else all would be in."""
    return np.asarray(values > 0 if threshold == 0.0 else values >= threshold)


def check_ties(ties: str, scores: bool) -> str:
    """The tie rule, if it exists and fits."""
    if ties not in TIES:
        raise ValueError(f"ties must be one of {', '.join(TIES)}, got {ties!r}")
    if scores and ties == "exclude_zero":
        raise ValueError("ties='exclude_zero' is for distributions: of raw scores, zero is a value like any other")
    return ties


def check_k(k: Any, num_classes: int) -> int:
    """k as an int in 1 .. K."""
    if isinstance(k, bool | np.bool_) or not isinstance(k, int | float | np.number) or not _is_whole(k, num_classes):
        raise ValueError(f"k must be a whole number in 1 .. {num_classes} (the number of classes), got {k!r}")
    return int(k)


def check_threshold(threshold: Any, scores: bool) -> float:
    """A threshold as a float: of mass in 0 .. 1, of raw scores any finite number."""
    number = isinstance(threshold, int | float | np.number) and not isinstance(threshold, bool | np.bool_)
    if not number or not (abs(threshold) < math.inf if scores else 0.0 <= threshold <= 1.0):
        allowed = "a finite number" if scores else "a mass in 0 .. 1 (0 means: mass above 0)"
        raise ValueError(f"threshold must be {allowed}, got {threshold!r}")
    return float(threshold)


def listed(values: Any) -> list[Any]:
    """One value or several as a list without repeats, None as an empty one."""
    if values is None:
        return []
    if getattr(values, "shape", None) is not None:  # an array, a tensor, a frame
        values = to_numpy(as_array(values, "ks and thresholds")).tolist()
    if isinstance(values, str) or not isinstance(values, Iterable):
        return [values]
    entries = list(values)
    try:
        return list(dict.fromkeys(entries))
    except TypeError:  # lists among them, which are refused as what they are
        return entries


def _is_whole(k: Any, num_classes: int) -> bool:
    return 1 <= k <= num_classes and int(k) == k
