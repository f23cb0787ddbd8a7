"""Intervals of proportions: exact ones (Clopper and Pearson) and Hoeffding's."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from biasvar.analysis.statistics.checks import as_real, in_unit, refuse_rows
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
    from scipy.special import betaincinv

    successes, trials, alpha = _counts(successes, trials, alpha)
    failures = trials - successes
    low = np.where(successes > 0, betaincinv(np.maximum(successes, 1), failures + 1, alpha / 2.0), 0.0)
    high = np.where(failures > 0, betaincinv(successes + 1, np.maximum(failures, 1), 1.0 - alpha / 2.0), 1.0)
    return low, high


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
