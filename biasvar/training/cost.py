"""What a study would train: parameters of each arm's network, and steps."""

from __future__ import annotations

import math

import torch

from biasvar.messages import first_few
from biasvar.training.context import StudyContext


def parameters_of(context: StudyContext, arm: str) -> int:
    """The parameters of an arm's students, without what its method adds."""
    network = context.study.arms[arm].student or context.study.student
    if ":" in network.model:
        made = context.student(network, "init", 0)
    else:
        with torch.device("meta"):  # shapes, no memory
            made = context.student(network, "init", 0, device="meta")
    return sum(parameter.numel() for parameter in made.parameters())


def steps_of(context: StudyContext) -> int:
    """The training steps of a replica."""
    schedule = context.study.schedule
    return schedule.epochs * math.ceil(context.rows([0]).ids.shape[1] / schedule.batch_size)


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
