"""How often each label is in the set of samples of each class: the counts that both indicators are made of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from biasvar.analysis.clusters import Spread
from biasvar.analysis.indicators.cluster_counts import ClusterSums
from biasvar.analysis.statistics.proportions import clustered_ends, effective_rows


@dataclass(frozen=True, eq=False)
class SetCounts:
    """Counts of labels in sets, by true class, under one rule for the sets.

    Attributes:
        k: size of the sets, or None where `threshold` makes them.
        threshold: least mass of the labels in the sets (0: mass above 0), or None.
        members: `(K, K)` int64, samples of class c (row) with label j (column) in their set.
        least, most: the same with none, or all, of the labels in which a tie at the edge of a set leaves a choice;
            `members` itself where there is none.
        class_sizes: `(K,)` int64.
        ties: samples with such a choice.
        sums: of rows that come in clusters, what their intervals need; None of independent rows.
    """

    k: int | None
    threshold: float | None
    members: np.ndarray
    least: np.ndarray
    most: np.ndarray
    class_sizes: np.ndarray
    ties: int
    sums: ClusterSums | None = None

    @property
    def n(self) -> int:
        """Samples."""
        return int(self.class_sizes.sum())

    @property
    def units(self) -> int:
        """Independent units: clusters, or samples where there are none."""
        return self.n if self.sums is None else self.sums.clusters

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.class_sizes)

    @property
    def rule(self) -> str:
        """The rule in words, for messages."""
        return f"k = {self.k}" if self.k is not None else f"threshold {self.threshold:g}"

    @cached_property
    def missed(self) -> np.ndarray:
        """`(K,)` samples of each class whose set lacks their class."""
        return np.asarray(self.class_sizes - np.diagonal(self.members))

    @property
    def delta(self) -> float:
        """Unreliability: the share of samples whose set lacks their class."""
        return float(self.missed.sum() / self.n)

    @cached_property
    def deltas(self) -> np.ndarray:
        """`(K,)` unreliability within each class, NaN where a class has no samples."""
        return self._by_class(self.missed)

    @cached_property
    def rivals(self) -> np.ndarray:
        """`(K,)` the wrong label most often in the sets of each class (the first of several)."""
        return np.asarray(off_diagonal(self.members).argmax(axis=1))

    @cached_property
    def rival_counts(self) -> np.ndarray:
        """`(K,)` how many samples of each class have that label in their set."""
        return np.asarray(self.members[np.arange(self.num_classes), self.rivals])

    @cached_property
    def gammas(self) -> np.ndarray:
        """`(K,)` ambiguity within each class: the share of its samples with that label in their set; NaN without."""
        return self._by_class(self.rival_counts)

    @property
    def gamma(self) -> float:
        """Ambiguity, class-conditional; NaN where a class has no samples, since the largest may be there."""
        return float(self.gammas.max())

    @cached_property
    def marginal_counts(self) -> np.ndarray:
        """`(K,)` samples of all other classes with label j in their set."""
        return np.asarray(self.members.sum(axis=0) - np.diagonal(self.members))

    @property
    def marginal_sizes(self) -> np.ndarray:
        """`(K,)` samples of all classes but j."""
        return np.asarray(self.n - self.class_sizes)

    @property
    def set_size(self) -> float:
        """Mean number of labels in a set."""
        return float(self.members.sum() / self.n)

    @property
    def floor(self) -> float:
        """(mean set size - 1 + Delta) / (K - 1), below which neither version of the ambiguity can lie.

        The wrong labels of a set number its size less the truth, and their most frequent one is at least as frequent as
        their mean. Where every set has exactly k labels this is the familiar (k - 1 + Delta) / (K - 1).
        """
        return (self.set_size - 1.0 + self.delta) / (self.num_classes - 1)

    def rates(self) -> np.ndarray:
        """`(K, K)` Pr(label j in the set | class c); 1 - Delta_c on the diagonal, NaN in classes without samples."""
        return self._by_class(self.members)

    def tie_range(self) -> dict[str, tuple[float, float]]:
        """Smallest and largest unreliability and ambiguity ("class", "marginal") that a choice among ties can give."""
        deltas = [1.0 - float(np.trace(m)) / self.n for m in (self.most, self.least)]
        with np.errstate(divide="ignore", invalid="ignore"):
            by_class = [
                float(np.nanmax(off_diagonal(m).max(axis=1) / self.class_sizes)) for m in (self.least, self.most)
            ]
            marginal = [
                float(np.nanmax((m.sum(axis=0) - np.diagonal(m)) / self.marginal_sizes))
                for m in (self.least, self.most)
            ]
        return {
            "delta": (deltas[0], deltas[1]),
            "class": (by_class[0], by_class[1]),
            "marginal": (marginal[0], marginal[1]),
        }

    def missed_ends(self, method: str, alpha: float) -> tuple[np.ndarray, np.ndarray]:
        """`(K,)` ends of every class's unreliability, each at level 1 - alpha."""
        own = np.arange(self.num_classes)
        spread = None if self.sums is None else self.sums.members.at((own, own)).of_others()
        return clustered_ends(method, self.missed, self.class_sizes, alpha, spread)

    def label_ends(
        self, true: np.ndarray, label: np.ndarray, method: str, alpha: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Ends of how often these labels are in the sets of these classes, each at level 1 - alpha."""
        spread = None if self.sums is None else self.sums.members.at((true, label))
        return clustered_ends(method, self.members[true, label], self.class_sizes[true], alpha, spread)

    def rival_ends(self, method: str, alpha: float) -> tuple[np.ndarray, np.ndarray]:
        """`(K,)` ends of every class's ambiguity: the largest of those of its wrong labels, each at level 1 - alpha."""
        own = np.arange(self.num_classes)
        if self.sums is None:  # the most frequent label has the largest ends
            return self.label_ends(own, self.rivals, method, alpha)
        true, label = self._likely_rivals(self.sums.members, alpha)
        ends = np.zeros((2, self.num_classes))
        for end, found in zip(ends, self.label_ends(true, label, method, alpha), strict=True):
            np.maximum.at(end, true, found)
        return ends[0], ends[1]

    def _likely_rivals(self, spread: Spread, alpha: float) -> tuple[np.ndarray, np.ndarray]:
        """Classes and wrong labels that can have a class's largest end: inverting all K^2 ends would take long.

        An upper end rises with the share and falls with the effective number of rows, a lower one rises with both: a
        label is left out where another has as large a share on fewer rows, and another on more.
        """
        classes, n = self.num_classes, np.maximum(self.class_sizes, 1)[:, None].astype(np.float64)
        spread = Spread(spread.squares, spread.cross, spread.sizes[:, :1], spread.clusters[:, :1])
        share, typical = self.members / n, np.maximum(spread.sizes, 1.0) / n
        rows = effective_rows(share, n, typical, spread, alpha)
        order = np.argsort(-np.where(np.eye(classes, dtype=bool), -1.0, share), axis=1, kind="stable")[:, :-1]
        ranked = np.take_along_axis(rows, order, axis=1)
        keep = np.ones(ranked.shape, dtype=bool)
        keep[:, 1:] = ranked[:, 1:] < np.minimum.accumulate(ranked, axis=1)[:, :-1]
        keep[:, 1:] |= ranked[:, 1:] > np.maximum.accumulate(ranked, axis=1)[:, :-1]
        true, place = np.nonzero(keep)
        return true, order[true, place]

    def _by_class(self, counts: np.ndarray) -> np.ndarray:
        sizes = self.class_sizes.reshape(-1, *[1] * (counts.ndim - 1))
        return np.where(sizes > 0, counts / np.maximum(sizes, 1), np.nan)


class MaskCounter:
    """Counts labels in sets given as masks; sets of all labels, which are common among ties at zero, cost nothing."""

    def __init__(self, num_classes: int) -> None:
        self.members = np.zeros((num_classes, num_classes), dtype=np.int64)
        self.full = np.zeros(num_classes, dtype=np.int64)

    def add(self, mask: np.ndarray, labels: np.ndarray) -> None:
        """Count the labels of masks `(n, K)` of samples with true classes `labels` `(n,)`."""
        classes = mask.shape[1]
        whole = mask.all(axis=1)
        self.full += np.bincount(labels[whole], minlength=classes)
        if whole.any():
            mask, labels = mask[~whole], labels[~whole]
        place = np.flatnonzero(mask)
        np.add.at(self.members.reshape(-1), labels[place // classes] * classes + place % classes, 1)

    def remove(self, chosen: np.ndarray, labels: np.ndarray) -> None:
        """Take back the labels `chosen` `(n, k)` of samples of classes `labels`."""
        code = labels[:, None] * len(self.full) + chosen
        np.subtract.at(self.members.reshape(-1), code.reshape(-1), 1)

    def merge(self, other: MaskCounter) -> None:
        """Add the counts of another."""
        self.members += other.members
        self.full += other.full

    def total(self) -> np.ndarray:
        """`(K, K)` counts of everything added."""
        return np.asarray(self.members + self.full[:, None])


def off_diagonal(counts: np.ndarray) -> np.ndarray:
    """A copy with -1 on the diagonal, so that a maximum is one over wrong labels."""
    copy = counts.copy()
    np.fill_diagonal(copy, -1)
    return copy
