"""Arms that meet every copy of their teacher: replica r learns from copy r mod T in the arm, from the next in a shift.

A teacher with `copies: T` and `crossed: true` turns each arm NAME that it teaches into T arms, NAME and NAME_shift1 to
NAME_shift(T-1), so that together every replica is paired with every copy, once. Each of them alone is what it would be
without crossing: a Latin square, whose error over copies stands.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from biasvar.errors import StudyError
from biasvar.study.arms import Arm
from biasvar.study.schema import Study
from biasvar.study.sections import Section


def crossed(study: Study) -> Study:
    """The study with the shifts of its crossed arms written out, each after its arm; those that are there stay.

    Raises:
        StudyError: A shift would have the name of another arm.
    """
    arms: dict[str, Arm] = {}
    for name, arm in study.arms.items():
        arms[name] = arm
        if arm.teacher_shift is None:
            arms |= {other: study.arms.get(other, made) for other, made in _shifts(study, name)}
    return study.model_copy(update={"arms": arms})


def _copies(study: Study, name: str) -> int:
    """How many copies an arm is crossed with; 1 where it is not."""
    teacher = study.teachers.get(study.arms[name].teacher_name or "")
    return teacher.copies if teacher is not None and teacher.crossed else 1


def _shifts(study: Study, name: str) -> Iterator[tuple[str, Arm]]:
    arm = study.arms[name]
    for shift in range(1, _copies(study, name)):
        other = f"{name}_shift{shift}"
        there = study.arms.get(other)
        if there is not None and (there.teacher_shift, there.teacher_name) != (shift, arm.teacher_name):
            raise StudyError(
                f"arms.{other}: the name is needed for arm {name} with the copies of its teacher shifted by {shift}; "
                f"give the arm another name, or leave out teachers.{arm.teacher_name}.crossed"
            )
        label = f"{arm.label}, teachers shifted by {shift}" if arm.label else ""
        # What it takes from another crossed arm, it takes from the shift that had the same copies.
        moved = {
            key: f"{used}_shift{shift}"
            for key, mark, used in arm.references()
            if mark.to == "arm" and used in study.arms and _copies(study, used) > shift
        }
        yield other, _changed(arm, {"label": label, "role": "grid", "teacher_shift": shift, **moved})


def _changed(section: Section, values: Mapping[str, Any]) -> Any:
    """A section with other values; a key with a dot is one of a section in it."""
    own = {key: value for key, value in values.items() if "." not in key}
    for key in values.keys() - own:
        outer, _, inner = key.partition(".")
        own[outer] = _changed(own.get(outer, getattr(section, outer)), {inner: values[key]})
    return section.model_copy(update=own)
