"""The arms of a sweep as curves: arms that differ in one swept number only, in its order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from biasvar.records import Run
from biasvar.report.text.numbers import counted, in_a_row
from biasvar.study import sweep as study_sweep
from biasvar.study.sweep import swept_name

LEAST = 2  # points of a curve
MOST_VALUES = 6  # that a sentence lists
MOST_CURVES = 6  # in a figure over one key, unless it is the one with most values
LOSSES = {"cross_entropy": "cross-entropy", "squared_error": "squared error"}
"""What an arm without a label of its own is called in a figure, by its loss."""
WORDS = study_sweep.WORDS
"""The swept keys in words."""


@dataclass(frozen=True)
class Curve:
    """Arms that differ in one swept key only.

    Attributes:
        key: The swept key.
        name: What tells it from the others of its key: the values of the other keys, and the label of the arm that was
            swept where there are several.
        base: The arm that was swept, by its name in the study file.
        others: The values of the other keys.
        arms, values: In the order of the values.
    """

    key: str
    name: str
    base: str
    others: Mapping[str, float]
    arms: tuple[str, ...]
    values: tuple[float, ...]


def curves(run: Run) -> list[Curve]:
    """All curves of a run's sweep, key by key, the key with most values first; none for a run without a sweep."""
    groups: dict[tuple[Any, ...], dict[float, str]] = {}
    for arm in run.arms:
        swept = dict(run.entry(arm).swept)
        base = _base(arm, swept)
        for key, value in swept.items():
            others = {other: known for other, known in swept.items() if other != key}
            groups.setdefault((key, base, tuple(others.items())), {}).setdefault(float(value), arm)
    labels = _labels(run)
    found = []
    for (key, base, others), members in groups.items():
        if len(members) >= LEAST:
            values = tuple(sorted(members))
            arms = tuple(members[value] for value in values)
            said = [labels[base]] if len(labels) > 1 else []
            said += [in_words(other, value) for other, value in others]
            found.append(Curve(key, ", ".join(said) or "all", base, dict(others), arms, values))
    most = {key: max(len(one.values) for one in found if one.key == key) for key in {one.key for one in found}}
    found.sort(key=lambda one: -most[one.key])
    return found


def most_apart(names: Sequence[str], most: int) -> list[str]:
    """The names, of more than `most` so many, evenly apart with the first and the last.

    >>> most_apart(["0", "10", "20", "30", "40"], 3)
    ['0', '20', '40']
    """
    if len(names) <= most:
        return list(names)
    return [names[round(place * (len(names) - 1) / (most - 1))] for place in range(most)]


def swept_arms(run: Run) -> list[str]:
    """The arms of a run that its sweep has made."""
    return [arm for arm in run.arms if run.entry(arm).swept]


def sweep_in_words(run: Run) -> str:
    """A run's sweep: "a sweep of 2 arms (CE and SE) over 3 values of width (4, 8 and 16)"; empty without one."""
    values: dict[str, set[float]] = {}
    swept = swept_arms(run)
    for arm in swept:
        for key, value in run.entry(arm).swept.items():
            values.setdefault(key, set()).add(float(value))
    if not values:
        return ""
    labels = list(_labels(run).values())
    over = [
        f"{counted(len(found), 'value')} of {WORDS.get(key, key)} ({_listed(sorted(found))})"
        for key, found in values.items()
    ]
    them = "" if len(swept) == len(run.arms) else f"{len(swept)} of them "
    return f"{them}a sweep of {counted(len(labels), 'arm')} ({in_a_row(labels)}) over {in_a_row(over)}"


def _listed(values: list[float]) -> str:
    """The values of a key; of many the first and the last."""
    said = [f"{value:g}" for value in values]
    return in_a_row(said) if len(said) <= MOST_VALUES else f"{said[0]} to {said[-1]}"


def _base(arm: str, swept: Mapping[str, float]) -> str:
    """The arm that was swept, by its name in the study file."""
    return arm.removesuffix(swept_name("", swept)) if swept else arm


def _labels(run: Run) -> dict[str, str]:
    """The label of each arm that was swept, by its name; the name where labels do not tell arms apart."""
    found: dict[str, str] = {}
    for arm in swept_arms(run):
        swept = dict(run.entry(arm).swept)
        label, *values = run.entry(arm).label.rsplit(", ", len(swept))
        known = sorted(value.rpartition(" ")[2] for value in values) == sorted(f"{value:g}" for value in swept.values())
        name = _base(arm, swept)
        found.setdefault(name, label if known and label != name else LOSSES.get(run.entry(arm).loss or "", name))
    return found if len(set(found.values())) == len(found) else {base: base for base in found}


def drawn_curves(run: Run) -> list[Curve]:
    """The curves that figures draw: those over the key with most values, and over any other that has few curves."""
    found = curves(run)
    first = found[0].key if found else ""
    counts = {one.key: sum(other.key == one.key for other in found) for one in found}
    return [one for one in found if one.key == first or counts[one.key] <= MOST_CURVES]


def in_words(key: str, value: float) -> str:
    """A value of a swept key, "width 40", "20 % label noise", "true labels"."""
    if key == "data.label_noise.share":
        return f"{100 * value:g} % label noise" if value else "true labels"
    return f"{WORDS.get(key, key)} {value:g}"


def is_geometric(values: Any) -> bool:
    """True if values lie more evenly on a logarithmic axis than on a linear one.

    >>> is_geometric([2, 4, 8, 16]), is_geometric([0, 0.1, 0.2]), is_geometric([1, 2, 3, 4])
    (True, False, False)
    """
    found = np.unique(np.asarray(values, dtype=float))
    if len(found) < 3 or found[0] <= 0:
        return False
    uneven = [np.std(steps) / np.mean(steps) for steps in (np.diff(np.log(found)), np.diff(found))]
    return bool(uneven[0] < uneven[1])
