"""Indicators read off the counts: single values, the table by k, pairs, classes, and the choice of k."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from biasvar.analysis.indicators.counts import SetCounts
from biasvar.analysis.indicators.guarantee import Guarantee, best_guarantee
from biasvar.analysis.indicators.intervals import (
    IndicatorIntervals,
    count_intervals,
    delta_interval,
    gamma_interval,
    marginal_interval,
)
from biasvar.analysis.indicators.learnability import learnability_exponent
from biasvar.analysis.indicators.student_condition import MeanLabels, StudentCondition
from biasvar.analysis.statistics.intervals import Interval, check_level
from biasvar.arguments import checked
from biasvar.messages import first_few

if TYPE_CHECKING:
    import pandas as pd

VERSIONS = ("class", "marginal")
CHOICES = {"sum": "smallest", "worst_class_sum": "smallest", "kappa": "largest", "kappa_classes": "largest"}


@dataclass(frozen=True, eq=False)
class Indicator:
    """A probability over samples with its interval, by class, and where it is worst.

    `float()` gives the value; printed, it is the value with its interval and where it is worst.

    Attributes:
        value: the indicator, in [0, 1].
        interval: `Interval` of the value.
        per_class: `(K,)`, the indicator within each class, NaN where a class has no samples; of the marginal ambiguity,
            by wrong label.
        worst: of unreliability the worst class; of ambiguity (true class, wrong class), or the wrong class if marginal.
        n: samples. Its interval's n counts clusters, where rows come in them.
        ties: samples in which a tie at the edge of the set leaves the rule a choice.
        tie_range: smallest and largest value that choices could give.
        floor: (mean set size - 1 + Delta) / (K - 1), which ambiguity cannot lie below; NaN for unreliability.

    >>> from biasvar.analysis import unreliability
    >>> found = unreliability([[0.6, 0.3, 0.1], [0.5, 0.2, 0.3], [0.1, 0.7, 0.2]], [0, 1, 2], k=2)
    >>> round(float(found), 3), found.n, found.worst, found.per_class.tolist()
    (0.333, 3, 1, [0.0, 1.0, 0.0])
    """

    value: float
    interval: Interval
    per_class: np.ndarray
    worst: int | tuple[int, int]
    n: int
    ties: int
    tie_range: tuple[float, float]
    floor: float

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        where = "class {}, label {}".format(*self.worst) if isinstance(self.worst, tuple) else f"{self.worst}"
        ties = f", {self.ties:,} ties" if self.ties else ""
        return f"{self.interval}; worst: {where}{ties}"

    def __repr__(self) -> str:
        return f"<Indicator {self}>"


@dataclass(frozen=True, eq=False)
class Indicators:
    """All that one pass over soft labels counted; see `measure_indicators` and `IndicatorAccumulator`.

    Attributes:
        sets: `SetCounts` for every k and threshold, in the order asked for.
        means: sums of soft labels by class, or None where they were not asked for.
        ties, seed: how ties were broken.

    >>> from biasvar.analysis import measure_indicators
    >>> found = measure_indicators([[0.6, 0.3, 0.1], [0.5, 0.2, 0.3], [0.1, 0.7, 0.2]], [0, 1, 2], ks=[1, 2])
    >>> found
    <Indicators of 3 soft labels over 3 classes: k = 1, k = 2>
    >>> found.ambiguity(k=1).worst
    (1, 0)
    """

    sets: tuple[SetCounts, ...]
    means: MeanLabels | None
    ties: str
    seed: int

    def __repr__(self) -> str:
        one = self.sets[0]
        rules = ", ".join(counts.rule for counts in self.sets)
        return f"<Indicators of {one.n:,} soft labels over {one.num_classes:,} classes: {rules}>"

    @checked
    def counts(self, *, k: int | None = None, threshold: float | None = None) -> SetCounts:
        """The counts at one k or threshold; without either, if there is only one."""
        if k is None and threshold is None and len(self.sets) == 1:
            return self.sets[0]
        for counts in self.sets:
            if (k, threshold) == (counts.k, counts.threshold):
                return counts
        there = ", ".join(counts.rule for counts in self.sets)
        raise ValueError(f"name one k or one threshold that was counted: {there}; got k={k}, threshold={threshold}")

    @checked
    def unreliability(
        self, *, k: int | None = None, threshold: float | None = None, interval: str = "exact", level: float = 0.95
    ) -> Indicator:
        """Delta; see `biasvar.unreliability`."""
        counts = self.counts(k=k, threshold=threshold)
        return delta_of(counts, delta_interval(counts, interval, level))

    @checked
    def ambiguity(
        self,
        *,
        k: int | None = None,
        threshold: float | None = None,
        version: str = "class",
        interval: str = "exact",
        level: float = 0.95,
    ) -> Indicator:
        """gamma; see `biasvar.ambiguity`."""
        counts = self.counts(k=k, threshold=threshold)
        if version == "class":
            require_all_classes(counts)
            return gamma_of(counts, gamma_interval(counts, interval, level))
        require_version(counts, version)
        return marginal_of(counts, marginal_interval(counts, interval, level))

    @checked
    def table(self, *, interval: str = "exact", level: float = 0.95) -> pd.DataFrame:
        """One row per k and threshold; columns as in `biasvar.effectiveness`, margin where mean labels were kept."""
        return self.with_margin(
            table_of(self.sets, [self._intervals(counts, interval, level) for counts in self.sets]), level
        )

    @checked
    def with_margin(self, table: pd.DataFrame, level: float) -> pd.DataFrame:
        """The table, with the condition for students trained by cross-entropy beside that of the sets."""
        if self.means is None:
            return table
        student = self.student_condition(level=level)
        ends = {"margin": student.margins, "margin_low": student.low, "margin_high": student.high}
        return table.assign(**{name: float(values.min()) for name, values in ends.items()})

    @checked
    def best(self, *, by: str = "sum", interval: str = "exact", level: float = 0.95) -> pd.Series[Any]:
        """The row of the table with the smallest sum or worst_class_sum, or the largest kappa or kappa_classes.

        Its intervals hold after the choice: they are those at level 1 - (1 - level) / rows, which hold in all rows
        together. Of equals the first is taken.
        """
        if by not in CHOICES:
            raise ValueError(f"by must be one of {', '.join(CHOICES)}, got {by!r}")
        table = self.table(interval=interval, level=1.0 - (1.0 - check_level(level)) / len(self.sets))
        place = table[by].argmin() if CHOICES[by] == "smallest" else table[by].argmax()
        return table.iloc[int(place)]

    @checked
    def guarantee(self, *, interval: str = "exact", level: float = 0.95) -> Guarantee:
        """What all classes together guarantee at the rule that guarantees most; see `Guarantee`."""
        for counts in self.sets:
            require_all_classes(counts)
        return best_guarantee(self.sets, interval, level)

    @checked
    def pairs(self, *, k: int | None = None, threshold: float | None = None, top: int = 10, level: float = 0.95) -> Any:
        """The (true class, wrong label) pairs most often in one set: true, wrong, share, low, high, count, n.

        A frame of at most `top` rows, the most confusable first, of classes that have samples; intervals hold for all
        K (K - 1) pairs together.
        """
        import pandas as pd

        counts = self.counts(k=k, threshold=threshold)
        if top < 1:
            raise ValueError(f"top must be at least 1, got {top}")
        classes = counts.num_classes
        shares = np.where(np.eye(classes, dtype=bool), np.nan, counts.rates()).reshape(-1)
        order = np.argsort(-shares, kind="stable")[: min(top, int(np.isfinite(shares).sum()))]
        true, wrong = order // classes, order % classes
        count, n = counts.members[true, wrong], counts.class_sizes[true]
        low, high = counts.label_ends(true, wrong, "exact", (1.0 - check_level(level)) / (classes * (classes - 1)))
        columns = {"true": true, "wrong": wrong, "share": count / n, "low": low, "high": high, "count": count, "n": n}
        return pd.DataFrame(columns)

    @checked
    def per_class(
        self, *, k: int | None = None, threshold: float | None = None, interval: str = "exact", level: float = 0.95
    ) -> pd.DataFrame:
        """One row per class: class, n, delta, gamma, sum with ends, rival (the label of gamma), kappa, set_size.

        A class without samples has n 0 and NaN in all that follows (its rival is missing). Intervals hold in every
        class by itself, gamma's for the K - 1 wrong labels of it together.
        """
        import pandas as pd

        counts = self.counts(k=k, threshold=threshold)
        alpha, sizes = 1.0 - check_level(level), counts.class_sizes
        columns: dict[str, Any] = {"class": np.arange(counts.num_classes), "n": sizes}
        wrong = counts.num_classes - 1
        for name, values, ends, tests in (
            ("delta", counts.deltas, counts.missed_ends, 1),
            ("gamma", counts.gammas, counts.rival_ends, wrong),
        ):
            low, high = ends(interval, alpha / tests)
            columns |= {name: values, f"{name}_low": low, f"{name}_high": high}
        missed, rival = (ends(interval, alpha / (wrong + 1)) for ends in (counts.missed_ends, counts.rival_ends))
        columns |= {"sum": counts.deltas + counts.gammas, "sum_low": missed[0] + rival[0]}
        columns |= {"sum_high": missed[1] + rival[1], "rival": counts.rivals}
        there = sizes > 0
        columns["kappa"] = [
            learnability_exponent(delta, gamma) if known else math.nan
            for delta, gamma, known in zip(counts.deltas, counts.gammas, there, strict=True)
        ]
        columns["set_size"] = counts.members.sum(axis=1) / np.maximum(sizes, 1)
        table = pd.DataFrame(columns)
        if there.all():
            return table
        return table.astype({"rival": "Int64"}).mask(np.outer(~there, ~table.columns.isin(["class", "n"])))

    @checked
    def student_condition(self, *, level: float = 0.95) -> StudentCondition:
        """The condition for students trained by cross-entropy; see `biasvar.analysis.student_condition`."""
        if self.means is None:
            raise ValueError("sums of soft labels by class were not kept; count with mean_labels=True")
        return self.means.result(level)

    def _intervals(self, counts: SetCounts, method: str, level: float) -> IndicatorIntervals:
        require_all_classes(counts)
        return count_intervals(counts, method, level)


def delta_of(counts: SetCounts, interval: Interval) -> Indicator:
    """Unreliability from counts and its interval."""
    deltas, spread = counts.deltas, counts.tie_range()["delta"]
    return Indicator(counts.delta, interval, deltas, int(np.nanargmax(deltas)), counts.n, counts.ties, spread, math.nan)


def gamma_of(counts: SetCounts, interval: Interval) -> Indicator:
    """Class-conditional ambiguity from counts and its interval."""
    true = int(np.argmax(counts.gammas))
    worst, spread = (true, int(counts.rivals[true])), counts.tie_range()["class"]
    return Indicator(counts.gamma, interval, counts.gammas, worst, counts.n, counts.ties, spread, counts.floor)


def marginal_of(counts: SetCounts, interval: Interval) -> Indicator:
    """Marginal ambiguity from counts and its interval."""
    shares = counts.marginal_counts / counts.marginal_sizes
    worst, spread = int(np.argmax(shares)), counts.tie_range()["marginal"]
    return Indicator(float(shares[worst]), interval, shares, worst, counts.n, counts.ties, spread, counts.floor)


def table_of(sets: Iterable[SetCounts], intervals: Iterable[IndicatorIntervals]) -> pd.DataFrame:
    """One row for each; columns as in `biasvar.effectiveness`."""
    import pandas as pd

    frame = pd.DataFrame([_row(counts, found) for counts, found in zip(sets, intervals, strict=True)])
    return frame.astype({"k": "Int64"}) if frame["k"].isna().any() else frame


def require_all_classes(counts: SetCounts) -> None:
    """Refuse classes without samples where a maximum over all classes is asked for."""
    empty = np.flatnonzero(counts.class_sizes == 0)
    if len(empty):
        raise ValueError(
            f"labels must contain every class 0 .. {counts.num_classes - 1};"
            f" class {first_few(empty.tolist())} has no samples, and a maximum over all classes may be there"
            " (unreliability, the marginal ambiguity, pairs and per_class do without)"
        )


def require_version(counts: SetCounts, version: str) -> None:
    """Refuse unknown versions of ambiguity, and the marginal one of a single class."""
    if version not in VERSIONS:
        raise ValueError(f"version must be one of {', '.join(VERSIONS)}, got {version!r}")
    if version == "marginal" and (counts.class_sizes > 0).sum() < 2:
        raise ValueError("the marginal ambiguity needs samples of at least two classes")


def warn_of_ties(sets: Iterable[SetCounts], ties: str, seed: int, names: dict[str, str], stacklevel: int) -> None:
    """A UserWarning with the least and the greatest value, where a draw among ties can change one of `names`."""
    said = []
    for counts in sets:
        spread = counts.tie_range() if ties != "include" and counts.ties else {}
        moved = [f"{name} within {low:.4g} .. {high:.4g}" for key, name in names.items()
                 for low, high in [spread.get(key, (0.0, 0.0))] if low != high]  # fmt: skip
        if moved:
            said.append(f"at {counts.rule}, {counts.ties} samples, the {' and the '.join(moved)}")
    if said:
        warnings.warn(
            f"ties at the edge of sets were broken at random (seed {seed}); another draw can move " + "; ".join(said),
            UserWarning,
            stacklevel=stacklevel + 1,
        )


def _row(counts: SetCounts, found: IndicatorIntervals) -> dict[str, Any]:
    sums = counts.deltas + counts.gammas
    true = int(np.argmax(counts.gammas))
    row: dict[str, Any] = {
        "k": counts.k,
        "threshold": math.nan if counts.threshold is None else counts.threshold,
        "delta": counts.delta,
        "gamma": counts.gamma,
        "sum": counts.delta + counts.gamma,
        "worst_class_sum": float(sums.max()),
        "kappa": found.kappa.estimate,
        "kappa_classes": learnability_exponent(counts.deltas, counts.gammas),
        "floor": counts.floor,
        "set_size": counts.set_size,
        "marginal": float(np.max(counts.marginal_counts / counts.marginal_sizes)),
    }
    for name in ("delta", "gamma", "sum", "worst_class_sum", "kappa", "kappa_classes"):
        row |= {f"{name}_low": getattr(found, name).low, f"{name}_high": getattr(found, name).high}
    worst = {"worst_class": int(np.argmax(sums)), "worst_true": true, "worst_wrong": int(counts.rivals[true])}
    return row | worst | {"n": counts.n, "ties": counts.ties}
