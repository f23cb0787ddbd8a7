"""What the teachers of a run are called, how many networks they are, and which replicas share them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from biasvar.records import Run


def teacher_count(run: Run, name: str) -> int:
    """The networks of a teacher, counted from 0: replica r learns from number r modulo their count."""
    teachers: dict[str, Any] = run.manifest.get("teachers") or {}
    entry = teachers.get(name) or {}
    if entry.get("mean_of"):
        return max(teacher_count(run, member) for member in entry["mean_of"])
    return int(run.manifest["replicas"]) if entry.get("draw") == "per_replica" else int(entry.get("copies") or 1)


def teacher_label(run: Run, name: str) -> str:
    """What a study calls a teacher; its key where the study gives it no label, or has no such teacher."""
    teachers: dict[str, Any] = run.manifest.get("teachers") or {}
    return str((teachers.get(name) or {}).get("label") or name)


def teacher_in_words(row: Any, runs: Iterable[Run]) -> str:
    """What the study of a figure's row calls the row's teacher."""
    return next((teacher_label(run, row.teacher) for run in runs if run.name == row.run), str(row.teacher))


def teacher_of(run: Run, arm: str) -> str | None:
    """The teacher that an arm learns from, directly or by a stored soft label; None if it has none."""
    entry = run.entry(arm)
    if entry.teacher or not entry.soft_label:
        return entry.teacher
    soft_labels = (run.study or {}).get("soft_labels") or {}
    teacher: str | None = (soft_labels.get(entry.soft_label) or {}).get("teacher")
    return teacher


def shared_copies(run: Run, arm: str) -> int:
    """Copies of an arm's teacher that several of its replicas share; 0 for one network for all, or one for each."""
    teacher = teacher_of(run, arm)
    count = teacher_count(run, teacher) if teacher else 0
    return count if 1 < count < int(run.manifest.get("replicas") or 0) else 0


def groups_by_teacher(run: Run, arms: Iterable[str]) -> int:
    """G such that replicas r with different r modulo G share no copy of a teacher of these arms; 0 without copies.

    Teachers that are one network for all replicas, or one for each, group nothing. 1 where no grouping is possible.
    """
    return math.gcd(*{count for arm in arms if (count := shared_copies(run, arm))})
