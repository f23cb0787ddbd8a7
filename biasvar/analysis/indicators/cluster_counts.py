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
        self.full = {rule: _Codes() for rule in self.members}

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
        cell, whole = clusters * self.num_classes + labels, mask.all(axis=1)
        if whole.any():  # common among ties and masses above 0, and costs nothing
            self.full[rule].add(cell[whole])
            mask, cell = mask[~whole], cell[~whole]
        row, label = np.nonzero(mask)
        self.members[rule].add(cell[row] * self.num_classes + label)

    def merge(self, other: ClusterCounts) -> np.ndarray:
        """Add the counts of another, clusters of one name being one; returns the numbers here of the other's."""
        number = np.array([self.names.setdefault(name, len(self.names)) for name in other.names], dtype=np.int64)
        for mine, theirs, below in (
            (self.rows, other.rows, self.num_classes),
            *((self.members[rule], other.members[rule], self.num_classes**2) for rule in self.members),
            *((self.full[rule], other.full[rule], self.num_classes) for rule in self.full),
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
        at = np.searchsorted(cell, code // classes)
        # Rows whose set is all labels, counted by cell: each label has them beside its own.
        full_cell, full_count = self.full[rule].total()
        full = np.zeros(len(cell))
        full[np.searchsorted(cell, full_cell)] = full_count
        shape, of = (classes, classes), cell % classes

        def by_label(of_codes: np.ndarray, of_cells: np.ndarray) -> np.ndarray:
            sums = np.bincount(place, weights=of_codes, minlength=classes**2).reshape(shape)
            return sums + np.bincount(of, weights=of_cells, minlength=classes)[:, None]

        members = Spread(
            by_label(counted * (counted + 2.0 * full[at]), full**2),
            by_label(counted * rows[at], full * rows),
            np.broadcast_to(squares[:, None], shape),
            np.broadcast_to(present[:, None], shape),
        )

        group, true, label = code // classes**2, code // classes % classes, code % classes
        own, groups_of = true == label, cell // classes
        every_label = np.bincount(groups_of, weights=full, minlength=groups)
        lost = sizes - every_label - np.bincount(group[own], weights=counted[own], minlength=groups)
        whole, every = float((sizes**2).sum()), float((sizes > 0).sum())
        missed = Spread(*(np.array(x) for x in ((lost**2).sum(), (lost * sizes).sum(), whole, every)))

        # Rows of other classes than j: n_g - n_gj of a cluster, with f_g - f_gj of all labels among them.
        def by_class(values: np.ndarray) -> Any:
            return csr_array((values.astype(np.float64), (groups_of, of)), shape=(groups, classes))

        def inner(one: Any, other: Any) -> np.ndarray:
            return np.asarray(one.multiply(other).sum(axis=0)).ravel()

        mine, all_labels = by_class(rows), by_class(full)
        wrong = csr_array((counted[~own], (group[~own], label[~own])), shape=(groups, classes))
        wrong.sum_duplicates()
        square = inner(wrong, wrong) + 2.0 * (wrong.T @ every_label - inner(wrong, all_labels))
        square = square + (every_label**2).sum() - 2.0 * (all_labels.T @ every_label) + inner(all_labels, all_labels)
        cross = wrong.T @ sizes - inner(wrong, mine) + every_label @ sizes - mine.T @ every_label
        cross = cross - all_labels.T @ sizes + inner(all_labels, mine)
        others = whole - 2.0 * (mine.T @ sizes) + squares
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
