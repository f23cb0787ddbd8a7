"""Arms that differ in one setting only, joined by a line in figures of ablations."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from biasvar.records import Run
from biasvar.records.arms import hashable
from biasvar.report.arms.description import arm_label
from biasvar.report.arms.roles import reference_arms, weighted_arm

ONE_RATE = "one learning rate"
SYMBOLS = {"temperature": "τ", "alpha": "α"}


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
    """All sets of two or more arms that differ in `setting` only, in the order of the run's arms.

    Arms that share their learning rate with no other, each a family of its own, may differ in the rates chosen on them.
    """
    families = Counter(run.entry(arm).family for arm in run.arms)
    groups: dict[tuple[tuple[str, Any], ...], dict[float, str]] = {}
    for arm in run.arms:
        entry = run.entry(arm)
        value = entry.setting(setting)
        if entry.loss is None or value is None:
            continue
        own = entry.family is not None and families[entry.family] == 1
        apart = {setting, "learning_rate"} if own else {setting}
        key = hashable({name: known for name, known in entry.settings.items() if name not in apart} | {"own rate": own})
        groups.setdefault(key, {}).setdefault(float(value), arm)
    all_series = []
    usual = set(reference_arms(run).values()) | {weighted_arm(run)}
    for members in groups.values():
        if len(members) < 2:
            continue
        values = tuple(sorted(members))
        arms = tuple(members[value] for value in values)
        at = [arm for arm in arms if arm in usual] or [arm for arm in arms if _at_reference(run, arm)] or [arms[0]]
        all_series.append(Series(setting, _common_label(run, at[0], setting), arms, values, at[0]))
    return _told_apart(run, all_series)


def rates_in_words(joined: pd.DataFrame, runs: Sequence[Run]) -> str:
    """What a caption says of the learning rates of lines; their dots are rows with run, series, setting and arm."""
    of = {run.name: run for run in runs}
    lines = joined.groupby(["run", "series", "setting"], sort=False)
    several = [len({of[str(name)].entry(arm).learning_rate for arm in rows["arm"]}) > 1 for (name, *_), rows in lines]
    if not any(several):
        return ONE_RATE
    return "the learning rate chosen on each" if all(several) else "one learning rate, or that chosen on each"


def ablated_controls(run: Run) -> list[str]:
    """The arms of role "control" that differ from another in temperature or alpha only: read beside it, in a series."""
    ablated = {arm for setting in SYMBOLS for one in series(run, setting) for arm in one.arms if arm != one.reference}
    return [arm for arm in run.arms if arm in ablated and run.entry(arm).role == "control"]


def _told_apart(run: Run, found: list[Series]) -> list[Series]:
    """Series of one name get the value of the other of temperature and alpha behind it."""
    names = [one.name for one in found]
    result = []
    for one in found:
        name = one.name
        if names.count(name) > 1:
            other = "alpha" if one.setting == "temperature" else "temperature"
            value = run.entry(one.reference).setting(other)
            name += f", {SYMBOLS[other]} {value:g}" if value is not None else ""
        result.append(Series(one.setting, name, one.arms, one.values, one.reference))
    return result


def _at_reference(run: Run, arm: str) -> bool:
    wanted = (run.study or {}).get("reference_temperature")
    return wanted is not None and run.entry(arm).temperature == wanted


def _common_label(run: Run, arm: str, setting: str) -> str:
    """An arm's label without the value of the setting: "KD τ 4, LS teacher" -> "KD, LS teacher"."""
    label = arm_label(run, arm)
    names = {"temperature": r"τ|tau|T|temperature", "alpha": r"α|alpha"}[setting]
    short = re.sub(rf",?\s*(?<!\w)(?:{names})\s*=?\s*\d*\.?\d+(?!\w)", "", label).strip(" ,")
    return short or label
