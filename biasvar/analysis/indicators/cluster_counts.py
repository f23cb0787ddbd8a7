"""Counts by cluster of what is in the sets, from which the errors of all shares of rows in clusters come."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from biasvar.analysis.clusters import Spread, as_clusters

_HELD = 2**22  # codes kept before equal ones are put together


@dataclass(frozen=True, eq=False)
class ClusterSums:
    """What intervals of a rule's shares need of the clusters, each a `Spread`; `clusters` counts all of them.

    Attributes:
        members: `(K, K)`, rows of class c (row) with label j (column) in their set, of the rows of class c.
        missed: `()`, rows whose set lacks their class, of all rows.
        marginal: `(K,)`, rows of other classes with label j in their set, of all rows of other classes.
    """

    clusters: int
    members: Spread
    missed: Spread
    marginal: Spread


class ClusterCounts:
    """Rows, and labels in their sets, counted by cluster and class.

    Memory grows with the different (cluster, class, label) that occur, for every rule: at most with the labels in all
    sets.
    """

    def __init__(self, num_classes: int, rules: Iterable[Any]) -> None:
        self.num_classes = num_classes
        self.names: dict[Any, int] = {}
        self.rows = _Codes()
        self.members = {rule: _Codes() for rule in rules}

    def number(self, clusters: Any, rows: int, where: np.ndarray | None, first_row: int) -> np.ndarray:
        """`(rows,)` numbers of the named clusters, the same for a name whenever it comes; -1 where rows do not count.

        Raises:
            ValueError: as `as_clusters`.
        """
        numbers, names = as_clusters(clusters, rows, where=where, first_row=first_row)
        known = np.array([self.names.setdefault(name, len(self.names)) for name in names], dtype=np.int64)
        return np.where(numbers < 0, -1, known[numbers]) if len(known) else numbers

    def add_rows(self, clusters: np.ndarray, labels: np.ndarray) -> None:
        """Count rows of these clusters and classes."""
        self.rows.add(clusters * self.num_classes + labels)

    def add_members(self, rule: Any, clusters: np.ndarray, labels: np.ndarray, mask: np.ndarray) -> None:
        """Count the labels in sets given as masks `(n, K)`."""
        row, label = np.nonzero(mask)
        self.members[rule].add((clusters[row] * self.num_classes + labels[row]) * self.num_classes + label)

    def merge(self, other: ClusterCounts) -> np.ndarray:
        """Add the counts of another, clusters of one name being one; returns the numbers here of the other's."""
        number = np.array([self.names.setdefault(name, len(self.names)) for name in other.names], dtype=np.int64)
        for mine, theirs, below in (
            (self.rows, other.rows, self.num_classes),
            *((self.members[rule], other.members[rule], self.num_classes**2) for rule in self.members),
        ):
            code, count = theirs.total()
            mine.add(number[code // below] * below + code % below, count)
        return number

    def sums(self, rule: Any) -> ClusterSums:
        """The sums over clusters of one rule's counts."""
        from scipy.sparse import csr_array

        classes, groups = self.num_classes, len(self.names)
        cell, rows = self.rows.total()
        sizes = np.zeros(groups)
        np.add.at(sizes, cell // classes, rows)
        squares = np.bincount(cell % classes, weights=rows**2.0, minlength=classes)
        present = np.bincount(cell % classes, minlength=classes).astype(np.float64)

        code, count = self.members[rule].total()
        place, counted = code % classes**2, count.astype(np.float64)
        of_cell = rows[np.searchsorted(cell, code // classes)]
        shape = (classes, classes)
        members = Spread(
            np.bincount(place, weights=counted**2, minlength=classes**2).reshape(shape),
            np.bincount(place, weights=counted * of_cell, minlength=classes**2).reshape(shape),
            np.broadcast_to(squares[:, None], shape),
            np.broadcast_to(present[:, None], shape),
        )

        group, true, label = code // classes**2, code // classes % classes, code % classes
        own = true == label
        hits = np.bincount(group[own], weights=counted[own], minlength=groups)
        lost = sizes - hits
        whole, every = float((sizes**2).sum()), float((sizes > 0).sum())
        missed = Spread(*(np.array(x) for x in ((lost**2).sum(), (lost * sizes).sum(), whole, every)))

        # Rows of other classes than j: n_g - n_gj.
        mine = csr_array((rows.astype(np.float64), (cell // classes, cell % classes)), shape=(groups, classes))
        wrong = csr_array((counted[~own], (group[~own], label[~own])), shape=(groups, classes))
        wrong.sum_duplicates()
        square = np.asarray(wrong.multiply(wrong).sum(axis=0)).ravel()
        cross = np.asarray(wrong.T @ sizes).ravel() - np.asarray(wrong.multiply(mine).sum(axis=0)).ravel()
        others = whole - 2.0 * np.asarray(mine.T @ sizes).ravel() + squares
        alone = np.bincount(cell[rows == sizes[cell // classes]] % classes, minlength=classes)
        marginal = Spread(square, cross, others, every - alone)
        return ClusterSums(int(every), members, missed, marginal)


class _Codes:
    """How often each whole number was added, in memory that grows with the different ones."""

    def __init__(self) -> None:
        self._parts: list[tuple[np.ndarray, np.ndarray]] = []
        self._held = 0

    def add(self, codes: np.ndarray, counts: np.ndarray | None = None) -> None:
        if counts is None:
            codes, counts = np.unique(codes, return_counts=True)
        self._parts.append((codes, counts))
        self._held += len(codes)
        if self._held > _HELD:
            self._parts = [self.total()]
            self._held = max(len(self._parts[0][0]), _HELD // 2)

    def total(self) -> tuple[np.ndarray, np.ndarray]:
        """The different numbers, ascending, and their counts."""
        if not self._parts:
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
        codes, place = np.unique(np.concatenate([part[0] for part in self._parts]), return_inverse=True)
        weights = np.concatenate([part[1] for part in self._parts])
        return codes, np.bincount(place, weights=weights, minlength=len(codes)).astype(np.int64)
