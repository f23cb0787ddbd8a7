"""Finite-sample intervals of the indicators that hold with the maximum taken into account.

gamma is the largest of K (K - 1) shares, so its estimate leans upwards and no interval for a single share covers it. If
intervals of all of them hold together, then the largest of their lower ends and the largest of their upper ends enclose
the largest share: that is how every interval of a maximum here is made. "exact" and "hoeffding" make them hold together
by the union (Bonferroni) bound; `biasvar.analysis.indicators.bootstrap` by the joint distribution.

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
from biasvar.analysis.statistics.proportions import ends_of


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
    ends = ends_of(method)
    missed = int(counts.missed.sum())
    low, high = ends(np.array([missed]), np.array([counts.n]), 1.0 - check_level(level))
    error = math.sqrt(counts.delta * (1.0 - counts.delta) / counts.n)
    return Interval(counts.delta, float(low[0]), float(high[0]), error, counts.n, level)


def gamma_interval(counts: SetCounts, method: str, level: float) -> Interval:
    """Interval of the class-conditional ambiguity: K (K - 1) shares, each of the samples of one class.

    Only the most frequent label of a class can hold the largest end, so that K of them are computed.
    """
    ends = ends_of(method)
    alpha = (1.0 - check_level(level)) / (counts.num_classes * (counts.num_classes - 1))
    low, high = ends(counts.rival_counts, counts.class_sizes, alpha)
    return _of_maximum(counts.gamma, low, high, counts.n, level)


def marginal_interval(counts: SetCounts, method: str, level: float) -> Interval:
    """Interval of the marginal ambiguity: K shares, each of the samples of all classes but one."""
    ends = ends_of(method)
    some = counts.marginal_sizes > 0
    shares = counts.marginal_counts[some] / counts.marginal_sizes[some]
    low, high = ends(counts.marginal_counts[some], counts.marginal_sizes[some], (1.0 - check_level(level)) / some.sum())
    return _of_maximum(float(shares.max()), low, high, counts.n, level)


def count_intervals(counts: SetCounts, method: str, level: float) -> IndicatorIntervals:
    """All intervals from counts.

    Sums take Delta's and gamma's ends at half the error each, the worst class's sum those of K^2 shares that hold
    together.
    """
    both = 1.0 - (1.0 - check_level(level)) / 2.0
    delta, gamma = delta_interval(counts, method, both), gamma_interval(counts, method, both)
    total = Interval(
        counts.delta + counts.gamma, delta.low + gamma.low, delta.high + gamma.high, math.nan, counts.n, level
    )
    ends = class_ends(counts, method, level)
    worst = _of_maximum(
        float((counts.deltas + counts.gammas).max()), ends.delta_low + ends.gamma_low,
        ends.delta_high + ends.gamma_high, counts.n, level,
    )  # fmt: skip
    return IndicatorIntervals(
        delta_interval(counts, method, level),
        gamma_interval(counts, method, level),
        total,
        worst,
        kappa_interval(delta, gamma, level),
        class_kappa_interval(counts.deltas, counts.gammas, ends, counts.n, level),
    )


def class_ends(counts: SetCounts, method: str, level: float) -> ClassEnds:
    """Ends of every class's Delta_c and gamma_c from counts: K^2 shares that hold together by the union bound."""
    ends = ends_of(method)
    alpha = (1.0 - check_level(level)) / counts.num_classes**2
    missed = ends(counts.missed, counts.class_sizes, alpha)
    return ClassEnds(*missed, *ends(counts.rival_counts, counts.class_sizes, alpha))


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
