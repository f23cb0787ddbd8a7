"""What arms and soft labels of a study take over when they do not say it: the keys of `defaults`, the only teacher."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from biasvar.study.choosing import settings_class
from biasvar.study.sections import Section
from biasvar.study.soft_labels import KINDS

DEFAULTS = ("teacher", "temperature", "alpha", "smoothing")
"""The keys that `defaults` may give to every arm whose method takes them."""


def with_defaults(arm: Any, defaults: dict[str, Any]) -> Any:
    """An arm as a study file says it, with the keys of `defaults` that its method takes."""
    cls = settings_class(arm.get("loss")) if isinstance(arm, dict) else None
    if cls is None:
        return arm
    return {**{key: value for key, value in defaults.items() if key in cls.own_keys()}, **arm}


def with_only_teacher(raw: dict[str, Any]) -> dict[str, Any]:
    """A study whose arms and soft labels that need a teacher and name none have the only one that there is.

    Args:
        raw: What a study file says, which stays as it is.
    """
    teachers = raw.get("teachers")
    if not isinstance(teachers, dict) or len(teachers) != 1:
        return raw
    (only,) = teachers
    classes = {"arms": ("loss", settings_class), "soft_labels": ("kind", lambda kind: KINDS.get(str(kind)))}
    done = dict(raw)
    for section, (tag, class_of) in classes.items():
        entries = raw.get(section)
        if isinstance(entries, dict):
            done[section] = {
                name: {**entry, "teacher": only} if _lacks_teacher(entry, tag, class_of) else entry
                for name, entry in entries.items()
            }
    return done


def _lacks_teacher(entry: Any, tag: str, class_of: Callable[[Any], type[Section] | None]) -> bool:
    cls = class_of(entry.get(tag)) if isinstance(entry, dict) else None
    return cls is not None and "teacher" in cls.needed_keys() and entry.get("teacher") is None
