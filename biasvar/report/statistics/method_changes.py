"""What each method changes of bias and variance against cross-entropy, with its error over all that was drawn."""

from __future__ import annotations

from typing import Any

import pandas as pd

from biasvar.records import Run
from biasvar.report.arms.roles import arms_with_role, baseline_of, core_arms, failed_arms, taken_over
from biasvar.report.statistics.estimates import TERMS, Estimate, columns, term_change

ABOUT = (
    *("run", "arm", "label", "loss", "plays", "role", "regime", "control", "split", "epoch", "replicas", "failed"),
    *("n_replicas", "n_samples", "n_teachers"),
)
NUMBERS = (
    *("estimate", "low", "high", "stderr", "df", "low_replicas", "high_replicas", "stderr_replicas"),
    *("stderr_samples", "stderr_teachers"),
)
COLUMNS = [*ABOUT, "term", *NUMBERS]


def compared_methods(run: Run, runs: list[Run]) -> list[str]:
    """The arms that are compared with cross-entropy: main ones and other regimes, without failed and shown ones."""
    left = {*failed_arms(run), *taken_over(run, runs)}
    shown = arms_with_role(run, ("main", "regime"))
    return [arm for arm in shown if arm not in left and baseline_of(run, arm) != arm]


def first_arms(run: Run, arms: list[str], most: int) -> list[str]:
    """At most so many of some arms, in their order: those that the study turns on before all others."""
    core = core_arms(run)
    kept = sorted(arms, key=lambda arm: arm not in core)[:most]
    return [arm for arm in arms if arm in kept]


def method_changes(run: Run, arms: list[str]) -> pd.DataFrame:
    """One row per arm and term: the change from cross-entropy on held-out rows; see `numbers` for its intervals.

    Cross-entropy is that of the arm's own network where the run has it.
    """
    failed = failed_arms(run)
    paired = [(arm, control) for arm in arms if (control := baseline_of(run, arm)) and control not in failed]
    changes = [term_change(run, arm, control, term) for arm, control in paired for term in TERMS]
    rows = [row for row in changes if row is not None]
    found = [{**columns(row, ABOUT), "term": row.quantity, **numbers(row)} for row in rows]
    return pd.DataFrame(found, columns=COLUMNS)


def numbers(row: Estimate) -> dict[str, Any]:
    """An estimate with two intervals: over all that was drawn, and over replicas alone."""
    assert row.crossed is not None  # every change of a term has one
    interval = row.crossed.interval()
    return {
        "estimate": row.estimate, "low": interval.low, "high": interval.high, "stderr": row.crossed.stderr,
        "df": row.crossed.df, "low_replicas": row.low, "high_replicas": row.high, "stderr_replicas": row.stderr,
        "stderr_samples": row.stderr_samples, "stderr_teachers": row.stderr_teachers,
    }  # fmt: skip
