"""Unreliability and ambiguity: how often the truth is not, and how often one wrong label is, among those singled out.

After Yuan et al. 2023 ("Learning from biased soft labels"). The paper's full text was not at hand: unreliability is
known from a summary as one overall probability, the exact quantifier of ambiguity is not known, and what a finite data
set can estimate, the class-conditional version, is used. Unverified against the paper; see
`biasvar.analysis.indicators.learnability` for what the two bound, which is derived.

Arrays may be NumPy or torch; sets are taken in main memory (seeded tie-breaking must not depend on a device), results
are NumPy. For data that do not fit in memory see `biasvar.analysis.IndicatorAccumulator`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from biasvar.analysis.batches import batches, checked_batch
from biasvar.analysis.clusters import as_clusters
from biasvar.analysis.indicators.accumulator import measure_indicators
from biasvar.analysis.indicators.bootstrap import bootstrap_intervals
from biasvar.analysis.indicators.counts import SetCounts
from biasvar.analysis.indicators.intervals import IndicatorIntervals, marginal_interval
from biasvar.analysis.indicators.result import (
    Indicator,
    Indicators,
    delta_of,
    gamma_of,
    marginal_of,
    require_all_classes,
    require_version,
    table_of,
    warn_of_ties,
)
from biasvar.analysis.indicators.sets import above, member_mask, rank_labels
from biasvar.analysis.inputs import as_array, as_where
from biasvar.analysis.statistics.intervals import check_level
from biasvar.arguments import checked

if TYPE_CHECKING:
    import pandas as pd


@checked
def unreliability(
    soft_labels: Any,
    labels: Any,
    *,
    k: int | None = None,
    threshold: float | None = None,
    ties: str = "random",
    seed: int = 0,
    sample_ids: Any = None,
    where: Any = None,
    clusters: Any = None,
    normalize: bool = False,
    scores: bool = False,
    interval: str = "exact",
    resamples: int = 1000,
    level: float = 0.95,
) -> Indicator:
    """Delta: the share of samples whose true class is not in the set that the soft label singles out.

    Args:
        soft_labels: `(N, K)`, rows sum to 1 within 1e-3; for `threshold` they are divided by their sum.
        labels: `(N,)` true classes. A class without samples has NaN in `per_class`; value, interval and worst class are
            those of the samples that there are.
        k: the set is the k largest entries, 1 .. K. Either k or threshold.
        threshold: the set is the labels of mass >= threshold, and at 0 those of mass > 0. Sets vary in size, none is
            tied.
        ties: what to do where the k-th and (k+1)-th entries are equal. "random": draw among the tied; "include": take
            all of them (sets may exceed k); "exclude_zero": labels without mass are never taken (sets may fall short of
            k), other ties are drawn. A UserWarning gives the least and greatest value where a draw can change the
            value.
        seed, sample_ids: of the draw. It belongs to seed and sample id (by default the row), not to the order of rows.
        where: bool `(N,)`, the rows that count (True). Others may hold anything, such as the label -100 or NaN.
        clusters: `(N,)` whole numbers or texts: the image, person or document of each row. Rows of one are no
            independent samples: intervals and errors are then over clusters, and an interval's n counts them.
        normalize: divide rows of non-negative numbers by their sum instead of refusing those that do not sum to 1.
        scores: rows are raw scores, any finite numbers, such as labels with noise added.
        interval: "exact" (Clopper-Pearson; of clusters at the effective number of rows, see
            `biasvar.analysis.statistics.proportions.clustered_ends`), "hoeffding", or "bootstrap" with `resamples`
            (seeded by `seed` too) of samples or of whole clusters.
        level: of the interval, two-sided.

    Raises:
        ValueError: for rows that are not distributions, labels or k out of range (naming row and rule).

    >>> unreliability([[0.6, 0.3, 0.1], [0.5, 0.2, 0.3], [0.1, 0.7, 0.2]], [0, 1, 2], k=2).value
    0.3333333333333333
    """
    found = _one(soft_labels, labels, k, threshold, ties, seed, sample_ids, where, clusters, normalize, scores)
    counts = found.counts()
    if interval == "bootstrap":
        ends = _bootstrap(found, soft_labels, labels, sample_ids, where, clusters, normalize, scores, resamples, level)
        result = delta_of(counts, ends[0].delta)
    else:
        result = found.unreliability(interval=interval, level=level)
    warn_of_ties(found.sets, ties, seed, {"delta": "unreliability"}, 2)
    return result


@checked
def ambiguity(
    soft_labels: Any,
    labels: Any,
    *,
    k: int | None = None,
    threshold: float | None = None,
    version: str = "class",
    ties: str = "random",
    seed: int = 0,
    sample_ids: Any = None,
    where: Any = None,
    clusters: Any = None,
    normalize: bool = False,
    scores: bool = False,
    interval: str = "exact",
    resamples: int = 1000,
    level: float = 0.95,
) -> Indicator:
    """gamma: the largest probability with which one wrong label is in the set that the soft label singles out.

    "class" (default): max over true class c and wrong label j of Pr(j in the set | class c), with the pair in `worst`.
    "marginal": max over j of Pr(j in the set | true class is not j), which is never larger.
    Neither is below `floor`, (mean set size - 1 + Delta) / (K - 1); for sets of exactly k labels (k - 1 + Delta) / (K -
    1).

    The interval takes account of the maximum: intervals of all K (K - 1) pairs (K labels if marginal) that hold
    together, by Bonferroni's level or by the bootstrap's joint distribution; the largest of their lower and of their
    upper ends bound the maximum. The estimate itself leans upwards, as any maximum of estimates does.

    Args:
        soft_labels, labels, k, threshold, ties, seed, sample_ids, where: as for `unreliability`.
        clusters, normalize, scores, level: as for `unreliability`.
        interval, resamples: as for `unreliability`; "marginal" has no bootstrap interval.

    Raises:
        ValueError: as `unreliability`, for an unknown version, and where a class has no samples ("class"), or all have
            one class ("marginal").

    >>> ambiguity([[0.6, 0.3, 0.1], [0.5, 0.2, 0.3], [0.1, 0.7, 0.2]], [0, 1, 2], k=1).worst
    (1, 0)
    """
    found = _one(soft_labels, labels, k, threshold, ties, seed, sample_ids, where, clusters, normalize, scores)
    counts = found.counts()
    require_version(counts, version)
    if version == "marginal":
        result = marginal_of(counts, marginal_interval(counts, interval, level))
    else:
        require_all_classes(counts)
        if interval == "bootstrap":
            ends = _bootstrap(
                found, soft_labels, labels, sample_ids, where, clusters, normalize, scores, resamples, level
            )
            result = gamma_of(counts, ends[0].gamma)
        else:
            result = found.ambiguity(interval=interval, level=level)
    warn_of_ties(found.sets, ties, seed, {version: "ambiguity"}, 2)
    return result


@checked
def effectiveness(
    soft_labels: Any,
    labels: Any,
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
    interval: str = "exact",
    resamples: int = 1000,
    level: float = 0.95,
) -> pd.DataFrame:
    """Both indicators for several k and thresholds: one row each, to see where a soft label is most informative.

    Columns: k, threshold (the other missing), delta, gamma, sum (below 1 is the paper's condition), worst_class_sum
    (max_c(Delta_c + gamma_c), which the overall Delta can hide), kappa (`learnability_exponent` of delta and gamma),
    kappa_classes (of both by class), floor (of gamma), set_size (mean), marginal (the marginal ambiguity); *_low and
    *_high of delta, gamma, sum, worst_class_sum, kappa and kappa_classes; worst_class (of worst_class_sum), worst_true
    and worst_wrong (the pair of gamma), n, ties; and margin with ends, the same in every row: the condition for
    students trained by cross-entropy, of which the theory of sets does not speak (`student_condition`). It is the
    smallest, over classes, of the mean mass on the truth less that on the strongest wrong label, and must be above 0.
    Intervals hold in each row by itself; `Indicators.best` gives ones that hold after a choice of k.

    The overall sum and kappa guarantee nothing, since a class may fail that they do not show: `Indicators.guarantee`.

    A natural, accurate network has gamma near 1 from k = 2 on, because similar classes share the top of its labels: a
    large gamma at one k is no mark of a bad teacher, so choose k by the smallest sum or largest kappa.

    Args:
        soft_labels, labels: as for `unreliability`; without bootstrap also batches, as `measure_indicators`.
        ks: sizes of sets; by default 1 .. min(10, K - 1) unless thresholds are given.
        thresholds: least masses, which may be given instead.
        ties, seed, sample_ids, where, clusters, normalize, scores, interval, resamples, level: as for `unreliability`.

    Raises:
        ValueError: as `unreliability`, and where a class has no samples: gamma, the sums and kappa are of all classes.

    >>> soft_labels = [[0.6, 0.3, 0.1], [0.1, 0.7, 0.2], [0.5, 0.1, 0.4]]
    >>> effectiveness(soft_labels, [0, 1, 2], ks=[1, 2])["sum"].round(3).tolist()
    [1.333, 1.0]
    """
    found = measure_indicators(
        soft_labels, labels, ks=ks, thresholds=thresholds, ties=ties, seed=seed, sample_ids=sample_ids,
        where=where, clusters=clusters, normalize=normalize, scores=scores,
    )  # fmt: skip
    for counts in found.sets:
        require_all_classes(counts)
    if interval == "bootstrap":
        ends = _bootstrap(found, soft_labels, labels, sample_ids, where, clusters, normalize, scores, resamples, level)
        table = found.with_margin(table_of(found.sets, ends), level)
    else:
        table = found.table(interval=interval, level=level)
    warn_of_ties(found.sets, ties, seed, {"delta": "unreliability", "class": "ambiguity"}, 2)
    return table


def _one(
    soft_labels: Any,
    labels: Any,
    k: Any,
    threshold: Any,
    ties: str,
    seed: int,
    sample_ids: Any,
    where: Any,
    clusters: Any,
    normalize: bool,
    scores: bool,
) -> Indicators:
    if (k is None) == (threshold is None):
        raise ValueError(f"name either k or threshold, got k={k} and threshold={threshold}")
    return measure_indicators(
        soft_labels,
        labels,
        ks=None if k is None else [k],
        thresholds=None if threshold is None else [threshold],
        ties=ties,
        seed=seed,
        sample_ids=sample_ids,
        where=where,
        clusters=clusters,
        normalize=normalize,
        scores=scores,
        mean_labels=False,
    )


def _bootstrap(
    found: Indicators,
    soft_labels: Any,
    labels: Any,
    sample_ids: Any,
    where: Any,
    clusters: Any,
    normalize: bool,
    scores: bool,
    resamples: int,
    level: float,
) -> list[IndicatorIntervals]:
    """Intervals for every rule; the sets of all samples are kept for it, as sparse matrices."""
    from scipy.sparse import csr_array, vstack

    check_level(level)
    if labels is None:
        raise ValueError("bootstrap intervals need arrays of soft labels and labels; use interval='exact' for batches")
    parts: list[list[Any]] = [[] for _ in found.sets]
    truth, row = [], 0
    for values, classes, ids, kept in batches(soft_labels, labels, sample_ids, where):
        batch = checked_batch(
            values, classes, sample_ids=ids, where=kept, first_row=row, normalize=normalize, scores=scores
        )
        row += len(values)
        if not len(batch.labels):
            continue
        truth.append(batch.labels)
        for counts, part in zip(found.sets, parts, strict=True):
            part.append(csr_array(_members(counts, batch, found)))
    numbers = None
    if clusters is not None:
        keep = None if where is None else as_where(where, as_array(soft_labels, "soft_labels"), (row,))
        numbers = as_clusters(clusters, row, where=keep)[0]
        numbers = numbers[numbers >= 0]
    return [
        bootstrap_intervals(vstack(part, format="csr"), np.concatenate(truth), level=level, resamples=resamples,
                            seed=found.seed, clusters=numbers)
        for part in parts
    ]  # fmt: skip


def _members(counts: SetCounts, batch: Any, found: Indicators) -> np.ndarray:
    """`(n, K)` bool: the sets of a batch under one rule."""
    if counts.threshold is not None:
        return above(batch.mass, counts.threshold)
    k = int(counts.k or 0)
    return member_mask(batch, rank_labels(batch, k, found.seed), k, found.ties)
