"""Groups of layers of equal size in a student and its teacher, as a study says or by the sizes themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from biasvar.messages import first_few
from biasvar.study.feature_arms import FeatureArm, TapGroup
from biasvar.training.context import StudyContext
from biasvar.training.student_networks import new_students
from biasvar.training.taps import feature_shapes, named_taps


@dataclass(frozen=True)
class FeatureGroup:
    """A student's layer and the teacher's layers of the same height and width.

    Attributes:
        student, teacher: Module paths; the teacher's from the input to the head, unless a study gives another order.
        student_channels, teacher_channels: Of the features.
        height, width: Of the features, pixels.
    """

    student: str
    teacher: tuple[str, ...]
    student_channels: int
    teacher_channels: int
    height: int
    width: int


def feature_groups(context: StudyContext, settings: FeatureArm) -> list[FeatureGroup]:
    """The groups of an arm.

    Raises:
        ValueError: A tap does not exist or gives no feature map, or layers of a group differ in size: "key: ...".
    """
    named = context.study.teachers.get(settings.teacher)
    if named is not None and named.mean_of:
        raise ValueError(
            f"teacher: {settings.teacher} is an ensemble, which has no layers of its own; name one of its "
            f"teachers, {', '.join(named.mean_of)}"
        )
    student, teacher = networks_of(context, settings)
    example = context.inputs.clean(torch.as_tensor(context.used_ids[:1], device=context.device))
    try:
        if settings.groups is not None:
            return _given(settings.groups, student, teacher, example)
        taps = {
            "student": tuple(settings.student_taps or named_taps(student)),
            "teacher": tuple(settings.teacher_taps or named_taps(teacher)),
        }
        lacking = [of for of, paths in taps.items() if not paths]
        if lacking:
            network = {"student": student, "teacher": teacher}[lacking[0]]
            raise ValueError(
                f"the {lacking[0]}'s network ({type(network).__name__}) names no features; take one of convolutions, "
                f"or name modules that give feature maps as {lacking[0]}_taps"
            )
        return by_size(
            feature_shapes(student, example, taps["student"], of="student"),
            feature_shapes(teacher, example, taps["teacher"], of="teacher"),
        )
    except ValueError as error:
        raise ValueError(f"{_key(settings)}: {error}") from None


def _key(settings: FeatureArm) -> str:
    """The key that decides the groups."""
    if settings.groups is not None:
        return "groups"
    return "student_taps" if settings.student_taps is not None and settings.teacher_taps is None else "teacher_taps"


def networks_of(context: StudyContext, settings: FeatureArm) -> tuple[nn.Module, nn.Module]:
    """A fresh student of an arm and a fresh network of its teacher."""
    own, study = settings.student or context.study.student, context.study
    student = context.student(own, "init", 0)
    if settings.teacher not in study.teachers:  # an arm, whose students teach
        return student, new_students(context, settings.teacher, [0])[0]
    teacher = study.teachers[settings.teacher]
    return student, context.model(teacher.model, teacher.hidden, "teacher init", 0)


def by_size(student: Mapping[str, torch.Size], teacher: Mapping[str, torch.Size]) -> list[FeatureGroup]:
    """The groups of all layers of equal height and width, in the order of the student's; its last one of a size counts.

    Args:
        student, teacher: (C, H, W) by module path, from the input to the head.

    Raises:
        ValueError: No size is found in both networks, or the teacher's layers of a size differ in channels.

    >>> sizes = torch.Size([4, 8, 8]), torch.Size([8, 4, 4]), torch.Size([16, 2, 2])
    >>> found = by_size({"a": sizes[0], "b": sizes[1]}, {"p": sizes[1], "q": sizes[1], "r": sizes[2]})
    >>> [(group.student, group.teacher, group.height) for group in found]
    [('b', ('p', 'q'), 4)]
    """
    last = {shape[1:]: path for path, shape in student.items()}
    groups = {
        size: TapGroup(student=path, teacher=layers)
        for size, path in last.items()
        if (layers := [other for other, shape in teacher.items() if shape[1:] == size])
    }
    if not groups:
        raise ValueError(
            f"no layers of the two networks have equal height and width: the student's are {_sizes(student)}, the "
            f"teacher's {_sizes(teacher)}; take networks that shrink images alike, or name other taps"
        )
    return [_checked(i, group, student, teacher) for i, group in enumerate(groups.values())]


def _given(
    groups: Sequence[TapGroup], student: nn.Module, teacher: nn.Module, example: torch.Tensor
) -> list[FeatureGroup]:
    paths = [group.student for group in groups]
    twice = [path for path in paths if paths.count(path) > 1]
    if twice:
        raise ValueError(f"the student's module {twice[0]!r} is in more than one group")
    of_teacher = list(dict.fromkeys(path for group in groups for path in group.teacher))
    shapes = feature_shapes(student, example, paths, of="student")
    layers = feature_shapes(teacher, example, of_teacher, of="teacher")
    return [_checked(i, group, shapes, layers) for i, group in enumerate(groups)]


def _checked(
    number: int, group: TapGroup, student: Mapping[str, torch.Size], teacher: Mapping[str, torch.Size]
) -> FeatureGroup:
    channels, height, width = student[group.student]
    for path in group.teacher:
        if teacher[path][1:] != (height, width):
            raise ValueError(
                f"group {number}: the student's {group.student} is {height}x{width} pixels, the teacher's {path} "
                f"{teacher[path][1]}x{teacher[path][2]}; layers of one group have equal height and width"
            )
    several = {teacher[path][0] for path in group.teacher}
    if len(several) > 1:
        raise ValueError(
            f"group {number}: the teacher's layers have {first_few(sorted(several))} channels, so that they cannot be "
            "summed; name those with as many channels as teacher taps"
        )
    twice = [path for path in group.teacher if group.teacher.count(path) > 1]
    if twice:
        raise ValueError(f"group {number}: the teacher's module {twice[0]!r} is named more than once")
    return FeatureGroup(group.student, tuple(group.teacher), channels, several.pop(), height, width)


def _sizes(shapes: Mapping[str, torch.Size]) -> str:
    return first_few(dict.fromkeys(f"{shape[1]}x{shape[2]}" for shape in shapes.values()))
