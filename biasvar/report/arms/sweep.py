"""The arms of a sweep as curves: arms that differ in one swept number only, in its order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from biasvar.records import Run
from biasvar.study.sweep import swept_name

LEAST = 2  # points of a curve
MOST_CURVES = 6  # in a figure over one key, unless it is the one with most values
WORDS = {"student.width": "width", "data.label_noise.share": "label noise"}
"""The swept keys in words."""


@dataclass(frozen=True)
class Curve:
    """Arms that differ in one swept key only.

    Attributes:
        key: The swept key.
        name: What tells it from the others of its key: the values of the other keys, and the arm that was swept where
            there are several.
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
        base = arm.removesuffix(swept_name("", swept)) if swept else arm
        for key, value in swept.items():
            others = {other: known for other, known in swept.items() if other != key}
            groups.setdefault((key, base, tuple(others.items())), {}).setdefault(float(value), arm)
    several = len({base for _, base, _ in groups}) > 1
    found = []
    for (key, base, others), members in groups.items():
        if len(members) >= LEAST:
            values = tuple(sorted(members))
            arms = tuple(members[value] for value in values)
            said = [base] if several else []
            said += [in_words(other, value) for other, value in others]
            found.append(Curve(key, ", ".join(said) or "all", base, dict(others), arms, values))
    most = {key: max(len(one.values) for one in found if one.key == key) for key in {one.key for one in found}}
    found.sort(key=lambda one: -most[one.key])
    return found


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
