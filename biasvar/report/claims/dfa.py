"""What measures the claims on searched layer weights (DFA, Guan et al. 2020)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from biasvar.analysis.statistics.crossed import Component, combined
from biasvar.messages import first_few
from biasvar.records import Run
from biasvar.report.arms.description import arm_label
from biasvar.report.arms.teachers import teacher_count
from biasvar.report.claims.common import accuracy_difference, over_copies, versus
from biasvar.report.claims.measurement import Measure, Measurement, Roles
from biasvar.report.statistics.estimates import (
    Estimate,
    accuracy_combination,
    accuracy_contrast,
    final_accuracy,
    over_pairs,
    over_replicas,
)
from biasvar.report.statistics.layer_weights import centroids, unlearned
from biasvar.study.ledger.base import ACCURACY, CHEAP_SECONDS, DEPTH, MEMBERS, RANDOM_WEIGHTS

_GAIN = accuracy_difference(("treatment", "control"), direction="greater")
_SHARED = ("teacher", "distill_weight", "connector_norm", "groups", "student_taps", "teacher_taps", "learning_rate")


def searched_over_last(run: Run, roles: Roles) -> list[Measurement]:
    """Test accuracy by searched weights less that by all weight on the last layers (D1)."""
    reason = _misplaced(run, {roles["treatment"]: "searched", roles["control"]: "last"})
    return _judged(_GAIN(run, roles), reason or _unlearned(run, [roles["treatment"]]))


def searched_over_others(run: Run, roles: Roles) -> list[Measurement]:
    """Test accuracy by searched weights less that by average ones, and less the mean over random ones (D2).

    The error of the latter has a part over the draws of the weights, the standard deviation of the arms' mean
    accuracies over the root of their number; what replicas add to that deviation makes it too large rather than too
    small.
    """
    treatment, average, drawn = roles["treatment"], roles["average"], list(roles["arms"])
    numbers = {run.entry(arm).setting("number") for arm in drawn}
    reason = _misplaced(run, {treatment: "searched", average: "average", **dict.fromkeys(drawn, "random")})
    if not reason and len(numbers) < RANDOM_WEIGHTS:
        reason = f"{len(numbers)} draws of random weights, where {RANDOM_WEIGHTS} are needed"
    parts = accuracy_difference(("treatment", "average"), direction="greater")(run, roles)
    row = accuracy_contrast(run, {treatment: 1.0, **dict.fromkeys(drawn, -1 / len(drawn))}, control=", ".join(drawn))
    if not parts or row is None:
        return []
    row = _over_draws(run, row, drawn)
    test = f"test accuracy, {arm_label(run, treatment)} − mean of {len(drawn)} draws of random weights"
    parts += [Measurement(test + over_copies(row), row, ACCURACY, "greater", "accuracy")]
    return _judged(parts, reason or _unlearned(run, [treatment]))


def drift(run: Run, roles: Roles) -> list[Measurement]:
    """Centroid of the found weights over depth, search by the bridge loss less search by the student's (D3)."""
    bridge, student = roles["treatment"], roles["control"]
    row = over_pairs(run, bridge, student, lambda arm: centroids(run, arm), quantity="centroid of layer weights")
    if row is None:
        return []
    level = {arm: float(centroids(run, arm).mean()) for arm in (bridge, student)}
    test = f"centroid of layer weights over depth, {versus(run, bridge, student)} ({level[bridge]:.3f} and "
    test += f"{level[student]:.3f})"
    reason = _not_so_searched(run, {bridge: bridge, student: student}) or _unlearned(run, [bridge, student])
    return _judged([Measurement(test, row, DEPTH, "greater", "of the depth")], reason)


def cost_of_drift(run: Run, roles: Roles) -> list[Measurement]:
    """Test accuracy by weights that the bridge loss found less that by those that the student's found (D4)."""
    arms = [roles["treatment"], roles["control"]]
    reason = _misplaced(run, dict.fromkeys(arms, "searched"))
    reason = reason or _not_so_searched(run, {arm: str(run.entry(arm).setting("search")) for arm in arms})
    return _judged(_GAIN(run, roles), reason or _unlearned(run, arms))


def transferred(run: Run, roles: Roles) -> list[Measurement]:
    """Test accuracy by weights that the study gives less that by all weight on the last layers (D5)."""
    return _judged(_GAIN(run, roles), _misplaced(run, {roles["treatment"]: "given", roles["control"]: "last"}))


def one_teacher_for_several(run: Run, roles: Roles) -> list[Measurement]:
    """Test accuracy by searched weights less that of distillation from an ensemble, and the seconds of both (D6)."""
    treatment, control = roles["treatment"], roles["control"]
    members = _teacher(run, control).get("mean_of") or []
    reason = _misplaced(run, {treatment: "searched"})
    if not reason and len(members) < MEMBERS:
        reason = f"{control} as control must learn from an ensemble of {MEMBERS} teachers or more"
    accuracy = accuracy_combination(run, [treatment], [control])
    found = _all_seconds(run, treatment, control)
    if accuracy is None or found is None:
        return []
    ratios, kind = found
    row = over_replicas(run, treatment, ratios, quantity="seconds", control=control)
    each = f"{arm_label(run, treatment)} / {arm_label(run, control)}"
    parts = [
        Measurement(
            f"test accuracy, {versus(run, treatment, control)}{over_copies(accuracy)}", accuracy, -ACCURACY, "greater",
            "accuracy",
        ),
        Measurement(
            f"seconds of {kind}, with search and teachers, {each}, replica by replica", row, CHEAP_SECONDS, "less",
            "times",
        ),
    ]  # fmt: skip
    return _judged(parts, reason or _unlearned(run, [treatment]))


def _judged(parts: list[Measurement], reason: str) -> list[Measurement]:
    return [replace(part, undecided=reason) for part in parts]


def _misplaced(run: Run, wanted: Mapping[str, str]) -> str:
    """Which arm has other weights than its role asks for, or differs in more than these; "" if all fit.

    Args:
        wanted: By arm, the value of `weights`; "given" for those that a study gives as lists.
    """
    first = run.entry(next(iter(wanted)))
    for arm, weights in wanted.items():
        entry = run.entry(arm)
        found = entry.setting("weights")
        if entry.loss != "dfa" or ("given" if isinstance(found, list) else found) != weights:
            return f"{arm} must have loss dfa and weights {'given as lists' if weights == 'given' else weights}"
        other = [key for key in _SHARED if not entry.shares(first, key)]
        if other:
            return f"{first.name} and {arm} must differ in their weights alone, not in {first_few(other)}"
    return ""


def _not_so_searched(run: Run, searches: Mapping[str, str]) -> str:
    """Which of two searches has another objective than its role asks for: first the bridge loss, then the student's."""
    for (arm, search), objective in zip(searches.items(), ("bridge", "student"), strict=True):
        entry = run.entry(search)
        if entry.loss != "dfa_search" or entry.setting("objective") != objective:
            of = "" if arm == search else f"the search of {arm}, "
            return f"{of}{search} must have loss dfa_search and objective {objective}"
    return ""


def _unlearned(run: Run, arms: Sequence[str]) -> str:
    """Why the weights behind these arms say nothing: a search that learned nothing; "" if all learned."""
    entries = [run.entry(arm) for arm in arms]
    searches = [entry.name if entry.loss == "dfa_search" else entry.setting("search") for entry in entries]
    reasons = [unlearned(run, str(search)) for search in dict.fromkeys(searches) if search is not None]
    return "; ".join(reason for reason in reasons if reason)


def _over_draws(run: Run, row: Estimate, drawn: Sequence[str]) -> Estimate:
    """A difference from the mean of several draws, with an error over these too."""
    means = np.array([final_accuracy(run, arm).mean() for arm in drawn])
    if len(means) < 2:
        return row
    draws = Component(float(means.std(ddof=1)) / math.sqrt(len(means)), len(means) - 1, len(means))
    others = Component(row.stderr, row.df, row.n_replicas or 0)
    components = {"replicas": others} if row.crossed is None else dict(row.crossed.components)
    return replace(row, crossed=combined(row.estimate, components | {"draws of weights": draws}))


def _teacher(run: Run, arm: str) -> Mapping[str, Any]:
    teachers: Mapping[str, Any] = run.manifest.get("teachers") or {}
    return teachers.get(run.entry(arm).teacher or "") or {}


def _all_seconds(run: Run, treatment: str, control: str) -> tuple[pd.Series[Any], str] | None:
    """By replica, the first arm's seconds over the second's, searches and teachers' networks included; and whose.

    Of the processor where that trains and everything was timed so; by the clock else. None where something was not
    timed, or replicas did not train by themselves.
    """
    kinds = {"processor_seconds": "the processor"} if str(run.manifest.get("device") or "").startswith("cpu") else {}
    for key, said in {**kinds, "seconds": "training"}.items():
        seconds = [_needed_seconds(run, arm, key) for arm in (treatment, control)]
        if all(each is not None and not each.isna().any() for each in seconds):
            first, second = (each for each in seconds if each is not None)
            return first / second, said
    return None


def _needed_seconds(run: Run, arm: str, key: str) -> pd.Series[Any] | None:
    """By replica, what its training, its search and one network of its teacher, or of each member, took together."""
    taught = _network_seconds(run, run.entry(arm).teacher, key)
    total = pd.Series(taught, index=range(int(run.manifest["replicas"])), dtype=float)
    for part in (arm, run.entry(arm).setting("search")):
        each = None if part is None else run.arm(str(part)).get(f"group_{key}")
        if part is not None and (not each or len(each) != len(total)):
            return None
        if each:
            total = total + pd.Series(each, dtype=float)
    return total


def _network_seconds(run: Run, teacher: str | None, key: str) -> float:
    """Seconds of one network of a teacher, or of one of each member of an ensemble; NaN where they are not known."""
    if teacher is None:
        return 0.0
    entry = (run.manifest.get("teachers") or {}).get(teacher) or {}
    if entry.get("mean_of"):
        return sum(_network_seconds(run, member, key) for member in entry["mean_of"])
    seconds = entry.get(key)
    return seconds / teacher_count(run, teacher) if seconds else math.nan


MEASURES: dict[str, Measure] = {
    "D1": searched_over_last,
    "D2": searched_over_others,
    "D3": drift,
    "D4": cost_of_drift,
    "D5": transferred,
    "D6": one_teacher_for_several,
}
"""What each claim is measured by."""
