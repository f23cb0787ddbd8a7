"""Finite-sample intervals of the indicators that hold with the maximum taken into account.

gamma is the largest of K (K - 1) shares, so its estimate leans upwards and no interval for a single share covers it. If
intervals of all of them hold together, then the largest of their lower ends and the largest of their upper ends enclose
the largest share: that is how every interval of a maximum here is made. "exact" and "hoeffding" make them hold together
by the union (Bonferroni) bound; `biasvar.analysis.indicators.bootstrap` by the joint distribution.

Of rows that come in clusters (`SetCounts.sums`) every share's ends are those of
`biasvar.analysis.statistics.proportions.clustered_ends`, and n of an interval counts clusters.

All intervals are two-sided: at level 0.95 each end alone holds with probability at least 0.975.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from biasvar.analysis.equality import EqualByNumbers
from biasvar.analysis.indicators.counts import SetCounts
from biasvar.analysis.indicators.learnability import learnability_exponent
from biasvar.analysis.statistics.intervals import Interval, check_level
from biasvar.analysis.statistics.proportions import clustered_ends, share_interval


@dataclass(frozen=True, eq=False)
class IndicatorIntervals(EqualByNumbers):
    """Intervals of Delta, gamma, their sum, the worst class's sum max_c(Delta_c + gamma_c), and the exponents.

    `kappa` is that of the overall Delta and gamma, `kappa_classes` that of all classes' Delta_c and gamma_c together.
    """

    delta: Interval
    gamma: Interval
    sum: Interval
    worst_class_sum: Interval
    kappa: Interval
    kappa_classes: Interval


@dataclass(frozen=True, eq=False)
class ClassEnds:
    """Ends `(K,)` of every class's Delta_c and gamma_c, which hold together for all classes and wrong labels."""

    delta_low: np.ndarray
    delta_high: np.ndarray
    gamma_low: np.ndarray
    gamma_high: np.ndarray


def delta_interval(counts: SetCounts, method: str, level: float) -> Interval:
    """Interval of Delta: that of one share of all n samples."""
    spread = None if counts.sums is None else counts.sums.missed
    return share_interval(int(counts.missed.sum()), counts.n, spread, level, method)


def gamma_interval(counts: SetCounts, method: str, level: float) -> Interval:
    """Interval of the class-conditional ambiguity: K (K - 1) shares, each of the samples of one class."""
    alpha = (1.0 - check_level(level)) / (counts.num_classes * (counts.num_classes - 1))
    low, high = counts.rival_ends(method, alpha)
    return _of_maximum(counts.gamma, low, high, counts.units, level)


def marginal_interval(counts: SetCounts, method: str, level: float) -> Interval:
    """Interval of the marginal ambiguity: K shares, each of the samples of all classes but one."""
    some = counts.marginal_sizes > 0
    count, n = counts.marginal_counts[some], counts.marginal_sizes[some]
    spread = None if counts.sums is None else counts.sums.marginal.at(some)
    low, high = clustered_ends(method, count, n, (1.0 - check_level(level)) / some.sum(), spread)
    return _of_maximum(float((count / n).max()), low, high, counts.units, level)


def count_intervals(counts: SetCounts, method: str, level: float) -> IndicatorIntervals:
    """All intervals from counts.

    Sums take Delta's and gamma's ends at half the error each, the worst class's sum those of K^2 shares that hold
    together.
    """
    both = 1.0 - (1.0 - check_level(level)) / 2.0
    delta, gamma = delta_interval(counts, method, both), gamma_interval(counts, method, both)
    total = Interval(
        counts.delta + counts.gamma, delta.low + gamma.low, delta.high + gamma.high, math.nan, counts.units, level
    )
    ends = class_ends(counts, method, level)
    worst = _of_maximum(
        float((counts.deltas + counts.gammas).max()), ends.delta_low + ends.gamma_low,
        ends.delta_high + ends.gamma_high, counts.units, level,
    )  # fmt: skip
    return IndicatorIntervals(
        delta_interval(counts, method, level),
        gamma_interval(counts, method, level),
        total,
        worst,
        kappa_interval(delta, gamma, level),
        class_kappa_interval(counts.deltas, counts.gammas, ends, counts.units, level),
    )


def class_ends(counts: SetCounts, method: str, level: float) -> ClassEnds:
    """Ends of every class's Delta_c and gamma_c from counts: K^2 shares that hold together by the union bound."""
    alpha = (1.0 - check_level(level)) / counts.num_classes**2
    return ClassEnds(*counts.missed_ends(method, alpha), *counts.rival_ends(method, alpha))


def class_kappa_interval(deltas: np.ndarray, gammas: np.ndarray, ends: ClassEnds, n: int, level: float) -> Interval:
    """Interval of the exponent of all classes together, which falls as any class's Delta_c or gamma_c rises."""
    value, low, high = (
        learnability_exponent(delta, gamma)
        for delta, gamma in (
            (deltas, gammas), (ends.delta_high, ends.gamma_high), (ends.delta_low, ends.gamma_low),
        )
    )  # fmt: skip
    return Interval(value, low, high, math.nan, n, level)


def kappa_interval(delta: Interval, gamma: Interval, level: float) -> Interval:
    """Interval of the exponent from ends of Delta and gamma that hold together: kappa falls as either rises."""
    value, low, high = (
        learnability_exponent(getattr(delta, end), getattr(gamma, end)) for end in ("estimate", "high", "low")
    )
    return Interval(value, low, high, math.nan, delta.n, level)


def _of_maximum(value: float, low: np.ndarray, high: np.ndarray, n: int, level: float) -> Interval:
    # A maximum has no standard error of its own.
    return Interval(value, float(low.max()), float(high.max()), math.nan, n, level)
