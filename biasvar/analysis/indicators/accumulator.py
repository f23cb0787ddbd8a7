"""Indicators of soft labels that come in batches: memory in classes, not in samples."""

from __future__ import annotations

from typing import Any

import numpy as np

from biasvar.analysis.arrays import to_numpy
from biasvar.analysis.batches import Batch, batches, checked_batch
from biasvar.analysis.clusters import as_clusters
from biasvar.analysis.indicators.cluster_counts import ClusterCounts
from biasvar.analysis.indicators.counts import MaskCounter, SetCounts
from biasvar.analysis.indicators.result import Indicators
from biasvar.analysis.indicators.sets import (
    above,
    check_k,
    check_threshold,
    check_ties,
    listed,
    member_mask,
    rank_labels,
)
from biasvar.analysis.indicators.student_condition import MeanLabels
from biasvar.analysis.inputs import as_logits, as_where
from biasvar.arguments import checked

DEFAULT_KS = 10


class IndicatorAccumulator:
    """Counts, for every k and threshold, which labels are in the sets of which class, batch by batch.

    Batches may come in any order and size, and accumulators of other samples merge: all counts are exactly those of the
    whole array. Memory is K^2 x 8 bytes for each k, three times that for a k with ties, and twice for mean labels: for
    1,000 classes and k up to 10 about 100 MB, and as much again for the result (experiments/benchmarks/indicators.py).

    Args:
        num_classes: K.
        ks: sizes of sets, in 1 .. K; by default 1 .. min(10, K - 1) unless thresholds are given.
        thresholds: least masses; 0 stands for mass above 0.
        ties, seed: see `biasvar.unreliability`. Draws belong to sample ids, by default the numbers of the rows as they
            come: give `sample_ids` to `update` where the order of rows, or a merge, must not matter to them.
        normalize, scores: see `biasvar.unreliability`.
        mean_labels: keep sums of soft labels by class, for `Indicators.student_condition`; a third of the time.

    Where `update` is given clusters, their counts are kept too: as much memory again for every (cluster, class) that
    occurs, as K numbers and the labels in its sets take.

    Raises:
        ValueError: for options out of range.

    >>> accumulator = IndicatorAccumulator(3, ks=[1, 2])
    >>> accumulator.update([[0.6, 0.3, 0.1], [0.5, 0.2, 0.3]], [0, 1])
    >>> accumulator.update([[0.1, 0.7, 0.2]], [2])
    >>> accumulator.result().unreliability(k=2).value
    0.3333333333333333
    """

    @checked
    def __init__(
        self,
        num_classes: int,
        *,
        ks: Any = None,
        thresholds: Any = None,
        ties: str = "random",
        seed: int = 0,
        normalize: bool = False,
        scores: bool = False,
        mean_labels: bool = True,
    ) -> None:
        if isinstance(num_classes, bool) or not isinstance(num_classes, int | np.integer) or num_classes < 2:
            raise ValueError(f"num_classes must be a whole number of at least 2, got {num_classes!r}")
        if ks is None and thresholds is None:
            ks = range(1, min(DEFAULT_KS, num_classes - 1) + 1)
        if num_classes > 10**9:
            raise ValueError(f"num_classes must be at most 10^9, got {num_classes}")
        self.num_classes = int(num_classes)
        self.ks = [check_k(k, self.num_classes) for k in listed(ks)]
        self.thresholds = [check_threshold(t, scores) for t in listed(thresholds)]
        if not self.ks and not self.thresholds:
            raise ValueError("name at least one k or threshold")
        self.ties = check_ties(ties, scores)
        self.seed = int(seed)
        self.normalize, self.scores = normalize, scores
        self.class_sizes = np.zeros(self.num_classes, dtype=np.int64)
        self._rows = 0
        # Sets of a larger k hold those of a smaller: one count for each rank serves all k.
        self._ranks = np.zeros((max(self.ks, default=0), self.num_classes, self.num_classes), dtype=np.int64)
        self._choices: dict[int, tuple[MaskCounter, MaskCounter]] = {}  # k -> labels that ties could take, and drop
        self._tied = dict.fromkeys(self.ks, 0)
        self._masks = {t: MaskCounter(self.num_classes) for t in self.thresholds}
        self._means = MeanLabels(self.num_classes) if mean_labels else None
        self._clusters: ClusterCounts | None = None

    def update(
        self, soft_labels: Any, labels: Any, sample_ids: Any = None, *, where: Any = None, clusters: Any = None
    ) -> None:
        """Add samples.

        Args:
            soft_labels: `(n, K)`.
            labels: `(n,)` true classes.
            sample_ids: `(n,)` whole numbers, by default the numbers of the rows so far and on.
            where: bool `(n,)`, the rows that count (True); others are not looked at, but are numbered.
            clusters: `(n,)` whole numbers or texts, the image, person or document of each row; rows of one name are one
                cluster, in whichever batch they come. In all updates or in none.

        Raises:
            ValueError: naming the row, counted over all updates, and the rule it breaks; nothing is added then.
        """
        parts: list[tuple[Batch, np.ndarray | None]] = []
        first, place = self._rows, 0
        if (clusters is None) != (self._clusters is None) and self.class_sizes.any():
            raise ValueError("clusters must be given in all updates or in none")
        counter = self._clusters or ClusterCounts(self.num_classes, (*self.ks, *(("mass", t) for t in self.thresholds)))
        numbers = None
        if clusters is not None:
            numbers = _numbered(counter, clusters, soft_labels, where, first)
        for values, truth, ids, kept in batches(soft_labels, labels, sample_ids, where):
            batch = checked_batch(
                values,
                truth,
                sample_ids=ids,
                where=kept,
                first_row=first,
                num_classes=self.num_classes,
                normalize=self.normalize,
                scores=self.scores,
            )
            mine = None if numbers is None else numbers[place : place + len(values)]
            if mine is not None and kept is not None:
                mine = mine[to_numpy(kept)]
            parts.append((batch, mine))
            first, place = first + len(values), place + len(values)
        if clusters is not None:
            self._clusters = counter
        for batch, mine in parts:
            if len(batch.labels):
                self._add(batch, mine)
        self._rows = first

    def merge(self, other: IndicatorAccumulator) -> None:
        """Add the counts of another accumulator, of other samples and with the same options."""
        if not isinstance(other, IndicatorAccumulator) or self._options() != other._options():
            raise ValueError("accumulators merge only with others of the same classes, ks, thresholds and options")
        if (self._clusters is None) != (other._clusters is None) and self.class_sizes.any() and other.class_sizes.any():
            raise ValueError("accumulators merge where both have clusters, or neither has")
        self.class_sizes += other.class_sizes
        self._rows += other._rows
        self._ranks += other._ranks
        for k, (up, down) in other._choices.items():
            mine = self._choice(k)
            mine[0].merge(up)
            mine[1].merge(down)
            self._tied[k] += other._tied[k]
        for threshold, mask in self._masks.items():
            mask.merge(other._masks[threshold])
        if self._means is not None and other._means is not None:
            self._means.merge(other._means)
        if other._clusters is not None:
            self._clusters = self._clusters or ClusterCounts(self.num_classes, other._clusters.members)
            number = self._clusters.merge(other._clusters)
            if self._means is not None and other._means is not None:
                self._means.merge_clusters(other._means, number)

    def result(self) -> Indicators:
        """The indicators of all samples so far; the accumulator can go on.

        Raises:
            ValueError: if there were none.
        """
        if not self.class_sizes.any():
            raise ValueError("no samples yet: no row was given, or where leaves none")
        sizes = self.class_sizes.copy()
        found: dict[Any, SetCounts] = {}
        running = np.zeros((self.num_classes, self.num_classes), dtype=np.int64)
        for k in range(1, len(self._ranks) + 1):
            running += self._ranks[k - 1]
            if k in self._tied:
                found[k] = self._top(k, running.copy(), sizes)
        sets = [found[k] for k in self.ks]
        for threshold, mask in self._masks.items():
            members = mask.total()
            sums = None if self._clusters is None else self._clusters.sums(("mass", threshold))
            sets.append(SetCounts(None, threshold, members, members, members, sizes, 0, sums))
        means = None
        if self._means is not None:
            means = MeanLabels(self.num_classes)
            means.merge(self._means)
            means.clusters = self._means.clusters
        return Indicators(tuple(sets), means, self.ties, self.seed)

    def _top(self, k: int, chosen: np.ndarray, sizes: np.ndarray) -> SetCounts:
        least = most = chosen
        if k in self._choices:
            up, down = (counter.total() for counter in self._choices[k])
            most, least = chosen + up, chosen + down
        members = most if self.ties == "include" else chosen
        sums = None if self._clusters is None else self._clusters.sums(k)
        return SetCounts(k, None, members, least, most, sizes, self._tied[k], sums)

    def _add(self, batch: Batch, clusters: np.ndarray | None) -> None:
        labels, classes = batch.labels, self.num_classes
        self.class_sizes += np.bincount(labels, minlength=classes)
        if self.ks:
            self._add_top(batch, clusters)
        for threshold, counter in self._masks.items():
            mask = above(batch.mass, threshold)
            counter.add(mask, labels)
            if self._clusters is not None and clusters is not None:
                self._clusters.add_members(("mass", threshold), clusters, labels, mask)
        if self._means is not None:
            self._means.update(batch, clusters)
        if self._clusters is not None and clusters is not None:
            self._clusters.add_rows(clusters, labels)

    def _add_top(self, batch: Batch, clusters: np.ndarray | None) -> None:
        labels, classes, depth = batch.labels, self.num_classes, len(self._ranks)
        ranking = rank_labels(batch, depth, self.seed)
        code = (np.arange(depth) * classes + labels[:, None]) * classes + ranking.order
        taken = ranking.top[:, :depth] > 0 if self.ties == "exclude_zero" else slice(None)
        np.add.at(self._ranks.reshape(-1), code[taken].reshape(-1), 1)
        if self._clusters is not None and clusters is not None:
            for k in self.ks:
                self._clusters.add_members(k, clusters, labels, member_mask(batch, ranking, k, self.ties))
        for k in self.ks:
            tied = ranking.tied(k, self.ties)
            if not tied.any():
                continue
            values, edge, truth = batch.values[tied], ranking.top[tied, k - 1 : k], labels[tied]
            self._tied[k] += len(truth)
            up, down = self._choice(k)
            for counter, mask in ((up, values >= edge), (down, values > edge)):
                counter.add(mask, truth)
                counter.remove(ranking.order[tied, :k], truth)

    def _choice(self, k: int) -> tuple[MaskCounter, MaskCounter]:
        if k not in self._choices:
            self._choices[k] = (MaskCounter(self.num_classes), MaskCounter(self.num_classes))
        return self._choices[k]

    def _options(self) -> tuple[Any, ...]:
        options = (self.num_classes, self.ks, self.thresholds, self.ties, self.seed, self.normalize, self.scores)
        return (*options, self._means is None)


def _numbered(counter: ClusterCounts, clusters: Any, soft_labels: Any, where: Any, first: int) -> np.ndarray:
    values = as_logits(soft_labels, "soft_labels", "(N, K)")
    rows = int(values.shape[0])
    return counter.number(clusters, rows, None if where is None else as_where(where, values, (rows,)), first)


@checked
def measure_indicators(
    soft_labels: Any,
    labels: Any = None,
    *,
    ks: Any = None,
    thresholds: Any = None,
    ties: str = "random",
    seed: int = 0,
    sample_ids: Any = None,
    where: Any = None,
    clusters: Any = None,
    normalize: bool = False,
    scores: bool = False,
    mean_labels: bool = True,
) -> Indicators:
    """All indicators in one pass, from arrays of any size or from batches.

    Args:
        soft_labels: `(N, K)` (NumPy, torch, a memory map) beside `labels` `(N,)`; or, without labels, an iterable of
            tuples (soft_labels, labels) or (soft_labels, labels, sample_ids), each a batch.
        ks, thresholds, ties, seed, normalize, scores, mean_labels: as for `IndicatorAccumulator`.
        sample_ids: `(N,)`, beside arrays.
        where: bool `(N,)`, beside arrays: the rows that count (True). Others may hold anything, such as the label -100.
        clusters: `(N,)` whole numbers or texts, beside arrays: the image, person or document of each row. Intervals of
            the result are then those of rows in clusters, see `biasvar.unreliability`.

    Raises:
        ValueError: naming the row and the rule it breaks; for no batches, no rows that count, rows without a cluster.

    >>> found = measure_indicators([[0.6, 0.3, 0.1], [0.5, 0.2, 0.3], [0.1, 0.7, 0.2]], [0, 1, 2], ks=[1, 2])
    >>> int(found.best()["k"]), found.pairs(k=1)["wrong"].tolist()[:2]
    (2, [0, 1])
    """
    if clusters is not None and labels is None:
        raise ValueError("clusters go with arrays: give batches to IndicatorAccumulator.update, which takes clusters=")
    names, place = None, 0
    if clusters is not None:
        values = as_logits(soft_labels, "soft_labels", "(N, K)")
        keep = None if where is None else as_where(where, values, (len(values),))
        names = as_clusters(clusters, len(values), where=keep)[0]
    accumulator = None
    for values, truth, ids, kept in batches(soft_labels, labels, sample_ids, where):
        if accumulator is None:
            accumulator = IndicatorAccumulator(
                as_logits(values, "soft_labels", "(N, K)").shape[1],
                ks=ks,
                thresholds=thresholds,
                ties=ties,
                seed=seed,
                normalize=normalize,
                scores=scores,
                mean_labels=mean_labels,
            )
        mine = None if names is None else names[place : place + len(values)]
        accumulator.update(values, truth, ids, where=kept, clusters=mine)
        place += len(values)
    if accumulator is None:
        raise ValueError("there are no batches of soft labels")
    return accumulator.result()
