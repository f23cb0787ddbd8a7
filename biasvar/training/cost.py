"""What a study would train: parameters of each arm's network, and steps."""

from __future__ import annotations

import math

import torch

from biasvar.errors import RecordError
from biasvar.messages import first_few
from biasvar.training.context import StudyContext
from biasvar.training.hooks import rows_of
from biasvar.training.methods import method_of
from biasvar.training.teachers import teacher_rows

STEP = 5e6
"""What a training step costs before any arithmetic, in parameters x rows: 0.6 ms against 9e9 a second (digits)."""
EPOCH = 1e8
"""What the records and the evaluation of an arm's epoch cost, in the same unit."""
FORWARD = 1 / 3
"""The share of a training step that asking a network alone costs."""


def parameters_of(context: StudyContext, arm: str) -> int:
    """The parameters of an arm's students, without what its method adds."""
    network = context.study.arms[arm].student or context.study.student
    if ":" in network.model:
        made = context.student(network, "init", 0)
    else:
        with torch.device("meta"):  # shapes, no memory
            made = context.student(network, "init", 0, device="meta")
    return sum(parameter.numel() for parameter in made.parameters())


def cost_of_arm(context: StudyContext, arm: str, replicas: int, *, recorded: bool = True) -> float:
    """What the training of some replicas of an arm costs, in parameters x rows seen."""
    schedule = context.study.schedule
    rows = parameters_of(context, arm) * replicas * context.rows([0]).ids.shape[1] * schedule.epochs
    return rows + STEP * steps_of(context) + EPOCH * schedule.epochs * recorded


def cost_of_teacher(context: StudyContext, name: str, copies: list[int]) -> float:
    """What the training of some of a teacher's networks costs, in parameters x rows seen."""
    teacher = context.study.teachers[name]
    epochs, rows = teacher.stop or teacher.epochs, teacher_rows(context, name, copies[:1]).ids.shape[1]
    seen = parameters_of_teacher(context, name) * len(copies) * rows * epochs
    return seen + STEP * epochs * math.ceil(rows / teacher.batch_size)


def cost_of_answers(context: StudyContext, name: str, rows: int) -> float:
    """What it costs to ask a teacher's network, or a student that teaches, about so many rows."""
    if name in context.study.arms:
        return FORWARD * parameters_of(context, name) * rows
    return FORWARD * parameters_of_teacher(context, name) * rows


def parameters_of_teacher(context: StudyContext, name: str) -> int:
    """The parameters of one of a teacher's networks; of an ensemble those of its members together."""
    teacher = context.study.teachers[name]
    if teacher.mean_of:
        return sum(parameters_of_teacher(context, other) for other in teacher.mean_of)
    if not teacher.is_trained:
        return 0
    if ":" in teacher.model:
        made = context.model(teacher.model, teacher.hidden, "teacher init", 0)
    else:
        with torch.device("meta"):
            made = context.model(teacher.model, teacher.hidden, "teacher init", 0, device="meta")
    return sum(parameter.numel() for parameter in made.parameters())


def steps_of(context: StudyContext) -> int:
    """The training steps of a replica."""
    schedule = context.study.schedule
    return schedule.epochs * math.ceil(context.rows([0]).ids.shape[1] / schedule.batch_size)


def rows_of_arm(context: StudyContext, arm: str) -> int:
    """The rows of an epoch of a replica: those that the method takes of its draw, all where training decides which."""
    try:
        return int(rows_of(context, method_of(context.study.arms[arm]), [0]).ids.shape[1])
    except (FileNotFoundError, RecordError):  # nothing is trained yet
        return int(context.rows([0]).ids.shape[1])


def grid_in_words(context: StudyContext) -> list[str]:
    """The grid of a study's sweep and what it costs, line by line; nothing for a study without one."""
    study = context.study
    swept = {name: arm for name, arm in study.arms.items() if arm.swept}
    if not swept:
        return []
    axes = [f"{key} {first_few((f'{value:g}' for value in values), 20)}" for key, values in study.sweep.items()]
    steps = steps_of(context)
    sizes = {name: parameters_of(context, name) for name in study.arms}
    rows = context.rows([0]).ids.shape[1]
    passes = sum(sizes.values()) * study.replicas * rows * study.schedule.epochs
    return [
        f"sweep over {'; '.join(axes)}: {len(swept)} of {len(study.arms)} arms",
        f"cost: {len(study.arms)} arms x {study.replicas} replicas x {steps:,} steps = "
        f"{len(study.arms) * study.replicas * steps:,} steps, students of {min(sizes.values()):,} to "
        f"{max(sizes.values()):,} parameters, {passes:.1e} parameters x rows seen",
    ]
