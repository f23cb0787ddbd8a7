"""The soft labels that students of an arm learn from: what the study says of them, their kind, how they are fitted."""

from __future__ import annotations

from typing import Any

from biasvar.records import Run
from biasvar.report.statistics import label_indicators, stored
from biasvar.report.statistics.estimates import columns, final_level
from biasvar.report.style import Look

AVERAGE, CANDIDATES, SQUARED = "soft_label", "candidates", "squared_error"
"""How students fit a soft label: cross-entropy with it, the probability of any candidate, squared error."""

KINDS: dict[str, Look] = {
    "label": Look("#222222", "*", "", "true labels"),
    "smoothing": Look("#a87400", "D", "", "label smoothing"),
    "teacher": Look("#1f78c1", "o", "", "teacher"),
    "bad teacher": Look("#d55e00", "X", "", "teacher made bad"),
    "revision": Look("#00808a", "P", "", "revised teacher"),
    "partial": Look("#009e73", "s", "", "partial labels"),
    "noise": Look("#9c4fb3", "^", "", "additive noise"),
    "votes": Look("#cc79a7", "v", "", "people's votes"),
    "random": Look("#6b6b6b", "h", "", "chance"),
    "student": Look("#56b4e9", "<", "", "students of an earlier round"),
    "file": Look("#8c564b", "p", "", "a file"),
    "pattern": Look("#5b6c2f", "d", "", "a fixed pattern"),
    "mixture": Look("#7f7f00", "H", "", "a mixture"),
}
"""How every kind of soft label is drawn and named."""


def definition(run: Run, arm: str) -> dict[str, Any]:
    """What the study says of the soft label that an arm's students learn from; empty if they learn from none."""
    soft_labels = (run.study or {}).get("soft_labels") or {}
    said: dict[str, Any] = soft_labels.get(run.entry(arm).soft_label) or {}
    return said


def kind(run: Run, arm: str) -> str:
    """The kind of an arm's soft label, one of `KINDS`: a teacher that was taught to be wrong is apart."""
    said = definition(run, arm)
    teacher = ((run.study or {}).get("teachers") or {}).get(said.get("teacher")) or {}
    return "bad teacher" if said.get("kind") == "teacher" and teacher.get("bad") else str(said.get("kind", ""))


def fit(run: Run, arm: str) -> str:
    """How an arm's students fit their soft label: `AVERAGE`, `CANDIDATES` or `SQUARED`."""
    said = str(run.entry(arm).setting("measure") or AVERAGE)
    return said if said in (CANDIDATES, SQUARED) else AVERAGE


def finished_arms(run: Run) -> list[str]:
    """The arms taught by stored soft labels alone whose students have been evaluated on test rows."""
    frame = stored.metrics(run)
    tested = set(frame.loc[(frame["split"] == "test") & (frame["view"] == "clean"), "arm"])
    return [arm for arm in label_indicators.soft_label_arms(run) if arm in tested and definition(run, arm)]


def truth_arm(run: Run) -> str | None:
    """The first arm whose students learned from the true label of every row; None if there is none."""
    for arm in finished_arms(run):
        said = definition(run, arm)
        if said["kind"] == "label" and not said.get("labelled") and fit(run, arm) == AVERAGE:
            return arm
    return None


def accuracy(run: Run, arm: str) -> dict[str, Any]:
    """Mean final test accuracy over replicas with its 95 % t interval and the number of rows, as columns of a frame."""
    row = final_level(run, arm, "accuracy")
    assert row is not None  # the arm is one of those that `finished_arms` lists
    return {**columns(row), "quantity": "accuracy", "n": row.n_samples}
