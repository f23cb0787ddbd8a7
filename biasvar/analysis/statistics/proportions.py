"""Intervals of proportions: exact ones (Clopper and Pearson) and Hoeffding's, also of rows that come in clusters."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from biasvar.analysis.clusters import Spread
from biasvar.analysis.statistics.checks import as_real, in_unit, refuse_rows
from biasvar.analysis.statistics.intervals import Interval, check_level
from biasvar.arguments import checked
from biasvar.messages import first_few

Ends = Callable[[np.ndarray, np.ndarray, float], tuple[np.ndarray, np.ndarray]]


@checked
def clopper_pearson(successes: Any, trials: Any, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """Exact binomial intervals at level 1 - alpha (Clopper and Pearson 1934), elementwise; 0 .. 1 without trials.

    Raises:
        ValueError: for counts that are no whole numbers, more successes than trials, an alpha outside (0, 1).

    >>> low, high = clopper_pearson(np.array([0]), np.array([10]), 0.05)
    >>> float(low[0]), round(float(high[0]), 4)
    (0.0, 0.3085)
    """
    successes, trials, alpha = _counts(successes, trials, alpha)
    failures = trials - successes
    return _beta_ends(successes, failures, alpha)


@checked
def hoeffding(successes: Any, trials: Any, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """Share -+ sqrt(ln(2 / alpha) / (2 n)), clipped to 0 .. 1 (Hoeffding 1963): wider than exact, a formula to quote.

    0 .. 1 without trials. Raises as `clopper_pearson`.

    >>> low, high = hoeffding(np.array([50]), np.array([100]), 0.05)
    >>> round(float(high[0]), 4)
    0.6358
    """
    successes, trials, alpha = _counts(successes, trials, alpha)
    some = np.maximum(trials, 1.0)
    share, radius = successes / some, np.where(trials > 0, hoeffding_radius(some, alpha / 2.0), 1.0)
    return np.maximum(share - radius, 0.0), np.minimum(share + radius, 1.0)


@checked
def hoeffding_radius(trials: Any, alpha: float, comparisons: int = 1) -> np.ndarray:
    """One-sided: sqrt(ln(comparisons / alpha) / (2 n)), by which a share of n can lie below its probability.

    Delta <= its estimate + hoeffding_radius(n, alpha); gamma <= its estimate + the radius of the smallest class with
    K (K - 1) comparisons.

    Raises:
        ValueError: for trials or comparisons below 1, an alpha outside (0, 1).

    >>> round(float(hoeffding_radius(10_000, 0.05)), 3), round(float(hoeffding_radius(1_000, 0.05, 90)), 3)
    (0.012, 0.061)
    """
    if comparisons < 1:
        raise ValueError(f"comparisons must be at least 1, got {comparisons}")
    n = as_real(trials, "trials", bools=False)
    refuse_rows(np.atleast_1d(~(n >= 1.0)).ravel(), "trials", "must be at least 1", np.atleast_1d(n).ravel())
    return np.asarray(np.sqrt(math.log(comparisons / in_unit(alpha, "alpha")) / (2.0 * n)))


def clustered_ends(
    method: str, successes: Any, trials: Any, alpha: float, spread: Spread | None
) -> tuple[np.ndarray, np.ndarray]:
    """Intervals of shares of rows that come in clusters; without a spread, those of independent rows.

    - "exact": Clopper and Pearson's at the effective number of rows n* = p (1 - p) / variance, at most n, times (z /
      t)^2 with G - 1 degrees of freedom (Korn and Graubard 1998). So that a share of few clusters, or none, does not
      pass for a precise one, p and the variance in n* count one cluster more, of the typical size m = sum n_g^2 / n, of
      whose rows all or none are counted, half and half: at p = 0 this gives n* = n / m, one trial a cluster.
    - "hoeffding": at n* = n^2 / sum n_g^2, which is exact for independent clusters of given sizes.

    Where every cluster has one row both are those of independent rows; with fewer than two clusters 0 .. 1. Simulated
    at level 0.95 (beta-binomial clusters of 1 to 20 rows, correlation 0 to .9, shares .01 to .3, 15 to 200 clusters):
    "exact" covers 95 to 100 %; taken as independent rows, 28 to 98 %.
    """
    if spread is None:
        return ends_of(method)(successes, trials, alpha)
    ends_of(method)
    n, groups = np.asarray(trials, dtype=np.float64), np.asarray(spread.clusters, dtype=np.float64)
    some = np.maximum(n, 1.0)
    share = np.asarray(successes) / some
    typical = np.maximum(spread.sizes, 1.0) / some
    known = (n > 0) & (groups >= 2)
    if method == "hoeffding":
        radius = np.where(known, hoeffding_radius(np.maximum(some / typical, 1.0), alpha / 2.0), 1.0)
        return np.maximum(share - radius, 0.0), np.minimum(share + radius, 1.0)
    effective = effective_rows(share, some, typical, spread, alpha)
    low, high = _beta_ends(share * effective, (1.0 - share) * effective, alpha)
    return np.where(known, low, 0.0), np.where(known, high, 1.0)


def share_interval(count: int, n: int, spread: Spread | None, level: float, method: str = "exact") -> Interval:
    """Interval of one share, as `clustered_ends` makes it, with its standard error; n counts rows, or clusters."""
    low, high = clustered_ends(method, np.array(count), np.array(n), 1.0 - check_level(level), spread)
    share = count / n
    variance = share * (1.0 - share) / n if spread is None else float(spread.variance(share, n))
    units = n if spread is None else int(spread.clusters)
    return Interval(share, float(low), float(high), math.sqrt(variance), units, level)


def effective_rows(share: np.ndarray, n: np.ndarray, typical: np.ndarray, spread: Spread, alpha: float) -> np.ndarray:
    """The effective numbers of rows of `clustered_ends`, of shares of n rows in clusters of a typical size."""
    from scipy.special import ndtri, stdtrit

    groups = np.maximum(spread.clusters, 2.0)
    p = (share * n + 0.5 * typical) / (n + typical)
    square = spread.squares - 2.0 * p * spread.cross + p**2 * spread.sizes
    square = np.maximum(square, 0.0) + 0.5 * typical**2 * (p**2 + (1.0 - p) ** 2)
    variance = square / (n + typical) ** 2 * groups / (groups - 1.0)
    tails = ndtri(1.0 - alpha / 2.0) / stdtrit(groups - 1.0, 1.0 - alpha / 2.0)
    alone = spread.sizes <= n  # every cluster has one row
    return np.asarray(np.where(alone, n, np.minimum(p * (1.0 - p) / variance * tails**2, n)))


def _beta_ends(successes: np.ndarray, failures: np.ndarray, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """Clopper and Pearson's ends of counts that need not be whole."""
    from scipy.special import betaincinv

    least = np.finfo(np.float64).tiny
    low = np.where(successes > 0, betaincinv(np.maximum(successes, least), failures + 1, alpha / 2.0), 0.0)
    high = np.where(failures > 0, betaincinv(successes + 1, np.maximum(failures, least), 1.0 - alpha / 2.0), 1.0)
    return low, high


METHODS: dict[str, Ends] = {"exact": clopper_pearson, "hoeffding": hoeffding}


@checked
def ends_of(method: str) -> Ends:
    """The function that makes one share's interval."""
    if method not in METHODS:
        raise ValueError(
            f"interval must be one of {', '.join(METHODS)}, got {method!r}; bootstrap intervals need the samples:"
            " unreliability, ambiguity and effectiveness make them from arrays"
        )
    return METHODS[method]


def _counts(successes: Any, trials: Any, alpha: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Both counts as float64 of one shape, checked, and alpha."""
    right, n = as_real(successes, "successes", bools=False), as_real(trials, "trials", bools=False)
    if right.shape != n.shape and () not in (right.shape, n.shape):
        raise ValueError(f"successes and trials must have one shape, got {right.shape} and {n.shape}")
    for name, x in (("successes", right), ("trials", n)):
        flat = np.atleast_1d(x).ravel()
        refuse_rows(~((flat >= 0) & (flat == np.floor(flat))), name, "must be whole numbers from 0 up", flat)
    flat = np.atleast_1d(right - n).ravel()
    if (flat > 0).any():
        rows = first_few(np.flatnonzero(flat > 0).tolist())
        raise ValueError(f"successes cannot be more than trials; row {rows} has more")
    return right, n, in_unit(alpha, "alpha")
