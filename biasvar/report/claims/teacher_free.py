"""What measures the claims on distillation without a good teacher, and without any (Tf-KD, Yuan et al. 2020)."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pandas as pd

from biasvar.analysis.statistics.crossed import Crossed
from biasvar.records import ArmEntry, Run
from biasvar.report.arms.description import arm_label
from biasvar.report.claims.common import accuracy_difference, over_copies, versus
from biasvar.report.claims.measurement import Measure, Measurement, Roles
from biasvar.report.statistics.estimates import (
    Estimate,
    accuracy_combination,
    accuracy_contrast,
    final_accuracy,
    over_replicas,
)
from biasvar.report.statistics.teacher_accuracy import accuracy_of_its_teacher
from biasvar.study.ledger.base import ACCURACY, KEPT_GAIN, SECONDS

_GAIN = accuracy_difference(("treatment", "control"), direction="greater")


def gain_with_poor_teacher(run: Run, roles: Roles) -> list[Measurement]:
    """Test accuracy with a teacher less that without, undecided where the teacher is not worse than the latter (T2)."""
    own, control = accuracy_of_its_teacher(run, roles["treatment"]), final_accuracy(run, roles["control"])
    reason = ""
    if own is None:
        reason = f"the run does not say how accurate the teacher of {roles['treatment']} is"
    elif len(control) and own.value >= control.mean():
        reason = f"the teacher's test accuracy {own.value:.3f} is not below the control's {control.mean():.3f}"
    return [replace(part, undecided=reason) for part in _GAIN(run, roles)]


def gain_of_virtual_teacher(run: Run, roles: Roles) -> list[Measurement]:
    """Test accuracy with a virtual teacher less that of cross-entropy, by variant (T4)."""
    entry = run.entry(roles["treatment"])
    said = f", variant {entry.setting('variant')}" if entry.setting("variant") else ""
    return [replace(part, test=part.test + said) for part in _GAIN(run, roles)]


def gain_over_smoothing(run: Run, roles: Roles) -> list[Measurement]:
    """Test accuracy with a virtual teacher less that of label smoothing (T5).

    Of the code's variant it is said that the two are one loss, up to its scale, where epsilon is w / (1 - alpha + w)
    with w = alpha multiplier / K.
    """
    treatment, control = run.entry(roles["treatment"]), run.entry(roles["control"])
    reason = ""
    if control.loss != "label_smoothing" or control.setting("variant") == "code":
        reason = f"{roles['control']} as control must have loss label_smoothing, not its variant of the code"
    said = _equivalence(treatment, control, run.manifest.get("num_classes"))
    return [replace(part, test=part.test + said, undecided=reason) for part in _GAIN(run, roles)]


def equivalent_smoothing(entry: ArmEntry, num_classes: int) -> tuple[float, float] | None:
    """(epsilon, scale) of the label smoothing that an arm's virtual teacher is; None for the paper's variant.

    The same as `biasvar.losses.VirtualTeacherLoss.equivalent_smoothing`, which needs torch.
    """
    if entry.loss != "tfkd_reg" or entry.setting("variant") != "code" or entry.alpha is None:
        return None
    weight = entry.alpha * (entry.setting("multiplier") or 1.0) / num_classes
    scale = 1 - entry.alpha + weight
    return weight / scale, scale


def kept_gain(run: Run, roles: Roles) -> list[Measurement]:
    """The share of distillation's gain that is left where the teacher's non-target classes are permuted (T6).

    r = (permuted - control) / (distilled - control) with the error of a ratio by its linear part: that of the mean of
    permuted - control - r (distilled - control), over replicas, rows and teachers, divided by the gain.
    """
    permuted, distilled, control = roles["permuted"], roles["distilled"], roles["control"]
    gain = accuracy_combination(run, [distilled], [control])
    kept = accuracy_combination(run, [permuted], [control])
    if gain is None or kept is None or gain.estimate == 0.0:
        return []
    ratio = kept.estimate / gain.estimate
    linear = accuracy_contrast(run, {permuted: 1.0, distilled: -ratio, control: ratio - 1.0}, control=control)
    if linear is None:
        return []
    row = _divided(linear, ratio, gain.estimate)
    test = (
        f"share of the gain that is kept, {versus(run, permuted, control)} over {versus(run, distilled, control)} "
        f"({_signed(gain.estimate)}){over_copies(row)}"
    )
    return [Measurement(test, row, KEPT_GAIN, "greater", "of the gain", undecided=_no_gain(run, roles, gain))]


def _no_gain(run: Run, roles: Roles, gain: Estimate) -> str:
    """Why T6 cannot be judged, in words; "" if it can."""
    if run.entry(roles["permuted"]).setting("permute") is None:
        return f"{roles['permuted']} as permuted must have permute: non_target"
    crossed = gain.crossed
    low = gain.low if crossed is None else crossed.interval().low
    if low > ACCURACY:
        return ""
    return f"the gain of distillation is not surely above {ACCURACY:g}: its interval begins at {_signed(low)}"


def _divided(row: Estimate, ratio: float, gain: float) -> Estimate:
    """The linear part of a ratio as an estimate of the ratio: its errors divided by the denominator."""
    size = abs(gain)
    crossed = row.crossed
    if crossed is not None:
        parts = {name: replace(part, stderr=part.stderr / size) for name, part in crossed.components.items()}
        crossed = Crossed(ratio, crossed.stderr / size, crossed.df, parts)
    shifted = {name: ratio + (getattr(row, name) - row.estimate) / size for name in ("low", "high")}
    errors = {name: getattr(row, name) / size for name in ("stderr", "stderr_samples", "stderr_teachers")}
    return replace(row, quantity="share of the gain", estimate=ratio, crossed=crossed, **shifted, **errors)


def comparable(run: Run, roles: Roles) -> list[Measurement]:
    """Accuracy of self-training, and of the virtual teacher, less distillation's: within the smallest effect (T7)."""
    found = []
    for role in ("self_taught", "virtual"):
        row = accuracy_combination(run, [roles[role]], [roles["distilled"]])
        if row is not None:
            test = f"test accuracy, {versus(run, roles[role], roles['distilled'])}{over_copies(row)}"
            found += [
                Measurement(f"{test}, not worse", row, -ACCURACY, "greater", "accuracy"),
                Measurement(f"{test}, not better", row, ACCURACY, "less", "accuracy"),
            ]
    return found


def seconds_of_training(run: Run, roles: Roles) -> list[Measurement]:
    """Seconds of training over those of the control, of the same replica; its error is over replicas (T8)."""
    arms = [roles["treatment"], roles["control"]]
    on_processor = str(run.manifest.get("device") or "").startswith("cpu")
    key = "group_processor_seconds" if on_processor else "group_seconds"
    ratios = _ratios(run, arms, key)
    if ratios is None or ratios.empty:
        return []
    test = f"seconds of {'the processor' if on_processor else 'training'}, {arm_label(run, arms[0])} / "
    test += f"{arm_label(run, arms[1])}, replica by replica"
    by_clock = _ratios(run, arms, "group_seconds")
    if on_processor and by_clock is not None and len(by_clock):
        test += f" (by the clock {by_clock.mean():.3f})"
    replicas = int(run.manifest.get("replicas") or 0)
    reason = ""
    if len(ratios) < replicas:
        reason = (
            f"{len(ratios)} of {replicas} replicas were timed by themselves from their first step on in both arms; "
            "train with backend: sequential, without a break and without arms of other runs"
        )
    row = over_replicas(run, arms[0], ratios, quantity="seconds", control=arms[1])
    return [Measurement(test, row, SECONDS, "less", "times", undecided=reason)]


def _ratios(run: Run, arms: list[str], key: str) -> pd.Series[Any] | None:
    """Seconds of the first arm over the second's by group of replicas, where both were timed; None if none was."""
    seconds = [run.arm(arm).get(key) for arm in arms]
    if not all(seconds):
        return None
    first, second = (pd.Series(each, dtype=float) for each in seconds)
    return (first / second).dropna()


def _equivalence(treatment: ArmEntry, control: ArmEntry, num_classes: int | None) -> str:
    """What is known of a virtual teacher's relation to label smoothing, to follow a test."""
    found = equivalent_smoothing(treatment, num_classes) if num_classes else None
    if found is None:
        return ""
    epsilon, scale = found
    other = float(control.setting("smoothing") or 0.0)
    same = math.isclose(other, epsilon, rel_tol=1e-3)
    near = (
        "by construction near 0" if same else f"two label smoothings by construction, the control's with ε {other:.3g}"
    )
    return f"; {near}: the code's variant is label smoothing with ε {epsilon:.3g}, loss × {scale:.3g}"


def _signed(value: float) -> str:
    return f"{value:+.4f}".replace("-", "−")


MEASURES: dict[str, Measure] = {
    "T1": _GAIN,
    "T2": gain_with_poor_teacher,
    "T3": _GAIN,
    "T4": gain_of_virtual_teacher,
    "T5": gain_over_smoothing,
    "T6": kept_gain,
    "T7": comparable,
    "T8": seconds_of_training,
}
"""What each claim is measured by."""
