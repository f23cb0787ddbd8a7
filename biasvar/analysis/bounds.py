"""Finite-sample intervals of the indicators that hold with the maximum taken into account.

gamma is the largest of K (K - 1) shares, so its estimate leans upwards and no interval for a single share covers it. If
intervals of all of them hold together, then the largest of their lower ends and the largest of their upper ends enclose
the largest share: that is how every interval of a maximum here is made. "exact" and "hoeffding" make them hold together
by the union (Bonferroni) bound; `biasvar.analysis.bootstrap` by the joint distribution.

All intervals are two-sided: at level 0.95 each end alone holds with probability at least 0.975.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from biasvar.analysis.cooccurrence import SetCounts
from biasvar.analysis.intervals import Interval, check_level
from biasvar.analysis.theory import learnability_exponent

Ends = Callable[[np.ndarray, np.ndarray, float], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class IndicatorIntervals:
    """Intervals of Delta, gamma, their sum, the worst class's sum max_c(Delta_c + gamma_c), and the exponent kappa."""

    delta: Interval
    gamma: Interval
    sum: Interval
    worst_class_sum: Interval
    kappa: Interval


def clopper_pearson(successes: np.ndarray, trials: np.ndarray, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """Exact binomial intervals at level 1 - alpha (Clopper and Pearson 1934), elementwise; 0 .. 1 without trials.

    >>> low, high = clopper_pearson(np.array([0]), np.array([10]), 0.05)
    >>> float(low[0]), round(float(high[0]), 4)
    (0.0, 0.3085)
    """
    from scipy.special import betaincinv

    failures = trials - successes
    low = np.where(successes > 0, betaincinv(np.maximum(successes, 1), failures + 1, alpha / 2.0), 0.0)
    high = np.where(failures > 0, betaincinv(successes + 1, np.maximum(failures, 1), 1.0 - alpha / 2.0), 1.0)
    return low, high


def hoeffding(successes: np.ndarray, trials: np.ndarray, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """Share -+ sqrt(ln(2 / alpha) / (2 n)), clipped to 0 .. 1 (Hoeffding 1963): wider than exact, a formula to quote.

    >>> low, high = hoeffding(np.array([50]), np.array([100]), 0.05)
    >>> round(float(high[0]), 4)
    0.6358
    """
    share = successes / trials
    radius = hoeffding_radius(trials, alpha / 2.0)
    return np.maximum(share - radius, 0.0), np.minimum(share + radius, 1.0)


def hoeffding_radius(trials: np.ndarray | int, alpha: float, comparisons: int = 1) -> np.ndarray:
    """One-sided: sqrt(ln(comparisons / alpha) / (2 n)), by which a share of n can lie below its probability.

    Delta <= its estimate + hoeffding_radius(n, alpha); gamma <= its estimate + the radius of the smallest class with
    K (K - 1) comparisons.

    >>> round(float(hoeffding_radius(10_000, 0.05)), 3), round(float(hoeffding_radius(1_000, 0.05, 90)), 3)
    (0.012, 0.061)
    """
    return np.sqrt(math.log(comparisons / alpha) / (2.0 * np.asarray(trials)))


METHODS: dict[str, Ends] = {"exact": clopper_pearson, "hoeffding": hoeffding}


def ends_of(method: str) -> Ends:
    """The function that makes one share's interval."""
    if method not in METHODS:
        raise ValueError(
            f"interval must be one of {', '.join(METHODS)}, got {method!r}; bootstrap intervals need the samples:"
            " unreliability, ambiguity and effectiveness make them from arrays"
        )
    return METHODS[method]


def delta_interval(counts: SetCounts, method: str, level: float) -> Interval:
    """Interval of Delta: that of one share of all n samples."""
    ends = ends_of(method)
    missed = int(counts.missed.sum())
    low, high = ends(np.array([missed]), np.array([counts.n]), 1.0 - check(level))
    error = math.sqrt(counts.delta * (1.0 - counts.delta) / counts.n)
    return Interval(counts.delta, float(low[0]), float(high[0]), error, counts.n, level)


def gamma_interval(counts: SetCounts, method: str, level: float) -> Interval:
    """Interval of the class-conditional ambiguity: K (K - 1) shares, each of the samples of one class.

    Only the most frequent label of a class can hold the largest end, so that K of them are computed.
    """
    ends = ends_of(method)
    alpha = (1.0 - check(level)) / (counts.num_classes * (counts.num_classes - 1))
    low, high = ends(counts.rival_counts, counts.class_sizes, alpha)
    return _of_maximum(counts.gamma, low, high, counts.n, level)


def marginal_interval(counts: SetCounts, method: str, level: float) -> Interval:
    """Interval of the marginal ambiguity: K shares, each of the samples of all classes but one."""
    ends = ends_of(method)
    some = counts.marginal_sizes > 0
    shares = counts.marginal_counts[some] / counts.marginal_sizes[some]
    low, high = ends(counts.marginal_counts[some], counts.marginal_sizes[some], (1.0 - check(level)) / some.sum())
    return _of_maximum(float(shares.max()), low, high, counts.n, level)


def count_intervals(counts: SetCounts, method: str, level: float) -> IndicatorIntervals:
    """All intervals from counts.

    Sums take Delta's and gamma's ends at half the error each, the worst class's sum those of K^2 shares that hold
    together.
    """
    both = 1.0 - (1.0 - check(level)) / 2.0
    delta, gamma = delta_interval(counts, method, both), gamma_interval(counts, method, both)
    total = Interval(
        counts.delta + counts.gamma, delta.low + gamma.low, delta.high + gamma.high, math.nan, counts.n, level
    )
    ends = ends_of(method)
    alpha = (1.0 - level) / counts.num_classes**2
    missed_low, missed_high = ends(counts.missed, counts.class_sizes, alpha)
    rival_low, rival_high = ends(counts.rival_counts, counts.class_sizes, alpha)
    worst = _of_maximum(
        float((counts.deltas + counts.gammas).max()), missed_low + rival_low, missed_high + rival_high, counts.n, level
    )
    return IndicatorIntervals(
        delta_interval(counts, method, level),
        gamma_interval(counts, method, level),
        total,
        worst,
        kappa_interval(delta, gamma, level),
    )


def kappa_interval(delta: Interval, gamma: Interval, level: float) -> Interval:
    """Interval of the exponent from ends of Delta and gamma that hold together: kappa falls as either rises."""
    value, low, high = (
        learnability_exponent(getattr(delta, end), getattr(gamma, end)) for end in ("estimate", "high", "low")
    )
    return Interval(value, low, high, math.nan, delta.n, level)


def check(level: float) -> float:
    """The level, if it is one."""
    check_level(level)
    return level


def _of_maximum(value: float, low: np.ndarray, high: np.ndarray, n: int, level: float) -> Interval:
    # A maximum has no standard error of its own.
    return Interval(value, float(low.max()), float(high.max()), math.nan, n, level)
