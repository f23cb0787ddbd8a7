"""An estimate with its interval, from an error and degrees of freedom."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from biasvar.analysis.equality import EqualByNumbers
from biasvar.analysis.statistics.checks import as_real, in_unit, not_negative
from biasvar.arguments import checked


@dataclass(frozen=True, eq=False)
class Interval(EqualByNumbers):
    """An estimate with its two-sided interval at `level`, its standard error, and the number n of units it rests on.

    >>> print(interval_from(0.5, 0.01, float("inf"), 100))
    0.5 (95 % 0.4804 to 0.5196, n 100)
    """

    estimate: float
    low: float
    high: float
    stderr: float
    n: int
    level: float

    def __str__(self) -> str:
        return f"{self.estimate:.4g} ({100 * self.level:g} % {self.low:.4g} to {self.high:.4g}, n {self.n:,})"


@checked
def interval_from(estimate: float, stderr: float, df: float, n: int, level: float = 0.95) -> Interval:
    """estimate -+ t(df) * stderr; normal quantiles for df = inf, NaN bounds where the error or df is NaN or df < 1.

    Raises:
        ValueError: for what is no number, a negative error, n below 0, a level outside (0, 1).

    >>> round(interval_from(0.0, 1.0, float("inf"), 100).high, 2)
    1.96
    """
    check_level(level)
    not_negative(n, "n")
    half = t_quantile(0.5 + level / 2.0, df) * not_negative(stderr, "stderr")
    return Interval(float(estimate), float(estimate - half), float(estimate + half), float(stderr), n, level)


@checked
def percentile_ends(draws: Any, level: float = 0.95) -> tuple[float, float]:
    """Percentiles of bootstrap draws with (1 - level) / 2 of them on either side; draws that are NaN are left out.

    NaN where all are.

    Raises:
        ValueError: for no draws, draws that are no numbers, a level outside (0, 1).

    >>> percentile_ends(np.arange(101.0), 0.5)
    (25.0, 75.0)
    """
    tail, values = 50.0 * (1.0 - check_level(level)), as_real(draws, "draws")
    if not values.size:
        raise ValueError("draws must hold at least one draw")
    if np.isnan(values).all():
        return math.nan, math.nan
    with np.errstate(invalid="ignore"):  # between infinite draws
        low, high = np.nanpercentile(values, [tail, 100.0 - tail])
    return float(low), float(high)


@checked
def t_quantile(probability: float, df: float) -> float:
    """Quantile of Student's t, of the normal for df = inf; NaN for df below 1 or NaN."""
    from scipy.special import ndtri, stdtrit

    if math.isnan(df) or df < 1.0:
        return math.nan
    return float(ndtri(probability)) if math.isinf(df) else float(stdtrit(df, probability))


@checked
def check_level(level: float) -> float:
    """The confidence level, if it lies in (0, 1); else ValueError."""
    in_unit(level, "level")
    if 1.0 - level == 1.0:
        raise ValueError(f"level must lie between 0 and 1, got {level}, which is 0 to rounding")
    return level
