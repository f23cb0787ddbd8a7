"""The least of several estimates as one part of a claim, with an interval that knows that it was looked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from biasvar.analysis.statistics.verdicts import Verdict
from biasvar.report.claims.measurement import Measurement


@dataclass(frozen=True, eq=False)
class Least(Measurement):
    """The least of J estimates, claimed to be greater than the threshold that they share.

    The least of J estimates is too low on average, as the one with the worst luck is taken. With the ends of each
    estimate's interval at a level, the interval of the least of the true values at 1 - alpha is

        from    min_j low_j(alpha)         holds where all J do: no choice is made, so nothing is widened (Berger 1982)
        to      min_j high_j(alpha / J)    simultaneous over all J: that one of them falls short may be chance

    Each end misses with probability alpha / 2 or less, however the J estimates hang together.

    Attributes:
        among: The parts of all J; the others of this one's attributes are those of the one with the least estimate.
    """

    among: tuple[Measurement, ...] = ()

    @property
    def p_value(self) -> float:
        """The smallest alpha at which it decides: the largest of all p values, or J times the least of those short."""
        p_values = [part.p_value for part in self.among]
        if any(map(math.isnan, p_values)) or self.undecided:
            return math.nan
        short = [p for p, part in zip(p_values, self.among, strict=True) if part.gap <= 0.0]
        return min(1.0, len(self.among) * min(short)) if short else max(p_values)

    def verdict(self, level: float, *, replicas: bool = False) -> tuple[Verdict, Callable[[float], float]]:
        """The verdict at a level, and the way from the verdict's scale to that of the unit."""
        found, scale = super().verdict(level, replicas=replicas)
        plain = [part.verdict(level, replicas=replicas)[0].effect for part in self.among]
        wide = [part.verdict(level / len(self.among), replicas=replicas)[0].effect for part in self.among]
        known = all(map(math.isfinite, [*(one.low for one in plain), *(one.high for one in wide)]))
        low = min(one.low for one in plain) if known else math.nan
        high = min(one.high for one in wide) if known else math.nan
        outcome = "holds" if low > 0.0 else "does not hold" if high < 0.0 else "undecided"
        return replace(found, outcome=outcome, effect=replace(found.effect, low=low, high=high)), scale


def unfolded(parts: Iterable[Measurement]) -> list[Measurement]:
    """The parts with the least of several replaced by all of these, for a mean over redraws: that of minima is no
    minimum of means."""
    found: list[Measurement] = []
    for part in parts:
        among = part.among if isinstance(part, Least) else (part,)
        found += [replace(one, undecided=one.undecided or part.undecided) for one in among]
    return found


def least(parts: list[Measurement], test: str, undecided: str = "") -> Least:
    """The least of parts that share a threshold, each claimed to be greater.

    Raises:
        ValueError: No part, or parts that do not share threshold and direction.
    """
    if not parts or {(part.threshold, part.direction) for part in parts} != {(parts[0].threshold, "greater")}:
        raise ValueError("parts must be one or more that are claimed to be greater than one threshold")
    worst = min(parts, key=lambda part: part.row.estimate)
    return Least(test, worst.row, worst.threshold, "greater", worst.unit, undecided=undecided, among=tuple(parts))
