"""Sets of the k largest entries of soft labels, and what ties at the edge of a set can change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from biasvar.analysis.arrays import as_labels, as_soft_labels, to_numpy

TIES = ("random", "include", "exclude_zero")


@dataclass(frozen=True, eq=False)
class TopSets:
    """Membership `(N, K)` of labels in every sample's set: as chosen, and with all or none of the tied labels taken."""

    chosen: np.ndarray
    most: np.ndarray
    least: np.ndarray
    labels: np.ndarray
    ties: int

    @property
    def class_sizes(self) -> np.ndarray:
        """`(K,)`, samples of each class."""
        return np.bincount(self.labels, minlength=self.chosen.shape[1])

    def by_class(self, member: np.ndarray) -> np.ndarray:
        """`(K, K)`: how many samples of class c (row) have label j (column) in their set."""
        counts = np.zeros((member.shape[1], member.shape[1]), dtype=np.int64)
        order = np.argsort(self.labels, kind="stable")
        sizes = self.class_sizes
        filled = np.flatnonzero(sizes)
        starts = (np.cumsum(sizes) - sizes)[filled]
        counts[filled] = np.add.reduceat(member[order].astype(np.int64), starts, axis=0)
        return counts


def checked(soft_labels: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    """Soft labels `(N, K)` float64 and labels `(N,)` int64 as NumPy arrays, or a ValueError that names the row."""
    values = to_numpy(as_soft_labels(soft_labels))
    return values, to_numpy(as_labels(labels, values, values.shape[:1], values.shape[1]))


def top_sets(values: np.ndarray, labels: np.ndarray, k: int, ties: str, seed: int) -> TopSets:
    """The sets of the k largest entries under a tie rule; see `biasvar.analysis.indicators.unreliability`."""
    if ties not in TIES:
        raise ValueError(f"ties must be one of {', '.join(TIES)}, got {ties!r}")
    classes = values.shape[1]
    if isinstance(k, bool) or int(k) != k or not 1 <= k <= classes:
        raise ValueError(f"k must be a whole number in 1 .. {classes} (the number of classes), got {k!r}")
    k = int(k)
    edge = -np.partition(-values, k - 1, axis=1)[:, k - 1 : k]
    above, level = values > edge, values == edge
    if ties == "exclude_zero":
        level &= values > 0
    # A tie is real where taking every label at the edge would overfill the set.
    tied = above.sum(axis=1) + level.sum(axis=1) > k
    most, least = above | level, above | (level & ~tied[:, None])
    chosen = most
    if ties != "include" and tied.any():
        # Labels above the edge come first, then those on it in random order, then the rest.
        draw = np.random.default_rng(seed).random(values.shape)[tied]
        rank = np.where(above[tied], -1.0, np.where(level[tied], draw, 2.0))
        first = np.argsort(rank, axis=1, kind="stable")[:, :k]
        picked = np.zeros(rank.shape, dtype=bool)
        np.put_along_axis(picked, first, True, axis=1)
        chosen = most.copy()
        chosen[tied] = picked
    return TopSets(chosen, most, least, labels, int(tied.sum()))
