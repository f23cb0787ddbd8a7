"""What each method changes of bias and variance against cross-entropy, with its error over all that was drawn."""

from __future__ import annotations

from typing import Any

import pandas as pd

from biasvar.records import Run
from biasvar.report.arms.roles import arms_with_role, failed_arms, reference_arm, taken_over
from biasvar.report.statistics.estimates import TERMS, Estimate, columns, term_change

ABOUT = (
    *("run", "arm", "label", "loss", "plays", "role", "regime", "control", "split", "epoch", "replicas", "failed"),
    *("n_replicas", "n_samples", "n_teachers"),
)
NUMBERS = (
    *("estimate", "low", "high", "stderr", "df", "low_replicas", "high_replicas", "stderr_replicas"),
    *("stderr_samples", "stderr_teachers"),
)


def compared_methods(run: Run, runs: list[Run]) -> list[str]:
    """The arms that are compared with cross-entropy: main ones and other regimes, without failed and shown ones."""
    left = {reference_arm(run), *failed_arms(run), *taken_over(run, runs)}
    return [arm for arm in arms_with_role(run, ("main", "regime")) if arm not in left]


def method_changes(run: Run, arms: list[str]) -> pd.DataFrame:
    """One row per arm and term: the change from cross-entropy on held-out rows; see `numbers` for its intervals."""
    control = reference_arm(run)
    if control is None or control in failed_arms(run):
        return pd.DataFrame(columns=[*ABOUT, "term", *NUMBERS])
    rows = [row for arm in arms for term in TERMS if (row := term_change(run, arm, control, term)) is not None]
    found = [{**columns(row, ABOUT), "term": row.quantity, **numbers(row)} for row in rows]
    return pd.DataFrame(found, columns=[*ABOUT, "term", *NUMBERS])


def numbers(row: Estimate) -> dict[str, Any]:
    """An estimate with two intervals: over all that was drawn, and over replicas alone."""
    assert row.crossed is not None  # every change of a term has one
    interval = row.crossed.interval()
    return {
        "estimate": row.estimate, "low": interval.low, "high": interval.high, "stderr": row.crossed.stderr,
        "df": row.crossed.df, "low_replicas": row.low, "high_replicas": row.high, "stderr_replicas": row.stderr,
        "stderr_samples": row.stderr_samples, "stderr_teachers": row.stderr_teachers,
    }  # fmt: skip
