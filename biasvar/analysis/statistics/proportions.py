"""Intervals of proportions: exact ones (Clopper and Pearson) and Hoeffding's."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

Ends = Callable[[np.ndarray, np.ndarray, float], tuple[np.ndarray, np.ndarray]]


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
