"""Arms by what they answer: those a study turns on, those that differ in one setting only, those that form a pair."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from biasvar.records import Run
from biasvar.report import style
from biasvar.report.changes import failed_arms
from biasvar.report.figure import arms_with_role, reference_arms

SETTINGS = (
    *("loss", "teacher", "temperature", "alpha", "smoothing", "keep", "shuffle", "weights_from", "alpha_from"),
    *("learning_rate", "epochs"),
)
"""What makes two arms of one study differ; replicas, draws and all else they share."""

SYMBOLS = {"temperature": "τ", "alpha": "α"}
PLAIN_LOSSES = ("distillation", "weighted_soft_label")


def is_plain(entry: dict[str, Any]) -> bool:
    """Whether an arm's soft labels are those of its loss: no shuffled or recorded weights, no other arm's scale."""
    return not (entry.get("shuffle") or entry.get("weights_from") or entry.get("alpha_from"))


def core_arms(run: Run) -> list[str]:
    """Cross-entropy, label smoothing, KD and WSL as the study means them, and the last two under other teacher regimes.

    One arm each: the first main one at the reference setting (see `reference_arms`; WSL at KD's teacher and
    temperature), and all arms of role "regime" with these losses. In a run that says nothing of its losses, all its
    main arms. Arms with failed replicas are left out.
    """
    failed, main = failed_arms(run), arms_with_role(run, ("main",))
    if not any(run.arm(arm).get("loss") for arm in run.arms):
        return [arm for arm in main if arm not in failed]
    found = set(reference_arms(run).values()) | {arm for arm in [weighted_arm(run)] if arm}
    found |= set([arm for arm in main if run.arm(arm).get("loss") == "label_smoothing"][:1])
    for arm in arms_with_role(run, ("regime",)):
        entry = run.arm(arm)
        if entry.get("loss") in PLAIN_LOSSES and is_plain(entry):
            found.add(arm)
    return [arm for arm in run.arms if arm in found and arm not in failed]


def weighted_arm(run: Run) -> str | None:
    """WSL at the teacher and temperature of KD (the first main one if there is no KD)."""
    kd = reference_arms(run).get("KD")
    for arm in arms_with_role(run, ("main",)):
        entry = run.arm(arm)
        if entry.get("loss") != "weighted_soft_label" or not is_plain(entry):
            continue
        if kd is None or all(entry.get(name) == run.arm(kd).get(name) for name in ("teacher", "temperature", "alpha")):
            return arm
    return None


def same_but(run: Run, arm: str, **other: Any) -> str | None:
    """The first arm with the settings of `arm` except for those given; its learning rate may differ.

    Rates are chosen per loss, so that two losses compared at equal settings may each have their own.
    """
    names = [name for name in SETTINGS if name != "learning_rate"]
    wanted = {name: run.arm(arm).get(name) for name in names} | other
    for candidate in run.arms:
        entry = run.arm(candidate)
        if candidate != arm and entry.get("loss") and all(_equal(entry.get(name), wanted[name]) for name in names):
            return candidate
    return None


@dataclass(frozen=True)
class Series:
    """Arms that differ in one setting only, in the order of its values; `name` is their common label."""

    setting: str
    name: str
    arms: tuple[str, ...]
    values: tuple[float, ...]
    reference: str
    """The arm whose look stands for all: one that other figures show as main, at the study's reference setting."""


def series(run: Run, setting: str) -> list[Series]:
    """All sets of two or more arms that differ in `setting` only, in the order of the run's arms."""
    groups: dict[tuple[Any, ...], dict[float, str]] = {}
    for arm in run.arms:
        entry = run.arm(arm)
        value = entry.get(setting)
        if not entry.get("loss") or value is None:
            continue
        key = tuple(_hashable(entry.get(name)) for name in SETTINGS if name != setting)
        groups.setdefault(key, {}).setdefault(float(value), arm)
    found = []
    usual = set(reference_arms(run).values()) | {weighted_arm(run)}
    for members in groups.values():
        if len(members) < 2:
            continue
        values = tuple(sorted(members))
        arms = tuple(members[value] for value in values)
        at = [arm for arm in arms if arm in usual] or [arm for arm in arms if _at_reference(run, arm)] or [arms[0]]
        found.append(Series(setting, _common_label(run, at[0], setting), arms, values, at[0]))
    return _told_apart(run, found)


def ablated_controls(run: Run) -> list[str]:
    """The arms of role "control" that differ from another in temperature or alpha only: read beside it, in a series."""
    found = {arm for setting in SYMBOLS for one in series(run, setting) for arm in one.arms if arm != one.reference}
    return [arm for arm in run.arms if arm in found and run.arm(arm).get("role") == "control"]


def _told_apart(run: Run, found: list[Series]) -> list[Series]:
    """Series of one name get the value of the other of temperature and alpha behind it."""
    names = [one.name for one in found]
    result = []
    for one in found:
        name = one.name
        if names.count(name) > 1:
            other = "alpha" if one.setting == "temperature" else "temperature"
            value = run.arm(one.reference).get(other)
            name += f", {SYMBOLS[other]} {value:g}" if value is not None else ""
        result.append(Series(one.setting, name, one.arms, one.values, one.reference))
    return result


def _at_reference(run: Run, arm: str) -> bool:
    wanted = (run.study or {}).get("reference_temperature")
    return wanted is not None and run.arm(arm).get("temperature") == wanted


def _common_label(run: Run, arm: str, setting: str) -> str:
    """An arm's label without the value of the setting: "KD τ 4, LS teacher" -> "KD, LS teacher"."""
    label = style.arm_label(run, arm)
    names = {"temperature": r"τ|tau|T|temperature", "alpha": r"α|alpha"}[setting]
    short = re.sub(rf",?\s*(?<!\w)(?:{names})\s*=?\s*\d*\.?\d+(?!\w)", "", label).strip(" ,")
    return short or label


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else bool(value) if isinstance(value, bool) else value


def _equal(a: Any, b: Any) -> bool:
    return (a or None) == (b or None)


def taken_over(run: Run, runs: list[Run]) -> set[str]:
    """The arms that a run took over, untrained, from another run of the same report, which shows them already."""
    others = {name for one in runs if one is not run for name in (one.name, one.directory.name)}
    return {arm for arm in run.arms if set(run.arm(arm).get("shared_from") or []) & others}


def taken_note(runs: list[Run]) -> str:
    """A sentence for a figure that leaves those out, with a space before it; empty if there is none."""
    if any(taken_over(run, runs) for run in runs):
        return " What a run took over from another of this report is shown with that one only."
    return ""


def left_out(runs: list[Run], roles: tuple[str, ...] = ("main", "regime")) -> str:
    """A sentence on the arms left out for failed replicas, with a space before it; empty if there is none."""
    said = [
        (f"{run.name}: " if len(runs) > 1 else "") + style.arm_label(run, arm)
        for run in runs
        for arm in arms_with_role(run, roles)
        if arm in failed_arms(run)
    ]
    return f" Left out, since replicas are at chance or not finite: {'; '.join(said)}." if said else ""
