"""When a student trained by cross-entropy finds the truth: the condition that the theory of sets does not speak of.

A student that minimises cross-entropy (or squared error) on soft labels d comes, with enough data and capacity, to
E[d | x], and predicts its largest entry. It is right where **argmax_j E[d_j | x] is the truth**, whether or not Delta +
gamma < 1: a truth of mass 0.01 that always is second, the rest spread over nine rivals, has Delta = 0 at k = 2 and
teaches this student nothing. Derived, not the paper's.

What data can say of E[d | x] depends on how the soft labels came about.

- One soft label per sample, a function of x (a fixed teacher): d itself is E[d | x]. The share of samples whose argmax
  is the truth is the student's accuracy in the limit, if it fits every sample: teacher accuracy, no more.
- Redrawn soft labels (noise anew each epoch, a teacher for each replica): their mean over R draws estimates E[d | x]
  sample by sample, with an error that tells "holds" and "fails" from "undecided".
- One soft label per sample whose randomness has nothing to do with x given the class (partial labels, votes by chance,
  noise drawn once): then E[d | x] is the mean over the class, which is estimable, and a student that does not memorise
  comes to it. Where x matters too, a class whose mean is right may hold samples whose own is not: the condition per
  class is then neither necessary nor sufficient for single samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from biasvar.analysis.batches import Batch, checked_batch
from biasvar.analysis.clusters import Spread, as_clusters
from biasvar.analysis.inputs import as_array, as_where
from biasvar.analysis.statistics.intervals import Interval, check_level, t_quantile
from biasvar.analysis.statistics.proportions import share_interval
from biasvar.arguments import checked

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class StudentCondition:
    """Is the largest entry of the expected soft label the truth: sample by sample, and class by class.

    Attributes:
        per_sample: share of samples whose soft label, averaged over its draws, has the truth as its only largest entry;
            Clopper-Pearson over samples.
        holds, fails: with redrawn soft labels, shares of samples for which that is (not) so beyond the draws' error;
            the rest is undecided. NaN with one draw.
        draws: soft labels per sample.
        margins: `(K,)`, mean mass on the truth less that on the class's strongest wrong label.
        low, high: `(K,)`, ends of the margins' intervals, which hold for all classes and wrong labels together.
        rivals: `(K,)`, that wrong label.
        class_sizes: `(K,)`.

    >>> found = student_condition([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.4, 0.35, 0.25]], [0, 1, 2])
    >>> found.margins.round(2).tolist(), found.rivals.tolist()
    ([0.3, 0.2, -0.15], [1, 2, 0])
    """

    per_sample: Interval
    holds: float
    fails: float
    draws: int
    margins: np.ndarray
    low: np.ndarray
    high: np.ndarray
    rivals: np.ndarray
    class_sizes: np.ndarray

    def __repr__(self) -> str:
        worst = int(np.nanargmin(self.margins))
        least = f"{self.margins[worst]:.4g} (class {worst}, to label {self.rivals[worst]})"
        return f"<StudentCondition {self.per_class} class by class, least margin {least}; per sample {self.per_sample}>"

    @property
    def per_class(self) -> str:
        """Of all classes: "holds" if every margin is above 0 beyond its error, "fails" if one is below."""
        if bool((self.low > 0).all()):
            return "holds"
        return "fails" if bool((self.high < 0).any()) else "undecided"

    def to_frame(self) -> pd.DataFrame:
        """One row per class: class, n, margin, margin_low, margin_high, rival."""
        import pandas as pd

        columns = {"class": np.arange(len(self.margins)), "n": self.class_sizes, "margin": self.margins}
        return pd.DataFrame(columns | {"margin_low": self.low, "margin_high": self.high, "rival": self.rivals})


class MeanLabels:
    """Sums of soft labels by class, batch by batch: `update`, `merge`, `result`."""

    def __init__(self, num_classes: int) -> None:
        self.sums = np.zeros((num_classes, num_classes))
        self.squares = np.zeros((num_classes, num_classes))  # of the truth's entry less the label's
        self.class_sizes = np.zeros(num_classes, dtype=np.int64)
        self.right = 0
        self.clusters: _ByCluster | None = None

    def update(self, batch: Batch, clusters: np.ndarray | None = None) -> None:
        """Add the rows of a batch, with the numbers of their clusters where rows come in them."""
        from scipy.sparse import csr_array

        n, classes = batch.values.shape
        rows = np.arange(n)
        lead = batch.mass[rows, batch.labels][:, None].astype(np.float64) - batch.mass
        # A sparse product sums rows by class four times quicker than NumPy's reduceat.
        present, place = np.unique(batch.labels, return_inverse=True)
        by_class = csr_array((np.ones(n), (place, rows)), shape=(len(present), n))
        self.sums[present] += by_class @ lead
        self.class_sizes += np.bincount(batch.labels, minlength=classes)
        not_behind = batch.values >= batch.values[rows, batch.labels][:, None]
        right = not_behind.sum(axis=1) == 1
        self.right += int(right.sum())
        if clusters is not None:
            self.clusters = self.clusters or _ByCluster(classes)
            self.clusters.add(clusters, batch.labels, lead, right)
        self.squares[present] += by_class @ np.multiply(lead, lead, out=lead)

    def merge(self, other: MeanLabels) -> None:
        """Add the sums of another."""
        self.sums += other.sums
        self.squares += other.squares
        self.class_sizes += other.class_sizes
        self.right += other.right

    def merge_clusters(self, other: MeanLabels, number: np.ndarray) -> None:
        """Add the sums by cluster of another, whose cluster g has the number `number[g]` here."""
        if other.clusters is not None:
            self.clusters = self.clusters or _ByCluster(len(self.class_sizes))
            self.clusters.merge(other.clusters, number)

    def result(self, level: float = 0.95) -> StudentCondition:
        """The condition with one draw per sample; margins NaN in classes without samples."""
        return _condition(self, level, math.nan, math.nan, 1)


class _ByCluster:
    """Sums of leads `(K,)` and right rows by (cluster, class); memory grows with clusters times classes."""

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.parts: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, clusters: np.ndarray, labels: np.ndarray, lead: np.ndarray, right: np.ndarray) -> None:
        one = np.ones(len(labels))
        self._keep(clusters * self.num_classes + labels, np.column_stack([lead, right, one]))

    def merge(self, other: _ByCluster, number: np.ndarray) -> None:
        for cell, sums in other.parts:
            self.parts.append((number[cell // self.num_classes] * self.num_classes + cell % self.num_classes, sums))

    def _keep(self, cells: np.ndarray, values: np.ndarray) -> None:
        from scipy.sparse import csr_array

        there, place = np.unique(cells, return_inverse=True)
        add = csr_array((np.ones(len(cells)), (place, np.arange(len(cells)))), shape=(len(there), len(cells)))
        self.parts.append((there, add @ values))

    def spreads(self) -> tuple[Spread, Spread]:
        """Of the leads by class and label `(K, K)`, and of right rows of all rows `()`."""
        cells, values = (np.concatenate(part) for part in zip(*self.parts, strict=True))
        self.parts = []
        self._keep(cells, values)
        (cells, values), classes = self.parts[0], self.num_classes
        lead, right, n = values[:, :classes], values[:, classes], values[:, classes + 1]
        sums = []
        for value in (lead**2, lead * n[:, None], np.broadcast_to((n**2)[:, None], lead.shape), np.ones(lead.shape)):
            total = np.zeros((classes, classes))
            np.add.at(total, cells % classes, value)
            sums.append(total)
        right, n = (np.bincount(cells // classes, weights=column) for column in (right, n))
        whole = ((right**2).sum(), (right * n).sum(), (n**2).sum(), (n > 0).sum())
        return Spread(*sums), Spread(*(np.array(float(value)) for value in whole))


@checked
def student_condition(
    soft_labels: Any,
    labels: Any,
    *,
    where: Any = None,
    clusters: Any = None,
    normalize: bool = False,
    scores: bool = False,
    level: float = 0.95,
) -> StudentCondition:
    """The condition under which a student trained by cross-entropy or squared error learns the truth; see the module.

    Args:
        soft_labels: `(N, K)`, or `(R, N, K)` for R draws of each sample's soft label, which are averaged.
        labels: `(N,)` true classes.
        where: bool `(N,)`, the samples that count (True).
        clusters: `(N,)` names of what rows share, as for `unreliability`: errors are then over clusters.
        normalize, scores: as for `unreliability`. A student trained by squared error on raw scores comes to their mean,
            so that the condition may be asked of them too.
        level: of the intervals. Margins: normal theory (Student's t with N_c - 1), Bonferroni over K (K - 1) pairs;
            samples with several draws: t with R - 1, Bonferroni over K - 1 rivals.

    Raises:
        ValueError: as `unreliability`; a class may be empty (its margin is NaN, and the verdict undecided).

    >>> never_first = [[0.01] + [0.11] * 9, [0.11, 0.01] + [0.11] * 8]
    >>> student_condition(never_first, [0, 1]).per_sample.estimate
    0.0
    """
    check_level(level)
    values = as_array(soft_labels, "soft_labels")
    if values.ndim == 3 and values.shape[0] > 0:
        draws = [checked_batch(one, labels, where=where, normalize=normalize, scores=scores) for one in values]
        stacked = np.stack([draw.mass.astype(np.float64) for draw in draws])
        mean = stacked.mean(axis=0)
        batch = Batch(mean, mean, draws[0].labels, draws[0].sample_ids)
        _require_rows(batch)
        holds, fails = _clear(stacked, batch.labels, level)
        count = len(draws)
    else:
        batch = checked_batch(values, labels, where=where, normalize=normalize, scores=scores)
        _require_rows(batch)
        holds, fails, count = math.nan, math.nan, 1
    means = MeanLabels(batch.values.shape[1])
    numbers = None
    if clusters is not None:
        rows = int(values.shape[-2])
        keep = None if where is None else as_where(where, values, (rows,))
        numbers = as_clusters(clusters, rows, where=keep)[0]
        numbers = numbers[numbers >= 0]
    means.update(batch, numbers)
    return _condition(means, level, holds, fails, count)


def _require_rows(batch: Batch) -> None:
    if not len(batch.labels):
        raise ValueError("where leaves no samples")


def _clear(draws: np.ndarray, labels: np.ndarray, level: float) -> tuple[float, float]:
    """Shares of samples whose truth leads every rival, or trails one, beyond the error of the mean over draws."""
    count, n, classes = draws.shape
    if count < 2:
        return math.nan, math.nan
    lead = np.take_along_axis(draws, np.broadcast_to(labels[None, :, None], (count, n, 1)), axis=2) - draws
    mean, error = lead.mean(axis=0), lead.std(axis=0, ddof=1) / math.sqrt(count)
    far = t_quantile(1.0 - (1.0 - level) / (2.0 * (classes - 1)), count - 1)
    wrong = np.arange(classes) != labels[:, None]
    leads = ((mean - far * error > 0) | ~wrong).all(axis=1)
    trails = ((mean + far * error < 0) & wrong).any(axis=1)
    return float(leads.mean()), float(trails.mean())


def _condition(means: MeanLabels, level: float, holds: float, fails: float, draws: int) -> StudentCondition:
    from scipy.special import stdtrit

    check_level(level)
    classes, sizes, n = len(means.class_sizes), means.class_sizes, int(means.class_sizes.sum())
    wrong = ~np.eye(classes, dtype=bool)
    by_cluster, share_by_cluster = (None, None) if means.clusters is None else means.clusters.spreads()
    with np.errstate(divide="ignore", invalid="ignore"):
        lead = means.sums / sizes[:, None]
        spread = np.maximum(means.squares / sizes[:, None] - lead**2, 0.0)
        error, units = np.sqrt(spread / (sizes[:, None] - 1.0)), sizes.astype(np.float64)
        if by_cluster is not None:
            error, units = np.sqrt(by_cluster.variance(lead, sizes[:, None])), by_cluster.clusters[:, 0]
        far = stdtrit(np.maximum(units - 1.0, 1.0), 1.0 - (1.0 - level) / (2.0 * classes * (classes - 1)))[:, None]
        low, high = (np.where(wrong, lead + sign * far * error, np.inf).min(axis=1) for sign in (-1.0, 1.0))
        margin = np.where(wrong, lead, np.inf)
    rivals = margin.argmin(axis=1)
    per_sample = share_interval(means.right, n, share_by_cluster, level)
    return StudentCondition(per_sample, holds, fails, draws, margin.min(axis=1), low, high, rivals, sizes.copy())
