"""Measures that claims of several papers share: differences of accuracy, and changes of bias and variance."""

from __future__ import annotations

from collections.abc import Sequence

from biasvar.records import Run
from biasvar.report.arms.description import arm_label
from biasvar.report.claims.measurement import Measure, Measurement, Roles
from biasvar.report.statistics.estimates import (
    Estimate,
    accuracy_combination,
    decomposition_term,
    final_metrics,
    term_change,
)
from biasvar.study.ledger.base import ACCURACY, TERM


def versus(run: Run, a: str, b: str) -> str:
    """Two arms in words, the first less the second."""
    return f"{arm_label(run, a)} − {arm_label(run, b)}"


def change_of_term(term: str, direction: str) -> Measure:
    """Mean change of corrected bias or variance, treatment against control; test rows."""

    def measure(run: Run, roles: Roles) -> list[Measurement]:
        treatment, control = roles["treatment"], roles["control"]
        row, base = term_change(run, treatment, control, term), decomposition_term(run, control, term)
        if row is None or base is None:
            return []
        smallest = TERM * abs(base.estimate)
        threshold = -smallest if direction == "less" else smallest
        return [Measurement(f"mean {term}, {versus(run, treatment, control)}", row, threshold, direction, "nats")]

    return measure


def accuracy_difference(*pairs: tuple[str, str], direction: str, threshold: float | None = None) -> Measure:
    """Final test accuracy of one role's arm less another's, paired by replica; one part a pair of roles."""
    limit = threshold if threshold is not None else (-ACCURACY if direction == "less" else ACCURACY)

    def measure(run: Run, roles: Roles) -> list[Measurement]:
        found = []
        for a, b in pairs:
            row = accuracy_combination(run, [roles[a]], [roles[b]])
            if row is not None:
                test = f"test accuracy, {versus(run, roles[a], roles[b])}{over_copies(row)}"
                found.append(Measurement(test, row, limit, direction, "accuracy"))
        return found

    return measure


def best_on_validation(run: Run, arms: Sequence[str]) -> str | None:
    """The arm with the highest mean accuracy on validation rows after the last epoch, the first of equal ones.

    None where an arm has no such accuracy. Test rows have no part in it.
    """
    means: dict[str, float] = {}
    for arm in arms:
        final = final_metrics(run, arm, ("validation",))
        if final is None or final["accuracy"].isna().any():
            return None
        means[arm] = float(final["accuracy"].mean())
    return max(means, key=lambda arm: means[arm], default=None)


def over_copies(row: Estimate) -> str:
    """How a test says that its error is over copies of teachers."""
    return "" if row.n_teachers is None else f", over {row.n_teachers} copies of each teacher (n counts them)"
