"""What data guarantee about learning: from the upper ends of all classes' indicators, and nothing where a class fails.

The overall Delta averages over classes. Three classes, class 0 in 20 % of the samples and shown as class 1 in 60 % of
them: Delta = .12, gamma = .6, a sum of .72, and still every classifier that misses fewest sets calls class 0 class 1,
an error of .20 at any number of samples. Class 0 alone shows it, Delta_0 + gamma_0 = 1.2. So the bounds of
`biasvar.analysis.indicators.learnability` are evaluated at (Delta_c, gamma_c) of every class, at upper ends that hold
for all classes, wrong labels and rules together, and there is none unless Delta_c + gamma_c < 1 in all of them.

Derived, not the paper's. The bounds ask for Delta and gamma at every input: classes give them where a set depends on
the input through its class alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from biasvar.analysis.indicators.counts import SetCounts
from biasvar.analysis.indicators.intervals import ClassEnds, class_ends, delta_interval, gamma_interval
from biasvar.analysis.indicators.learnability import (
    Learnability,
    average_error,
    learnability,
    learnability_exponent,
)
from biasvar.analysis.statistics.intervals import Interval, check_level


@dataclass(frozen=True, eq=False)
class Guarantee:
    """Whether all classes meet the condition Delta_c + gamma_c < 1, and what follows; made by `Indicators.guarantee`.

    Attributes:
        k, threshold: the rule for the sets, the other None: the one with the largest exponent at the upper ends; where
            no rule guarantees anything, the one whose worst class comes nearest to it.
        deltas, gammas: `(K,)` estimates by class.
        ends: their ends, which hold for all classes, wrong labels and rules together.
        average_error: Delta / (1 - gamma) of the overall Delta, at most 1, with its interval: the largest error of the
            population minimiser where gamma bounds every input but Delta is an average over them. At the rule
            `average_rule` with the smallest upper end. It is no statement about a number of samples.
        n, level: samples, and the level of the ends.

    >>> from biasvar.analysis import measure_indicators
    >>> soft_labels = [[0.9, 0.05, 0.05], [0.05, 0.9, 0.05], [0.05, 0.05, 0.9]] * 200
    >>> found = measure_indicators(soft_labels, [0, 1, 2] * 200, ks=[1])
    >>> found.guarantee().stands, found.guarantee().k
    (True, 1)
    """

    k: int | None
    threshold: float | None
    deltas: np.ndarray
    gammas: np.ndarray
    ends: ClassEnds
    average_error: Interval
    average_rule: str
    n: int
    level: float

    def __repr__(self) -> str:
        sums, _, high = self.sums
        worst = int(sums.argmax())
        said = "stands" if self.stands else f"fails in classes {self.failing}, not shown for {self.undecided}"
        return f"<Guarantee {said}: largest sum {sums[worst]:.4g} (class {worst}), upper end {high.max():.4g}>"

    @property
    def sums(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`(K,)` Delta_c + gamma_c: estimates, lower and upper ends."""
        ends = self.ends
        return self.deltas + self.gammas, ends.delta_low + ends.gamma_low, ends.delta_high + ends.gamma_high

    @property
    def failing(self) -> tuple[int, ...]:
        """Classes whose Delta_c + gamma_c is 1 or more beyond its interval, the largest first."""
        sums, low, _ = self.sums
        return tuple(int(c) for c in np.argsort(-sums, kind="stable") if low[c] >= 1.0)

    @property
    def undecided(self) -> tuple[int, ...]:
        """Classes whose interval of Delta_c + gamma_c holds 1, the largest first."""
        sums, low, high = self.sums
        return tuple(int(c) for c in np.argsort(-sums, kind="stable") if low[c] < 1.0 <= high[c])

    @property
    def stands(self) -> bool:
        """True if every class's Delta_c + gamma_c is below 1 beyond its interval."""
        return not self.failing and not self.undecided

    def bounds(
        self,
        *,
        error: float | None = None,
        risk: float = 0.05,
        hypotheses: float | None = None,
        dimension: int | None = None,
        estimates: bool = False,
    ) -> Learnability:
        """`learnability` at the upper ends of all classes, which is what is guaranteed; or at their estimates.

        Where the guarantee does not stand, `holds` is False, the exponent 0, transfer and samples infinite.
        `average_error` of the result goes by the largest Delta_c; that of the guarantee by the average.
        """
        delta = self.deltas if estimates else self.ends.delta_high
        gamma = self.gammas if estimates else self.ends.gamma_high
        classes = None if dimension is None else len(delta)
        return learnability(
            delta, gamma, error=error, risk=risk, hypotheses=hypotheses, dimension=dimension, num_classes=classes
        )


def best_guarantee(sets: Sequence[SetCounts], method: str, level: float) -> Guarantee:
    """The guarantee of the rule that guarantees most, with intervals that hold for all rules together."""
    joint = 1.0 - (1.0 - check_level(level)) / len(sets)
    ends = [class_ends(counts, method, joint) for counts in sets]
    place = min(range(len(sets)), key=lambda rule: _order(ends[rule]))
    errors = [_average_error(counts, method, joint, level) for counts in sets]
    least = min(range(len(sets)), key=lambda rule: (errors[rule].high, errors[rule].estimate))
    counts = sets[place]
    return Guarantee(
        counts.k, counts.threshold, counts.deltas, counts.gammas, ends[place], errors[least], sets[least].rule,
        counts.n, level,
    )  # fmt: skip


def _order(ends: ClassEnds) -> tuple[float, float]:
    """Smaller for a rule that guarantees more."""
    return -learnability_exponent(ends.delta_high, ends.gamma_high), float((ends.delta_high + ends.gamma_high).max())


def _average_error(counts: SetCounts, method: str, joint: float, level: float) -> Interval:
    half = 1.0 - (1.0 - joint) / 2.0
    delta, gamma = delta_interval(counts, method, half), gamma_interval(counts, method, half)
    value, low, high = (average_error(getattr(delta, end), getattr(gamma, end)) for end in ("estimate", "low", "high"))
    return Interval(value, low, high, float("nan"), counts.units, level)
