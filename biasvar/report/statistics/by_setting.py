"""Rows of a quantity against a setting that a few arms differ in, for figures of ablations."""

from __future__ import annotations

from typing import Any

from biasvar.records import Run
from biasvar.report.arms.description import arm_label
from biasvar.report.arms.roles import failed_replicas
from biasvar.report.arms.series import Series
from biasvar.report.statistics.estimates import INTERVAL, columns, final_level

COLUMNS = [
    "run", "series", "arm", "label", "loss", "teacher", "regime", "setting", "value", "held", "held_value", "quantity",
    "estimate", "low", "high", "stderr", "n_replicas", "n", "split", "epochs", "failed", "reference",
]  # fmt: skip


def about(run: Run, one: Series, arm: str, value: float) -> dict[str, Any]:
    """What a row of `COLUMNS` says of its arm, whose setting has a value."""
    entry = run.entry(arm)
    held = "alpha" if one.setting == "temperature" else "temperature"
    said = {"loss": entry.loss, "teacher": entry.teacher, "regime": entry.regime}
    return {
        "run": run.name, "series": one.name, "arm": arm, "label": arm_label(run, arm), **said,
        "setting": one.setting, "value": value, "held": held, "held_value": entry.setting(held),
        "failed": len(failed_replicas(run, arm)), "reference": one.reference,
    }  # fmt: skip


def accuracy_row(run: Run, one: Series, arm: str, value: float) -> dict[str, Any] | None:
    """The row of an arm's accuracy; None where it was never evaluated on held-out rows."""
    accuracy = final_level(run, arm, "accuracy")
    if accuracy is None:
        return None
    numbers = columns(accuracy, (*INTERVAL, "split", "quantity")) | {"n": accuracy.n_samples, "epochs": 1}
    return {**about(run, one, arm, value), **numbers}
