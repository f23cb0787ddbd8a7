"""One pass over soft labels: the indicators' counts, a few numbers of every sample, and the worst samples whole."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from biasvar.analysis import IndicatorAccumulator, Indicators, label_quality
from biasvar.analysis.batches import checked_batch
from biasvar.analysis.clusters import Spread, as_clusters, spread_of
from biasvar.analysis.indicators.result import require_all_classes
from biasvar.progress import Progress
from biasvar.records.cluster_files import Clusters
from biasvar.report.card.options import CardOptions
from biasvar.report.card.source import Source

DEFAULT_THRESHOLDS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.5)
KEPT = 12  # worst samples of each kind
SAME = 1e-6  # sums of the same float32 numbers in another order differ by less


@dataclass(frozen=True, eq=False)
class Samples:
    """Sample by sample, `(n,)` each, in the order of the rows.

    Attributes:
        ids, labels: sample id and true class.
        correct: is the largest entry (the first of several) the truth.
        truth: mass on the truth; of scores, the truth's score less the largest other one.
        confidence, entropy: largest entry, and -sum q ln q in nats; None of scores.
        top: how many entries are the largest.
        clusters: numbers of the clusters that rows come in; None where rows are independent.
    """

    ids: np.ndarray
    labels: np.ndarray
    correct: np.ndarray
    truth: np.ndarray
    confidence: np.ndarray | None
    entropy: np.ndarray | None
    top: np.ndarray
    clusters: np.ndarray | None = None

    def spread(self, values: np.ndarray, where: Any = slice(None)) -> Spread | None:
        """What the error of the share of these values needs of the clusters; None where rows are independent."""
        return None if self.clusters is None else spread_of(self.clusters[where], values[where])


@dataclass(frozen=True, eq=False)
class Worst:
    """The extreme samples by one quantity: `rows` `(m,)`, their `values` `(m,)` and soft labels `(m, K)`.

    `tied` counts samples of all that have the last one's value, `n` samples; `title` names the quantity.
    """

    title: str
    quantity: str
    rows: np.ndarray
    values: np.ndarray
    soft_labels: np.ndarray
    tied: int
    n: int


@dataclass(frozen=True, eq=False)
class Collected:
    """All that a card is made of, beside its options.

    `tops` holds the indicators of top sets, `masses` those of threshold sets, None without any; `clusters` says what
    the names of clusters are, None where rows are independent.
    """

    tops: Indicators
    masses: Indicators | None
    samples: Samples
    worst: tuple[Worst, ...]
    fingerprint: str
    clusters: str | None = None


def collect(source: Source, options: CardOptions, clusters: Clusters | None = None) -> Collected:
    """Read the soft labels once, in batches; memory in classes and a few numbers a sample.

    Raises ValueError or RecordError naming row and rule, as `IndicatorAccumulator.update` and the reader do, and for a
    class without samples.
    """
    classes = source.num_classes
    ks = options.ks or tuple(range(1, min(10, classes - 1) + 1))
    thresholds = options.thresholds or (() if options.scores else DEFAULT_THRESHOLDS)
    accumulator = IndicatorAccumulator(
        classes, ks=ks, thresholds=thresholds, ties=options.ties, seed=options.seed, normalize=options.normalize,
        scores=options.scores,
    )  # fmt: skip
    digest = hashlib.sha256()
    batches: list[Samples] = []
    names: list[np.ndarray] = []
    lowest, highest = _Keeper(), _Keeper()
    first = 0
    with Progress(source.rows, source.rows, unit="rows", called="card") as progress:
        for values, labels, ids in source.batches():
            own = None if clusters is None else clusters.of(ids, first)
            accumulator.update(values, labels, ids, clusters=own)
            names += [] if own is None else [own]
            digest.update(np.ascontiguousarray(values).data)
            digest.update(np.ascontiguousarray(labels, dtype="<i8").data)
            shown, batch = _samples(np.asarray(values), labels, ids, options, first)
            batches.append(batch)
            lowest.add(batch.truth, shown, first)
            if batch.entropy is not None:
                highest.add(-batch.entropy, shown, first)
            first += len(labels)
            progress.update(len(labels))
    numbers = None
    if clusters is not None:
        clusters.check_rows(first)
        numbers = as_clusters(np.concatenate(names), first)[0]
    indicators = accumulator.result()
    require_all_classes(indicators.sets[0])
    samples = _joined(batches, numbers)
    quantity = "score above the best rival" if options.scores else "mass on the truth"
    worst = [lowest.result("Truth lowest", quantity, samples.truth, 1.0)]
    if samples.entropy is not None:
        worst.append(highest.result("Highest entropy", "entropy, nats", samples.entropy, -1.0))
    count = len(ks)
    tops = Indicators(indicators.sets[:count], indicators.means, indicators.ties, indicators.seed)
    masses = Indicators(indicators.sets[count:], None, indicators.ties, indicators.seed) if thresholds else None
    kinds = tuple(kind for kind in worst if kind is not None)
    title = None if clusters is None else clusters.title
    return Collected(tops, masses, samples, kinds, digest.hexdigest()[:16], title)


def _samples(
    values: np.ndarray, labels: np.ndarray, ids: np.ndarray, options: CardOptions, first: int
) -> tuple[np.ndarray, Samples]:
    """The numbers of a batch's samples, and its soft labels as they are shown."""
    labels = np.asarray(labels, dtype=np.int64)
    top = (values == values.max(axis=1, keepdims=True)).sum(axis=1)
    if not options.scores:
        quality = label_quality(values, labels, normalize=options.normalize, first_row=first)
        shown = values / values.sum(axis=1, keepdims=True) if options.normalize else values
        return shown, Samples(ids, labels, quality.correct, quality.true_mass, quality.confidence, quality.entropy, top)
    scores = checked_batch(values, labels, scores=True, first_row=first).values
    rows = np.arange(len(labels))
    truth = scores[rows, labels].astype(np.float64)
    rivals = scores.copy()
    rivals[rows, labels] = -np.inf
    correct = scores.argmax(axis=1) == labels
    return scores, Samples(ids, labels, correct, truth - rivals.max(axis=1), None, None, top)


def _joined(batches: list[Samples], clusters: np.ndarray | None) -> Samples:
    def all_of(name: str) -> Any:
        values = [getattr(batch, name) for batch in batches]
        return None if values[0] is None else np.concatenate(values)

    names = ("ids", "labels", "correct", "truth", "confidence", "entropy", "top")
    return replace(Samples(*(all_of(name) for name in names)), clusters=clusters)


class _Keeper:
    """The rows with the smallest keys so far, the earlier of equals, and their soft labels."""

    def __init__(self) -> None:
        self.keys = np.empty(0)
        self.rows = np.empty(0, dtype=np.int64)
        self.values: np.ndarray | None = None

    def add(self, keys: np.ndarray, values: np.ndarray, first: int) -> None:
        near = np.argsort(keys, kind="stable")[:KEPT]
        joined = np.concatenate([self.keys, keys[near]])
        rows = np.concatenate([self.rows, first + near])
        soft = values[near] if self.values is None else np.concatenate([self.values, values[near]])
        order = np.argsort(joined, kind="stable")[:KEPT]  # earlier rows stand first
        self.keys, self.rows, self.values = joined[order], rows[order], np.array(soft[order], dtype=np.float64)

    def result(self, title: str, quantity: str, every: np.ndarray, sign: float) -> Worst | None:
        """None where all samples are the same by this quantity, so that none is worst."""
        if self.values is None or every.max() - every.min() <= SAME:
            return None
        values = sign * self.keys
        tied = int((np.abs(every - values[-1]) <= SAME).sum())
        return Worst(title, quantity, self.rows, values, self.values, tied, len(every))
