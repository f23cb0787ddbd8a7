"""Verdicts on claims by a rule written down before the data are seen, and Holm's correction for several of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from biasvar.analysis.equality import EqualByNumbers
from biasvar.analysis.statistics.checks import as_real, as_vector, in_unit, not_negative
from biasvar.analysis.statistics.intervals import Interval, interval_from, percentile_ends, t_quantile
from biasvar.arguments import checked

DIRECTIONS = ("greater", "less", "differs")
OUTCOMES = ("holds", "does not hold", "undecided")
_POWER = 0.8
_MOST_UNITS = 10**9  # an answer beyond this is no answer


@dataclass(frozen=True, eq=False)
class Verdict(EqualByNumbers):
    """What the data say about a claim.

    Attributes:
        outcome: "holds", "does not hold" or "undecided".
        effect: the estimate with its interval at 1 - alpha.
        threshold: d for "greater" and "differs", -d for "less".
        detectable: the effect nearest to the threshold that would be found to hold with 80 % power at this error.
        replicas_needed: units (replicas, pairs, clusters: whatever n counts) for 80 % power if the truth is as
            estimated; None if a billion would not do (the estimate is about the threshold) or the effect or its error
            is NaN.
        replicas_range: the same if the truth lies one standard error further from the threshold, and one nearer; None
            for the latter where it may lie at the threshold.

    >>> verdict = judge(0.15, 0.1, 15, 16, direction="greater", smallest_effect=0.1)
    >>> verdict.outcome, round(verdict.detectable, 2), verdict.replicas_needed
    ('undecided', 0.4, 505)
    """

    outcome: str
    effect: Interval
    threshold: float
    detectable: float
    replicas_needed: int | None
    replicas_range: tuple[int | None, int | None]


@checked
def judge(
    effect: float,
    stderr: float,
    df: float,
    n: int,
    *,
    direction: str,
    smallest_effect: float,
    alpha: float = 0.05,
    draws: Any = None,
) -> Verdict:
    """Whether an effect lies beyond the smallest effect of interest d in the claimed direction.

    With the two-sided t interval at level 1 - alpha:

    - "greater" holds if the interval lies above d, does not hold if it lies below d;
    - "less" holds if it lies below -d, does not hold if it lies above -d;
    - "differs" holds if it lies above d or below -d, does not hold if it lies within (-d, d);

    else, and for a NaN effect or error, it is undecided.

    Args:
        effect, stderr, df: the estimate, its standard error and degrees of freedom (inf for a normal interval).
        n: units the estimate rests on.
        smallest_effect: d, 0 or more.
        alpha: the level of this test, from `holm_levels` if there are several.
        draws: bootstrap draws of the effect; the interval is then between their percentiles.

    Raises:
        ValueError: for an unknown direction, a negative smallest effect, error or n, an alpha outside (0, 1),
            and what is no number.

    >>> judge(0.5, 0.1, 15, 16, direction="greater", smallest_effect=0.1, alpha=0.05).outcome
    'holds'
    """
    _check_rule(direction, smallest_effect)
    if 1.0 - in_unit(alpha, "alpha") == 1.0:
        raise ValueError(f"alpha must lie between 0 and 1, got {alpha}, which is 0 to rounding")
    interval = interval_from(effect, stderr, df, n, 1.0 - alpha)
    if draws is not None:
        low, high = percentile_ends(draws, 1.0 - alpha)
        interval = replace(interval, low=low, high=high)
    threshold = -smallest_effect if direction == "less" else smallest_effect
    short, beyond = interval.high < threshold, interval.low > threshold
    if direction == "less":
        short, beyond = beyond, short
    elif direction == "differs":
        beyond = beyond or interval.high < -smallest_effect
        short = interval.high < smallest_effect and interval.low > -smallest_effect
    outcome = "holds" if beyond else "does not hold" if short else "undecided"
    reach = (t_quantile(1.0 - alpha / 2.0, df) + t_quantile(_POWER, df)) * stderr
    detectable = threshold - reach if direction == "less" else threshold + reach
    gap = _gap(effect, direction, smallest_effect)
    needed, least, most = (_units(max(size, 0.0), stderr, df, n, alpha) for size in (gap, gap + stderr, gap - stderr))
    return Verdict(outcome, interval, threshold, detectable, needed, (least, most))


@checked
def decision_p_value(
    effect: float, stderr: float, df: float, *, direction: str, smallest_effect: float, draws: Any = None
) -> float:
    """The smallest alpha at which `judge` would decide, one way or the other: what `holm_levels` takes.

    It is the two-sided p-value of the effect being exactly at the threshold (the nearer one of -d and d for "differs").
    NaN for a NaN effect or error. Of bootstrap `draws` it is twice the smaller share of them on either side, at least
    one draw's, and NaN where no draw is finite; they go with "greater" and "less" only.

    Raises:
        ValueError: as `judge`, and for draws with "differs".

    >>> round(decision_p_value(1.96, 1.0, float("inf"), direction="greater", smallest_effect=0.0), 3)
    0.05
    """
    from scipy.special import ndtr, stdtr

    _check_rule(direction, smallest_effect)
    not_negative(stderr, "stderr")
    if draws is not None and direction == "differs":
        raise ValueError("draws go with the directions greater and less only, not with differs")
    gap = _gap(effect, direction, smallest_effect)
    if math.isnan(gap) or math.isnan(stderr) or math.isnan(df) or df < 1.0:
        return math.nan
    if draws is not None:
        threshold = -smallest_effect if direction == "less" else smallest_effect
        values = as_vector(draws, "draws")
        kept = values[np.isfinite(values)]
        if not len(kept):
            return math.nan
        smaller = min(np.mean(kept <= threshold), np.mean(kept >= threshold))
        return float(min(1.0, 2.0 * max(smaller, 1.0 / len(kept))))
    if stderr == 0.0:
        return 0.0 if gap > 0.0 else 1.0
    z = -gap / stderr
    return float(2.0 * (ndtr(z) if math.isinf(df) else stdtr(df, z)))


@checked
def holm_levels(p_values: Any, alpha: float = 0.05) -> np.ndarray:
    """The level of each of m tests under Holm's step-down procedure, `(m,)` in the order given.

    The smallest p-value is tested at alpha / m, the next at alpha / (m - 1), and so on while tests reject; the first
    that does not and all after it share its level, so that an interval at 1 - level excludes the null exactly if Holm
    rejects. NaN p-values (tests planned but not possible) count towards m and come last.

    Raises:
        ValueError: for p-values that are no numbers in [0, 1] or an alpha outside (0, 1).

    >>> holm_levels([0.01, 0.04, 0.03, 0.005]).round(4).tolist()
    [0.0167, 0.025, 0.025, 0.0125]
    """
    p = as_real(p_values, "p_values", bools=False)
    in_unit(alpha, "alpha")
    if p.ndim != 1 or bool(np.any((p < 0.0) | (p > 1.0))):
        raise ValueError("p_values must be a vector of numbers from 0 to 1 (NaN for a test that was not possible)")
    levels = np.empty(len(p))
    level, rejecting = alpha, True
    for rank, test in enumerate(np.argsort(p, kind="stable")):
        if rejecting:
            level = alpha / (len(p) - rank)
            rejecting = bool(p[test] <= level)
        levels[test] = level
    return levels


def _gap(effect: float, direction: str, smallest_effect: float) -> float:
    """Distance of the effect from the threshold that decides."""
    if direction == "differs":
        return abs(abs(effect) - smallest_effect)
    return abs(effect + smallest_effect) if direction == "less" else abs(effect - smallest_effect)


def _units(gap: float, stderr: float, df: float, n: int, alpha: float) -> int | None:
    """Units for 80 % power to decide if the truth lies `gap` from the threshold; the error falls as 1 / sqrt(units)."""
    if math.isnan(gap) or math.isnan(stderr) or math.isnan(df) or df < 1.0 or gap == 0.0:
        return None
    if stderr == 0.0:
        return n
    spread = stderr * math.sqrt(n)
    lost = 0.0 if math.isinf(df) else n - df

    def enough(units: int) -> bool:
        left = math.inf if math.isinf(df) else units - lost
        return (t_quantile(1.0 - alpha / 2.0, left) + t_quantile(_POWER, left)) * spread / math.sqrt(units) <= gap

    low, high = 1, 2
    while not enough(high):
        if high > _MOST_UNITS:
            return None
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _check_rule(direction: str, smallest_effect: float) -> None:
    if direction not in DIRECTIONS:
        raise ValueError(f"direction must be one of {', '.join(DIRECTIONS)}, got {direction!r}")
    if not 0.0 <= smallest_effect < math.inf:
        raise ValueError(f"smallest_effect must be a finite number from 0 up, got {smallest_effect}")
