"""The budget of every arm in words: a table for the page, and which arms had not converged."""

from __future__ import annotations

import math
from typing import Any

from biasvar.records import Run
from biasvar.report.arms.description import arm_label
from biasvar.report.arms.roles import ROLES
from biasvar.report.arms.teachers import teacher_label
from biasvar.report.statistics.budgets import CONVERGED, budgets
from biasvar.report.statistics.changes import each
from biasvar.report.text.numbers import plain_number, short_number, signed

MOST_NAMED = 12


def budget_rows(run: Run) -> list[dict[str, str]]:
    """What each arm was given and took, for a table; no rows for a run that is no study."""
    return [
        {
            "label": row.label,
            "arm": row.arm,
            "chosen_on": _chosen_on(run, row.family),
            "rate": plain_number(row.learning_rate),
            "tried": f"{row.settings_tried} × {row.tuning_replicas}" if row.settings_tried else "given",
            "steps": _whole(row.steps),
            "timed": row.timed,
            "seconds": _seconds(row.seconds),
            "teacher": _teacher(row, teacher_label(run, row.teacher)) if row.teacher else "–",
            "rise": _rise(row),
            "converged": row.converged,
        }
        for row in each(budgets(run))
    ]


def not_converged(run: Run) -> list[str]:
    """A sentence that names the arms whose validation accuracy still rose at the end; none if there are none."""
    frame = budgets(run)
    frame = frame[frame["role"].isin(ROLES) & (frame["rise"] >= CONVERGED)]
    if frame.empty:
        return []
    named = [f"{row.label} ({_rise(row)})" for row in each(frame)]
    more = f" and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
    return [
        f"Not converged, with a rise of validation accuracy of {short_number(CONVERGED)} or more over the last quarter "
        f"of the epochs (± standard error over replicas): {'; '.join(named[:MOST_NAMED])}{more}. What is said of these "
        "arms holds for as many epochs."
    ]


def _chosen_on(run: Run, family: str | None) -> str:
    """The arm on which the rate was chosen that the arms of a family take; a dash where it was given."""
    tuning = run.tuning
    arms = [] if tuning is None else tuning.loc[tuning["family"] == family, "arm"].unique().tolist()
    return ", ".join(arm_label(run, str(arm)) for arm in arms) or "–"


def _rise(row: Any) -> str:
    if not math.isfinite(row.rise):
        return "–"
    return signed(row.rise, 4) + (f" ± {row.rise_stderr:.4f}" if math.isfinite(row.rise_stderr) else "")


def _whole(value: float) -> str:
    return f"{value:,.0f}" if math.isfinite(value) else "–"


def _seconds(value: float) -> str:
    return f"{value:.2g}" if 0 < value < 10 else _whole(value)


def _teacher(row: Any, label: str) -> str:
    if not math.isfinite(row.teacher_seconds):
        return f"{label}, time not known"
    networks = "" if row.teacher_networks == 1 else f"{row.teacher_networks} networks of "
    return f"{label}: {networks}{_seconds(row.teacher_seconds)} s"
