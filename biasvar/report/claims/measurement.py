"""What a claim is judged by: a row of the table of estimates, and what it must exceed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from biasvar.analysis.statistics.crossed import Component, Crossed, combined
from biasvar.analysis.statistics.verdicts import Verdict, decision_p_value, judge
from biasvar.records import Run
from biasvar.report.statistics.estimates import Estimate


@dataclass(frozen=True, eq=False)
class Measurement:
    """One part of a claim; a claim holds if all its parts do.

    Attributes:
        test: What is compared, in words.
        row: The estimate, a row of the table of estimates. It is judged by its error over all that was drawn
            (`row.crossed`); where that is None, by the one behind its interval.
        threshold: It must lie beyond this, on the side that `direction` says; for "differs", beyond it on either side
            of 0.
        direction: "greater", "less" or "differs".
        unit: "nats", "squared error", "accuracy", "share", "rank correlation", "AUC", "of the gain" (a ratio), "times"
            (another).
        fisher: Judged on Fisher's z of the estimate, a correlation.
        draws: Bootstrap draws of the estimate, whose percentiles are then the interval; None for a t interval.
        undecided: Why it is undecided whatever the numbers say; "" if it is not.
    """

    test: str
    row: Estimate
    threshold: float
    direction: str
    unit: str
    fisher: bool = False
    draws: np.ndarray | None = None
    undecided: str = ""

    @property
    def n(self) -> int:
        """What the estimate is over: teachers (or other sources of soft labels), else replicas, else samples."""
        row = self.row
        return row.n_teachers if row.n_teachers is not None else row.n_replicas or row.n_samples

    @property
    def crossed(self) -> Crossed:
        """The estimate with the error that it is judged by."""
        row = self.row
        if row.crossed is not None:
            return row.crossed
        return combined(row.estimate, {self._unit: Component(row.stderr, row.df, self.n)})

    @property
    def on_scale(self) -> Crossed:
        """The same on the scale of the error: of a correlation, Fisher's z."""
        crossed = self.crossed
        if not self.fisher:
            return crossed
        steep = 1 - self.row.estimate**2
        parts = {name: replace(part, stderr=part.stderr / steep) for name, part in crossed.components.items()}
        return combined(math.atanh(self.row.estimate), parts)

    @property
    def gap(self) -> float:
        """How far the estimate lies from the threshold that decides, on the scale of the error."""
        effect, _, smallest, _ = self._judged(math.nan)
        if self.direction == "differs":
            return abs(effect) - smallest
        return effect if self.direction == "greater" else -effect

    @property
    def p_value(self) -> float:
        """The p value of the decision, whichever way it goes; NaN, which counts as a test, where none is made."""
        if self.undecided:
            return math.nan
        crossed = self.crossed
        effect, stderr, smallest, _ = self._judged(crossed.stderr)
        return decision_p_value(
            effect, stderr, crossed.df, direction=self.direction, smallest_effect=smallest, draws=self._draws
        )

    def verdict(self, level: float, *, replicas: bool = False) -> tuple[Verdict, Callable[[float], float]]:
        """The verdict at a level, and the way from the verdict's scale to that of the unit.

        Args:
            replicas: by the error over replicas alone: on these rows, with these teachers.
        """
        stderr, df = (self.row.stderr, self.row.df) if replicas else (self.crossed.stderr, self.crossed.df)
        effect, error, smallest, offset = self._judged(stderr)
        verdict = judge(
            effect, error, df, self.n, direction=self.direction, smallest_effect=smallest, alpha=level,
            draws=self._draws,
        )  # fmt: skip
        scale = math.tanh if self.fisher else float
        return verdict, lambda value: scale(value + offset)

    @property
    def _unit(self) -> str:
        if self.fisher or (self.row.n_teachers is not None and self.draws is None):
            return "teachers"
        return "soft labels" if self.draws is not None else "replicas" if self.row.n_replicas else "rows"

    def _judged(self, stderr: float) -> tuple[float, float, float, float]:
        """Effect, error and smallest effect for `judge`, whose thresholds lie on the claimed side of 0; the offset."""
        effect, threshold = self.row.estimate, self.threshold
        if self.fisher:
            stderr /= 1 - effect**2
            effect, threshold = math.atanh(effect), math.atanh(threshold)
        if self.direction == "differs":
            return effect, stderr, threshold, 0.0
        return effect - threshold, stderr, 0.0, threshold

    @property
    def _draws(self) -> np.ndarray | None:
        return None if self.draws is None else self.draws - self.threshold


Roles = Mapping[str, Any]
Measure = Callable[[Run, Roles], list[Measurement]]
"""From the run and the arms of a claim's roles, by the claim's entry in the study, to its parts; empty without data."""
