"""What a process does that trains beside the first one: its share of every batch, and nothing on disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from biasvar.training.context import StudyContext
from biasvar.training.hooks import named
from biasvar.training.methods import Batch
from biasvar.training.recorder_inputs import step_tensors
from biasvar.training.recorder_rows import SeenRows
from biasvar.training.replicas import groups_of
from biasvar.training.students import Share, Students, tune
from biasvar.training.teacher_training import train_teacher
from biasvar.training.teachers import teacher_groups


def follow_teacher_group(context: StudyContext, name: str, number: int) -> None:
    """Beside `teacher_training.train_and_keep`."""
    if not context.ranks.broadcast(False):
        train_teacher(context, name, teacher_groups(context, name)[number])


def follow_tuning(context: StudyContext, arm: str, rate: float, replicas: int) -> None:
    """Beside `students.tune`, which writes nothing."""
    tune(context, arm, rate, replicas)


def follow_group(context: StudyContext, name: str, number: int, rate: float) -> None:
    """Beside `students.train_once`: what this process saw of an epoch goes to process 0 when the epoch ends."""
    ranks, study = context.ranks, context.study
    if ranks.broadcast(False):
        return
    replicas = groups_of(study.backend, range(study.replicas))[number]
    arm = study.arms[name]
    assert arm.record is not None  # written out when the study was resolved
    recorded = arm.record.selected(study.schedule.epochs)
    with named(name, arm):
        students = Students(context, name, rate, replicas)
        rows = SeenRows(replicas, context.dataset.num_classes, arm.tau or study.reference_temperature)
        weights: list[torch.Tensor] = []

        def on_batch(batch: Batch, given: torch.Tensor | None) -> None:
            if given is not None:
                weights.append(given)
            if batch.epoch in recorded:
                member = None if batch.counts is None else batch.counts > 0
                rows.note(
                    step_tensors(
                        "", len(replicas), context.dataset.num_classes,
                        batch.ids, batch.logits, batch.labels, batch.teacher_logits, given, member, None,
                    )
                )  # fmt: skip

        def on_epoch(epoch: int, rate: float) -> None:
            share: Share = (rows.given(), torch.cat(weights, dim=1).cpu() if weights else None)
            weights.clear()
            ranks.gather(share)

        students.train(start=ranks.broadcast(0), score_epochs=recorded, on_batch=on_batch, on_epoch=on_epoch)


FOLLOW: dict[str, Callable[..., Any]] = {
    "train_teacher_group": follow_teacher_group,
    "tune_rate": follow_tuning,
    "train_group": follow_group,
}
"""What is done beside a task of `workers`, by its name; beside other tasks nothing is."""
