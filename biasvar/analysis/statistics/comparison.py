"""Intervals, paired differences, rank correlations, areas under the ROC curve, and verdicts on claims.

Inputs are vectors (NumPy, torch or lists); results are plain floats. NaN in the data is never averaged away: it makes
the result NaN or is refused, so that a failed replica is seen.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from biasvar.analysis.arrays import to_numpy
from biasvar.analysis.inputs import as_array, refuse_masked
from biasvar.analysis.statistics.checks import as_pair, as_real, as_vector, in_unit, refuse_nan, refuse_rows
from biasvar.analysis.statistics.intervals import Interval, check_level, interval_from, t_quantile
from biasvar.analysis.statistics.jackknife import jackknife_stderr
from biasvar.arguments import checked
from biasvar.messages import first_few


@checked
def mean_interval(x: Any, *, level: float = 0.95) -> Interval:
    """Mean of `x` `(n,)` with Student's t interval; the error is sd / sqrt(n), NaN for n = 1.

    >>> mean_interval([1.0, 2.0, 3.0]).estimate
    2.0
    """
    x = as_vector(x, "x")
    n = len(x)
    with np.errstate(over="ignore", invalid="ignore"):  # of infinite values, or near the largest, the error is none
        stderr = float(np.std(x, ddof=1) / math.sqrt(n)) if n > 1 else math.nan
        return interval_from(float(np.mean(x)), stderr, n - 1, n, level)


@checked
def paired_mean_difference(a: Any, b: Any, *, level: float = 0.95) -> Interval:
    """Mean of a - b over pairs (`a`, `b` both `(n,)`, replica r in both) with Student's t interval.

    >>> paired_mean_difference([1.0, 2.0], [0.5, 1.5]).estimate
    0.5
    """
    a, b = as_pair(a, b, "a", "b")
    return mean_interval(a - b, level=level)


def spearman(values: Any) -> np.ndarray:
    """Spearman's rank correlation (V - 1,) of each of the first variables of `values` (V, n) with the last.

    Equal values share the mean of their ranks. NaN where a variable is constant.

    Raises:
        ValueError: for fewer than two variables or no observations, values that are no numbers or NaN.

    >>> spearman([[1, 2, 3, 4], [4, 3, 2, 1], [1, 2, 4, 3]]).round(3).tolist()
    [0.8, -0.8]
    """
    values = as_real(values, "values")
    if values.ndim != 2 or values.shape[0] < 2 or not values.shape[1]:
        raise ValueError(
            f"values must have shape (V, n) with at least two variables and one observation, got {values.shape}"
        )
    refuse_nan(values, "values")
    ranks = centred_ranks(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        size = np.sqrt((ranks**2).sum(axis=1))
        rho: np.ndarray = (ranks[:-1] @ ranks[-1]) / (size[:-1] * size[-1])
    return np.clip(rho, -1.0, 1.0)


def centred_ranks(values: np.ndarray) -> np.ndarray:
    """The ranks of variables (V, n), each less its mean; equal values share the mean of their ranks."""
    import pandas as pd  # scipy.stats has ranks too, and takes longer to import than most pages' ranks

    ranks = pd.DataFrame(values.T).rank().to_numpy().T
    found: np.ndarray = ranks - ranks.mean(axis=1, keepdims=True)
    return found


@checked
def rank_correlation(x: Any, y: Any, *, clusters: Any = None, level: float = 0.95) -> Interval:
    """Spearman's rank correlation with an interval by Fisher's z and the error sqrt((1 + rho^2 / 2) / (n - 3)).

    The error is Bonett and Wright's (2000). `stderr` is that error carried to the scale of rho, (1 - rho^2) times it. A
    perfect correlation takes the interval of the next attainable value, since its own would have no width.

    Args:
        x, y: `(n,)`, finite.
        clusters: `(n,)`; observations of one cluster (one teacher, say) are averaged first, and n counts clusters.

    Returns:
        `Interval`; NaN below 4 clusters or if x or y is constant.

    Raises:
        ValueError: for x and y of different lengths, values that are NaN or no numbers, observations without a cluster,
            a level outside (0, 1).

    >>> round(rank_correlation([1, 2, 3, 4, 5], [2, 1, 4, 3, 5]).estimate, 6)
    0.8
    """
    check_level(level)
    x, y = as_pair(x, y, "x", "y")
    refuse_nan(x, "x")
    refuse_nan(y, "y")
    if clusters is not None:
        index, size = _clusters(clusters, len(x))
        x, y = np.bincount(index, x) / size, np.bincount(index, y) / size
    n = len(x)
    if n < 4 or x.max() == x.min() or y.max() == y.min():
        return Interval(math.nan, math.nan, math.nan, math.nan, n, level)
    rho = float(spearman(np.stack([x, y]))[0])
    bound = 1.0 - 12.0 / (n * (n * n - 1.0))  # two neighbours swapped: the largest value below 1
    inner = min(max(rho, -bound), bound)
    error = math.sqrt((1.0 + inner**2 / 2.0) / (n - 3))
    on_z = interval_from(math.atanh(inner), error, math.inf, n, level)
    low, high = math.tanh(on_z.low), math.tanh(on_z.high)
    return Interval(rho, min(low, rho), max(high, rho), (1.0 - inner**2) * error, n, level)


def roc_auc(score: Any, target: Any) -> float:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties counted half.

    Args:
        score: `(n,)` real, no NaN (booleans count as 0 and 1).
        target: `(n,)` bool.

    Returns:
        The area; NaN if only one class is present.

    Raises:
        ValueError: for scores that are NaN or no numbers, a target that is not bool or of another length.

    >>> roc_auc([0.1, 0.4, 0.4, 0.8], [False, False, True, True])
    0.875
    """
    positive, negative = _classes(score, target)
    if not len(positive) or not len(negative):
        return math.nan
    return float(np.mean(_placements(positive, negative)))


@checked
def auc_interval(score: Any, target: Any, *, level: float = 0.95) -> Interval:
    """Area under the ROC curve with DeLong's standard error over samples and a normal interval clipped to [0, 1].

    The error (DeLong, DeLong and Clarke-Pearson 1988) is sqrt(var(V+) / n+ + var(V-) / n-), V the share of the other
    class that each sample is placed right of. It covers the drawing of samples, not of replicas: see
    `jackknife_interval` for those. NaN if only one class is present; NaN bounds below 2 of either class.

    >>> auc_interval([0.1, 0.4, 0.4, 0.8], [False, False, True, True]).estimate
    0.875
    """
    check_level(level)
    positive, negative = _classes(score, target)
    n = len(positive) + len(negative)
    if not len(positive) or not len(negative):
        return Interval(math.nan, math.nan, math.nan, math.nan, n, level)
    up, down = _placements(positive, negative), 1.0 - _placements(negative, positive)
    stderr = math.nan
    if min(len(up), len(down)) > 1:
        stderr = math.sqrt(np.var(up, ddof=1) / len(up) + np.var(down, ddof=1) / len(down))
    whole = interval_from(float(np.mean(up)), stderr, math.inf, n, level)
    return Interval(
        whole.estimate, float(np.maximum(whole.low, 0.0)), float(np.minimum(whole.high, 1.0)), stderr, n, level
    )


@checked
def jackknife_interval(full: float, deleted: Any, group_sizes: Any = None, *, level: float = 0.95) -> Interval:
    """A statistic with the interval of its delete-a-group jackknife error, t with G - 1 degrees of freedom.

    Args:
        full: the statistic of all replicas.
        deleted: `(G,)`, the statistic with each group of replicas left out.
        group_sizes: `(G,)`, replicas in each group; 1 each by default.

    Returns:
        `Interval`, n the number of replicas; NaN bounds below 2 groups, and NaN where a statistic is NaN.

    Raises:
        ValueError: for as many sizes as there are not groups, sizes that are no whole numbers from 0 up, and what is no
            number.

    >>> interval = jackknife_interval(3.0, [11 / 3, 10 / 3, 8 / 3, 7 / 3])  # the mean of 1, 2, 4, 5
    >>> round(interval.stderr, 6), interval.n
    (0.912871, 4)
    """
    deleted = as_vector(deleted, "deleted")
    sizes = np.ones(len(deleted)) if group_sizes is None else as_vector(group_sizes, "group_sizes")
    if len(sizes) != len(deleted):
        raise ValueError(f"group_sizes must have one size for each of the {len(deleted)} groups, got {len(sizes)}")
    refuse_rows(~((sizes >= 0) & (sizes == np.floor(sizes))), "group_sizes", "must be whole numbers from 0 up", sizes)
    with np.errstate(over="ignore", invalid="ignore"):  # of infinite values the error is none
        stderr = float(jackknife_stderr(np.float64(full), deleted, sizes))
    return interval_from(full, stderr, float(np.sum(sizes > 0) - 1), int(np.sum(sizes)), level)


@checked
def replicas_needed(pilot: Any, effect: float, *, level: float = 0.95, power: float = 0.8) -> int:
    """Replicas for a two-sided paired t test at 1 - level to find a mean difference of `effect` with the given power.

    The standard deviation is the pilot's; the power is exact (noncentral t) for normal differences.

    Args:
        pilot: `(n,)`, paired differences per replica, n at least 2.
        effect: the difference to find, not 0, in the pilot's units.

    Raises:
        ValueError: for a pilot of fewer than 2 values or with NaN, a zero effect, a level or power outside (0, 1).

    >>> replicas_needed([-1.0, 1.0, -1.0, 1.0, 0.0], 1.0)
    10
    """
    from scipy.special import nctdtr

    pilot = as_vector(pilot, "pilot")
    refuse_nan(pilot, "pilot")
    refuse_rows(np.abs(pilot) > 1e150, "pilot", "must lie within -1e150 .. 1e150, else its spread is infinite", pilot)
    check_level(level)
    if len(pilot) < 2:
        raise ValueError(f"pilot must hold at least 2 paired differences, got {len(pilot)}")
    in_unit(power, "power")
    if not math.isfinite(effect) or effect == 0.0:
        raise ValueError(f"effect must be a finite number other than 0, got {effect}")
    size = abs(effect) / max(float(np.std(pilot, ddof=1)), 1e-300)

    def reaches(n: int) -> bool:
        shift = min(size * math.sqrt(n), 1e3)  # beyond, the power is 1 to rounding even at one degree of freedom
        return bool(1.0 - nctdtr(n - 1, shift, t_quantile(0.5 + level / 2.0, n - 1)) >= power)

    high = 2
    while not reaches(high):
        high *= 2
        if high > 2**60:
            raise ValueError(f"effect {effect:g} is too small beside the spread of pilot to be shown")
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reaches(middle) else (middle, high)
    return high


def _placements(own: np.ndarray, other: np.ndarray) -> np.ndarray:
    """For each of `own`, the share of `other` below it, ties counted half."""
    ordered = np.sort(other)
    below = np.searchsorted(ordered, own, side="left") + np.searchsorted(ordered, own, side="right")
    return below / (2.0 * len(other))


def _clusters(clusters: Any, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Of each observation the number of its cluster, and the size of each cluster."""
    import pandas as pd

    refuse_masked(clusters, "clusters")
    codes = (
        to_numpy(as_array(clusters, "clusters")) if hasattr(clusters, "detach") else np.asarray(clusters)
    )  # words too
    if codes.shape != (n,):
        raise ValueError(f"clusters must have one label for each of the {n} observations, got shape {codes.shape}")
    index = pd.factorize(codes, sort=True)[0]
    if (index < 0).any():
        rows = first_few(np.flatnonzero(index < 0).tolist())
        raise ValueError(f"clusters must name a cluster for every observation; row {rows} has none")
    return index, np.bincount(index)


def _classes(score: Any, target: Any) -> tuple[np.ndarray, np.ndarray]:
    score = as_vector(score, "score")
    chosen = to_numpy(as_array(target, "target"))
    if chosen.shape != score.shape or chosen.dtype != bool:
        raise ValueError(
            f"target must be a bool array of shape {score.shape}, got {chosen.dtype} of shape {chosen.shape}"
            " (of 0 and 1, give target == 1)"
        )
    refuse_nan(score, "score")
    return score[chosen], score[~chosen]
