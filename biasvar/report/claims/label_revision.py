"""What measures the claims on label revision and data selection (Lan et al. 2024)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from biasvar.analysis.statistics.intervals import interval_from
from biasvar.messages import first_few
from biasvar.records import ArmEntry, Run
from biasvar.report.arms.description import arm_label
from biasvar.report.arms.revision import (
    RANDOM,
    eta,
    is_revised,
    is_selected,
    revision_in_words,
    score,
    selection_in_words,
    unlike,
    weight,
)
from biasvar.report.claims.common import accuracy_difference
from biasvar.report.claims.measurement import Measure, Measurement, Roles
from biasvar.report.claims.worst_of import least
from biasvar.report.statistics.estimates import measured
from biasvar.study.ledger.base import ACCURACY
from biasvar.study.ledger.label_revision import ETAS, MULTIPLES

WEIGHTS = ("ce_selected", "distill")
"""The weights of cross-entropy and of the distance on the rows that are distilled: lambda 1 and lambda 2 of R5."""
METHODS = {"weighting": "WSL", "features": "distillation of the last feature"}
"""What R4 is judged with, by the part that a method plays."""
OF_REVISION = ("label_weight", "label_temperature")
"""Keys of feature distillation that say how revised labels are learned from: without a revision it has none."""
Setting = tuple[float, float, float]
"""eta and the two weights."""


def gain_of_revision(run: Run, roles: Roles) -> list[Measurement]:
    """Test accuracy with revised labels less that of distillation (R1)."""
    treatment, control = run.entry(roles["treatment"]), run.entry(roles["control"])
    reason = _wrong(treatment, revised=True, selected=False) or _no_match(treatment, control)
    said = f"; {revision_in_words(treatment)}{_besides(treatment, control)}"
    return _parts(run, roles, [("treatment", "control")], said, reason)


def gain_of_selection(run: Run, roles: Roles) -> list[Measurement]:
    """Test accuracy with a selection less that of distilling all rows, and less a random one of the same size (R2)."""
    treatment, control, random = (run.entry(roles[role]) for role in ("treatment", "control", "random"))
    reason = (
        _wrong(treatment, revised=False, selected=True)
        or (f"{treatment.name} must not select at random" if score(treatment) == RANDOM else "")
        or _no_match(treatment, control)
        or _no_random_match(treatment, random)
        or _untried(run, treatment)
    )
    said = f"; {selection_in_words(treatment)}{_besides(treatment, control)}"
    return _parts(run, roles, [("treatment", "control"), ("treatment", "random")], said, reason)


def gain_of_both(run: Run, roles: Roles) -> list[Measurement]:
    """Test accuracy with revision and selection less that with either alone (R3)."""
    treatment, revision, selection = (run.entry(roles[role]) for role in ("treatment", "revision", "selection"))
    reason = (
        _wrong(treatment, revised=True, selected=True)
        or _wrong(revision, revised=True, selected=False)
        or _wrong(selection, revised=False, selected=True)
        or _differ(treatment, revision, ["selection"])
        or _differ(treatment, selection, ["revision"])
    )
    said = f"; {revision_in_words(treatment)}; {selection_in_words(treatment)}"
    return _parts(run, roles, [("treatment", "revision"), ("treatment", "selection")], said, reason)


def gain_for_other_methods(run: Run, roles: Roles) -> list[Measurement]:
    """Test accuracy of other methods with revision and selection less that without, pair by pair (R4)."""
    arms, controls = list(roles["arms"]), list(roles["controls"])
    if len(arms) != len(controls):
        reason = f"{len(arms)} arms and {len(controls)} controls: each arm needs one"
        return [_untested(run, arms, "test accuracy with revision and selection less without", reason)]
    found: list[Measurement] = []
    for arm, control in zip(arms, controls, strict=True):
        pair = {"treatment": arm, "control": control}
        reason = (
            _wrong(run.entry(arm), revised=True, selected=True)
            or _wrong(run.entry(control), revised=False, selected=False)
            or _differ(run.entry(arm), run.entry(control), ["revision", "selection", *OF_REVISION])
            or _no_other_method(run.entry(control))
        )
        parts = _parts(run, pair, [("treatment", "control")], f"; {selection_in_words(run.entry(arm))}", reason)
        if not parts:
            return []
        found += parts
    there = {run.entry(control).plays for control in controls}
    return found + [
        _untested(run, arms, f"test accuracy, {name} with both less without", f"{name} with both was not tested")
        for part, name in METHODS.items()
        if part not in there
    ]


def worst_setting(run: Run, roles: Roles) -> list[Measurement]:
    """Test accuracy of the worst setting of label revision less that of distillation (R5)."""
    arms, control = list(roles["arms"]), roles["control"]
    entries = {arm: run.entry(arm) for arm in arms}
    first = entries[arms[0]]
    reason = next((text for entry in entries.values() if (text := _not_in_grid(entry, first))), "")
    reason = reason or _no_match(first, run.entry(control))
    parts = []
    for arm in arms:
        parts += accuracy_difference(("treatment", "control"), direction="greater", threshold=-ACCURACY)(
            run, {"treatment": arm, "control": control}
        )
    if len(parts) < len(arms):
        return []
    worst = min(parts, key=lambda part: part.row.estimate).row.arm
    test = (
        f"test accuracy of the worst of {len(arms)} settings − {arm_label(run, control)}; the worst is "
        f"{arm_label(run, worst)}, {_setting_in_words(_setting(entries[worst]))}; upper end simultaneous over settings"
    )
    lacking = missing_settings([_setting(entry) for entry in entries.values()])
    found: list[Measurement] = [least(parts, test, reason)]
    if lacking:
        told = f"not trained: {first_few([_setting_in_words(one) for one in lacking], 4)}"
        found.append(_untested(run, arms, "test accuracy of the worst of the other settings", told, -ACCURACY))
    return found


def missing_settings(tried: Sequence[Setting]) -> list[Setting]:
    """The settings that R5 asks for and that were not tried, about the one that lacks fewest.

    About a setting (eta, a, b) they are every eta of `ETAS` with (a, b), and either weight times every one of
    `MULTIPLES` with the other as it is.
    """
    there = [_rounded(one) for one in tried]
    found = []
    for middle in there:
        etas = [(one, middle[1], middle[2]) for one in ETAS]
        firsts = [(middle[0], middle[1] * times, middle[2]) for times in MULTIPLES]
        seconds = [(middle[0], middle[1], middle[2] * times) for times in MULTIPLES]
        wanted = dict.fromkeys(map(_rounded, [*etas, *firsts, *seconds]))
        found.append([one for one in wanted if one not in there])
    return min(found, key=len)


def _rounded(setting: Setting) -> Setting:
    one, two, three = (float(f"{value:.6g}") for value in setting)
    return one, two, three


def _setting(entry: ArmEntry) -> Setting:
    return eta(entry), weight(entry, WEIGHTS[0]), weight(entry, WEIGHTS[1])


def _setting_in_words(setting: Setting) -> str:
    return "η {:g}, weights {:g} and {:g}".format(*setting)


def _not_in_grid(entry: ArmEntry, first: ArmEntry) -> str:
    """Why an arm is no setting of label revision like the first one; "" if it is."""
    if not is_revised(entry) or entry.setting("preset") is not None:
        return f"{entry.name} must have a revision, and no preset"
    rows = [(one.setting("revision") or {}).get("rows") for one in (entry, first)]
    if rows[0] != rows[1]:
        return f"{entry.name} and {first.name} must revise the same rows"
    return _differ(entry, first, ["revision", *WEIGHTS])


def _parts(
    run: Run, roles: Roles, pairs: Iterable[tuple[str, str]], said: str, undecided: str
) -> list[Measurement]:  # fmt: skip
    """Accuracy of one role less another's, each claimed to be above the smallest effect; all pairs or nothing."""
    pairs = list(pairs)
    parts = accuracy_difference(*pairs, direction="greater")(run, roles)
    if len(parts) < len(pairs):
        return []
    words = "".join(f"; {text}" for text in said.split("; ") if text)  # an arm that revises nothing has none
    return [replace(part, test=part.test + words, undecided=undecided) for part in parts]


def _untested(run: Run, arms: Sequence[str], test: str, reason: str, threshold: float = ACCURACY) -> Measurement:
    """A part that a claim asks for and a study lacks: what the others say may refute the claim, but not carry it."""
    nothing = interval_from(math.nan, math.nan, math.nan, 0)
    row = measured(run, arms, nothing, math.nan, "accuracy", rows="held-out", split="test")
    return Measurement(test, row, threshold, "greater", "accuracy", undecided=reason)


def _wrong(entry: ArmEntry, *, revised: bool, selected: bool) -> str:
    """Why an arm does not fit its role; "" if it revises and selects, or not, as it should."""
    for wanted, is_so, said in (
        (revised, is_revised(entry), "revise its labels"),
        (selected, is_selected(entry), "select rows"),
    ):
        if wanted != is_so:
            return f"{entry.name} must {'' if wanted else 'not '}{said}"
    return ""


def _no_match(treatment: ArmEntry, control: ArmEntry) -> str:
    """Why an arm is no plain distillation from the teacher of another; "" if it is."""
    if control.loss != "distillation":
        return f"{control.name} as control must have loss distillation"
    if treatment.teacher != control.teacher or _temperature(treatment) != _temperature(control):
        return f"{treatment.name} and {control.name} must have one teacher and one temperature"
    return ""


def _no_random_match(treatment: ArmEntry, random: ArmEntry) -> str:
    """Why an arm is no random selection of the same size; "" if it is."""
    if score(random) != RANDOM:
        return f"{random.name} as random must select by score random"
    sizes = [(one.setting("selection")["keep"], bool(one.setting("selection").get("per_class")))
             for one in (treatment, random)]  # fmt: skip
    if sizes[0] != sizes[1]:
        return f"{treatment.name} and {random.name} must keep as many rows, both of every class or both of all"
    return _differ(treatment, random, ["selection"])


def _untried(run: Run, treatment: ArmEntry) -> str:
    """Which other selections of the run the study does not test: who reports one score of many has picked it."""
    tested = {roles["treatment"] for roles in (run.manifest.get("claims") or {}).get("R2", [])}
    others = [
        arm
        for arm in run.arms
        if arm not in tested
        and run.entry(arm).loss == treatment.loss
        and run.entry(arm).role != "control"
        and is_selected(run.entry(arm))
        and not is_revised(run.entry(arm))
        and score(run.entry(arm)) != RANDOM
    ]
    return f"other selections of the run are not tested: {first_few(others)}" if others else ""


def _no_other_method(control: ArmEntry) -> str:
    if control.plays not in METHODS or (control.plays == "features" and control.setting("weights") != "last"):
        return f"{control.name} must be WSL, or distillation of features with weights: last"
    return ""


def _differ(a: ArmEntry, b: ArmEntry, but: list[str]) -> str:
    keys = unlike(a, b, but)
    return f"{a.name} and {b.name} differ in {first_few(keys)}" if keys else ""


def _besides(treatment: ArmEntry, control: ArmEntry) -> str:
    """In what a loss differs from distillation besides, to follow a test; "" if in nothing."""
    said = []
    distance = treatment.setting("distance")
    if distance not in (None, "kl"):
        said.append(f"distance {str(distance).replace('_', ' ')}")
    label, soft = (weight(treatment, key) for key in WEIGHTS)
    other = weight(control, "alpha")
    if treatment.setting("preset") is None and (label, soft) != (1.0, other):
        said.append(f"weights of label and soft label {label:g} and {soft:g}, the control's 1 and {other:g}")
    return f"; besides: {', '.join(said)}" if said else ""


def _temperature(entry: ArmEntry) -> float:
    return 1.0 if entry.temperature is None else entry.temperature


MEASURES: dict[str, Measure] = {
    "R1": gain_of_revision,
    "R2": gain_of_selection,
    "R3": gain_of_both,
    "R4": gain_for_other_methods,
    "R5": worst_setting,
}
"""What each claim is measured by."""
