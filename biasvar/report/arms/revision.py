"""How an arm's soft labels are revised, and by which score its rows are selected: from its settings, and in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from biasvar.records import ArmEntry

REVISED = ("revision", "selection", "preset")
"""The settings of arms that revise soft labels or distil a selection of the rows only."""
RANDOM = "random"
ETA = 0.8  # of the public port, as of a study that names none


def is_revised(entry: ArmEntry) -> bool:
    """True if an arm's soft labels are revised."""
    return entry.setting("revision") is not None or entry.setting("preset") is not None


def is_selected(entry: ArmEntry) -> bool:
    """True if an arm distils a selection of its rows only."""
    return entry.setting("selection") is not None


def eta(entry: ArmEntry) -> float:
    """The eta of an arm's revised labels: 1 less the margin by which the truth leads a teacher's wrong class."""
    return float((entry.setting("revision") or {}).get("eta", ETA))


def revised_rows(entry: ArmEntry) -> str:
    """Which of an arm's soft labels are revised, "all" or "wrong"; the public port revises those that are wrong."""
    if entry.setting("preset") is not None:
        return "wrong"
    return str((entry.setting("revision") or {}).get("rows", "all"))


def weight(entry: ArmEntry, key: str) -> float:
    """The weight of a part of an arm's loss: ce_rest, ce_selected, distill or alpha; 1 where none is given."""
    value = entry.setting(key)
    return 1.0 if value is None else float(value)


def score(entry: ArmEntry) -> str:
    """The score that an arm's rows are selected by; "" if all are taken."""
    return str((entry.setting("selection") or {}).get("score", ""))


def revision_in_words(entry: ArmEntry) -> str:
    """How an arm's labels are revised, "revised where the teacher is wrong, η 0.8"; "" if they are not."""
    if not is_revised(entry):
        return ""
    where = "revised where the teacher is wrong" if revised_rows(entry) == "wrong" else "all revised"
    preset = entry.setting("preset")
    return f"preset {preset}" if preset is not None else f"{where}, η {eta(entry):g}"


def selection_in_words(entry: ArmEntry) -> str:
    """How an arm's rows are selected, "lowest 50 % by influence"; "" if all are taken."""
    chosen = entry.setting("selection")
    if chosen is None:
        return ""
    share = f"{100 * float(chosen['keep']):g} %{' of every class' if chosen.get('per_class') else ''}"
    if score(entry) == RANDOM:
        return f"{share} at random"
    return f"{chosen.get('which')} {share} by {score(entry).replace('_', ' ')}"


def unlike(a: ArmEntry, b: ArmEntry, but: Iterable[str] = ()) -> list[str]:
    """The settings in which two arms differ, besides some; learning rates are chosen for each loss and do not count."""
    ignored = {"learning_rate", *but}
    return sorted(key for key in {*a.settings, *b.settings} - ignored if _plain(a, key) != _plain(b, key))


def _plain(entry: ArmEntry, key: str) -> Any:
    value = entry.setting(key)
    return dict(value) if isinstance(value, Mapping) else value
