"""What measures the claims on teachers that train along with their students (ProKT)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from biasvar.analysis import Change, Decomposition, paired_change
from biasvar.analysis.arrays import Array
from biasvar.analysis.decomposition.crossing import crossed_total
from biasvar.messages import first_few
from biasvar.records import Run
from biasvar.report.arms.description import arm_label
from biasvar.report.claims.common import accuracy_difference, best_on_validation, change_of_term, versus
from biasvar.report.claims.measurement import Measure, Measurement, Roles
from biasvar.report.statistics import stored
from biasvar.report.statistics.estimates import from_total, over_pairs
from biasvar.report.statistics.shares import LATE, epochs_of
from biasvar.study.ledger.base import TERM

EARLY = 0.1
"""The part of the epochs that a path begins with."""


def pull_and_accuracy(run: Run, roles: Roles) -> list[Measurement]:
    """Test accuracy of the pull that is best on validation rows less that of no pull (P2)."""
    arms, control = list(roles["arms"]), roles["control"]
    best = best_on_validation(run, arms)
    if best is None:
        return []
    parts = accuracy_difference(("treatment", "control"), direction="greater")(
        run, {"treatment": best, "control": control}
    )
    chosen = f"; {arm_label(run, best)} is the best of {len(arms)} on validation rows"
    reason = pulls_misplaced(run, arms, control)
    return [replace(part, test=part.test + chosen, undecided=reason) for part in parts]


def pull_and_distance(run: Run, roles: Roles) -> list[Measurement]:
    """Mean over steps of KL(student || teacher after its step), with a pull less without (P3)."""
    treatment, control = roles["treatment"], roles["control"]

    def distance(arm: str) -> pd.Series[Any]:
        frame = stored.metrics_of(run, arm, "train", "augmented")
        frame = frame.dropna(subset="teacher_divergence")
        return frame.groupby("replica")["teacher_divergence"].mean()

    row = over_pairs(
        run, treatment, control, distance, quantity="teacher_divergence", rows="training pass", split="train"
    )
    if row is None:
        return []
    base = float(distance(control).mean())
    test = f"KL(student ‖ teacher after its step), mean over all steps, {versus(run, treatment, control)}"
    reason = pulls_misplaced(run, [treatment], control)
    return [Measurement(f"{test}; control {base:.3g}", row, -TERM * base, "less", "nats", undecided=reason)]


def pulls_misplaced(run: Run, arms: Sequence[str], control: str) -> str:
    """Which arm has no pull, or a control that has one, or another temperature than the control; "" if all fit."""
    if run.entry(control).setting("pull") != 0:
        return f"{control} as control must have pull 0, not {_said(run.entry(control).setting('pull'))}"
    for arm in arms:
        pull = run.entry(arm).setting("pull")
        if not pull:
            return f"{arm} must have a pull above 0, not {_said(pull)}"
        if not run.entry(arm).shares(run.entry(control), "temperature"):
            return f"{arm} and {control} must have one temperature"
    return ""


def _said(value: Any) -> str:
    return "none" if value is None else f"{value:g}"


def path_of_bias(run: Run, roles: Roles) -> list[Measurement]:
    """Bias of the local targets in the first tenth of epochs less that in the last (P4)."""
    arm = roles["arm"]
    kept, total = stored.prediction_epochs(run, arm, of="teacher"), epochs_of(run, arm)
    early = [epoch for epoch in kept if epoch <= max(EARLY * total, 1)]
    late = [epoch for epoch in kept if epoch > LATE * total and epoch not in early]
    if not (early and late):
        return []
    change = _mean_change(run, arm, early, late)
    start = [stored.totals(run, arm, "test", "all", epoch, of="teacher") for epoch in early]
    base = sum(found[0].bias.value for found in start if found is not None) / len(early)
    totals = change.totals()
    about: dict[str, Any] = {"quantity": "bias of the teacher", "rows": "held-out", "split": "test", "epoch": None}
    groups = change.group_counts
    df = (0 if groups is None else int((groups.sum(axis=1) > 0).sum())) - 1
    row = from_total(run, arm, totals.bias, df, **about, crossed=crossed_total(change, "bias"))
    test = (
        f"mean bias of the teacher's answers, first tenth of epochs (kept: {first_few(early)}) − last tenth "
        f"({first_few(late)}), {arm_label(run, arm)}; first tenth {base:.3g}"
    )
    return [Measurement(test, row, TERM * base, "greater", "nats")]


def _mean_change(run: Run, arm: str, early: Sequence[int], late: Sequence[int]) -> Change:
    """The mean over early epochs of a teacher's terms, less that over late ones, row by row."""
    last = _decomposition(run, arm, late[-1])
    firsts, lasts = ([paired_change(_decomposition(run, arm, e), last) for e in some] for some in (early, late))

    def gap(field: str) -> Array | None:
        values = [[getattr(one, field) for one in some] for some in (firsts, lasts)]
        if any(value is None for some in values for value in some):
            return None
        return sum(values[0]) / len(firsts) - sum(values[1]) / len(lasts)

    fields = ("bias", "variance", "deleted_bias", "deleted_variance", "signed_variance", "deleted_signed_variance")
    return replace(firsts[0], **{field: gap(field) for field in fields})


def _decomposition(run: Run, arm: str, epoch: int) -> Decomposition:
    found = stored.teacher_terms(run, arm, epoch)
    assert found is not None  # of an epoch whose predictions are there
    return found.decomposition


def variance_over_seeds(run: Run, roles: Roles) -> list[Measurement]:
    """Variance over seeds at one fixed draw, ProKT less KD (P5)."""
    kind = (run.manifest.get("draw") or {}).get("kind")
    reason = "" if kind == "seed_only" else f"the draw must be the same for all seeds (seed_only), not {kind}"
    teacher = (run.manifest.get("teachers") or {}).get(str(run.entry(roles["control"]).teacher)) or {}
    each = teacher.get("draw") == "per_replica"
    told = "; the control's teacher is trained with each seed too" if each else "; the control's teacher is fixed"
    parts = change_of_term("variance", "less")(run, roles)
    return [replace(part, test=part.test + ", over seeds" + told, undecided=reason) for part in parts]


MEASURES: dict[str, Measure] = {
    "P1": accuracy_difference(("treatment", "control"), direction="greater"),
    "P2": pull_and_accuracy,
    "P3": pull_and_distance,
    "P4": path_of_bias,
    "P5": variance_over_seeds,
}
"""What each claim is measured by."""
