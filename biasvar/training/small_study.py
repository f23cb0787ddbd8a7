"""A study made small for a dry run: the same arms, teachers and networks on a few rows, in a folder that goes away."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from biasvar.data.dataset import Measured
from biasvar.data.made import random_images
from biasvar.study import Study, Teacher
from biasvar.study.soft_labels import File, Random, SoftLabel, Votes
from biasvar.training.context import StudyContext, context_of
from biasvar.training.cost import rows_of_arm

HELD_OUT = 8  # rows of the validation and test split, each: they are there to be evaluated once
PER_CLASS = 8  # rows of each class at least
SELECTED = 16  # rows that a selection is to find, a quarter of them in each class


@dataclass(frozen=True)
class Steps:
    """The steps that a training is measured by.

    Attributes:
        batch: Rows of each: those of the study, or fewer.
        number: How many steps.
        most: Rows that there are at most, if that is known.
    """

    batch: int
    number: int
    most: int | None = None

    @property
    def rows(self) -> int:
        rows = self.batch * self.number
        return rows if self.most is None else min(rows, self.most)


def small_context(
    context: StudyContext, directory: Path, arms: Mapping[str, Steps], teachers: Mapping[str, Steps]
) -> StudyContext:
    """The context of a small study in place of a whole one's, with rows for these steps.

    Replicas that train one by one are one; the schedule, and so the number of epochs, stays the study's. Images are the
    study's own where the data are there, else random ones. What is of further views of the images, of few-shot
    episodes, and of files by sample id is left out.

    Args:
        context: The whole study.
        directory: A run directory that goes away.
        arms, teachers: Their steps, by name; arms share the size of their batches.
    """
    study = context.study
    rows = _rows(context, arms)
    pool = max(_pool(context, rows), *(steps.rows for steps in teachers.values()), 1)
    if study.draw.kind in ("bootstrap", "seed_only"):
        rows = pool
    sizes = {
        "student": pool,
        **{name: min(len(context.blocks[name]), HELD_OUT) for name in ("validation", "test")},
        "reserved": min(len(context.blocks["reserved"]), max(HELD_OUT, *(s.rows for s in teachers.values()), 0)),
    }
    chosen = {name: _spread(context, name, size) for name, size in sizes.items()}
    ids = np.concatenate(list(chosen.values()))
    starts = np.cumsum([0, *(len(part) for part in chosen.values())])
    blocks = {name: np.arange(a, b) for name, a, b in zip(chosen, starts, starts[1:], strict=False)}
    data = context.dataset
    images = random_images(len(ids), data.images.shape[1:], data.scale) if data.made else np.array(data.images[ids])
    small = replace(
        data, images=images, labels=np.asarray(data.labels)[ids], split=None, original_index=None, files=None,
        made=False, _measured=Measured(data.mean, data.std, "small"),
    )  # fmt: skip
    there = len(blocks["student"]) + len(blocks["reserved"])
    some = {name: replace(steps, most=there) for name, steps in teachers.items()}
    made = _study(study, arms, some, rows, pool)
    return context_of(made, small, blocks, directory, context.device)


def _rows(context: StudyContext, arms: Mapping[str, Steps]) -> int:
    """Rows that each replica draws."""
    needed = [2]
    for name, steps in arms.items():
        arm = context.study.arms[name]
        share = arm.get("split")  # of a search, which trains on one part of the rows and searches on the other
        parts = min(share, 1 - share) if isinstance(share, float) else 1.0
        needed.append(math.ceil((steps.rows + 1) / parts) if parts < 1 else steps.rows)
    needed.append(math.ceil(SELECTED / _kept(context)))
    most = context.rows([0]).ids.shape[1]
    return min(max(needed), most)


def _kept(context: StudyContext) -> float:
    """The smallest share that an arm selects of its rows; `SELECTED` where all arms take all."""
    selections = [arm.get("selection") for arm in context.study.arms.values()]
    return min([float(selection.keep) for selection in selections if selection is not None], default=float(SELECTED))


def _pool(context: StudyContext, rows: int) -> int:
    """Rows of the students' pool of which replicas draw so many."""
    whole, drawn = len(context.blocks["student"]), context.rows([0]).ids.shape[1]
    replicas = context.study.replicas if context.study.backend == "batched" else 1
    kinds = {"disjoint": rows * replicas, "subsample": min(2 * rows, math.ceil(rows * whole / drawn))}
    return min(whole, kinds.get(context.study.draw.kind, rows))


def _spread(context: StudyContext, block: str, size: int) -> np.ndarray:
    """So many sample ids of a block, of few classes with several rows each."""
    ids = context.blocks[block]
    labels = np.asarray(context.dataset.labels)[ids]
    classes = max(2, min(context.dataset.num_classes, size // max(PER_CLASS, math.ceil(SELECTED / 4 / _kept(context)))))
    order = np.argsort(labels, kind="stable")
    place = np.arange(len(ids)) - np.searchsorted(labels[order], labels[order])  # of a row within its class
    rank = np.where(labels[order] < classes, place, len(ids) + np.arange(len(ids)))
    return ids[order[np.argsort(rank, kind="stable")[:size]]]


def _study(study: Study, arms: Mapping[str, Steps], teachers: Mapping[str, Steps], rows: int, pool: int) -> Study:
    one = study.backend != "batched"
    batch = max((steps.batch for steps in arms.values()), default=study.schedule.batch_size)
    drawn = None if study.draw.kind in ("bootstrap", "seed_only") else rows
    return study.model_copy(
        update={
            "replicas": 1 if one else study.replicas,
            "redraws": None,
            "keep_teachers": False,
            "keep_views": False,
            "share": [],
            "data": study.data.in_memory().model_copy(update={"views": {}, "train_views": [], "few_shots": None}),
            "draw": study.draw.model_copy(update={"rows": drawn}),
            "schedule": study.schedule.model_copy(update={"batch_size": batch}),
            "teachers": {name: _teacher(teacher, teachers.get(name)) for name, teacher in study.teachers.items()},
            "soft_labels": {name: _soft_label(source, pool) for name, source in study.soft_labels.items()},
        }
    )


def _teacher(teacher: Teacher, steps: Steps | None) -> Teacher:
    if steps is None:  # given, or an ensemble
        return teacher
    changes: dict[str, Any] = {"copies": 1, "crossed": False, "follow": False, "stop": 1}
    if teacher.rows != "own" or teacher.draw != "per_replica":
        changes["rows"] = steps.rows
    return teacher.model_copy(update={**changes, "batch_size": steps.batch})


def _soft_label(source: SoftLabel, pool: int) -> SoftLabel:
    """With fewer labelled rows; those that are read by sample id become random ones."""
    if isinstance(source, Votes | File):
        return Random(kind="random", concentration=1.0)
    labelled = getattr(source, "labelled", None)
    return source if labelled is None else source.model_copy(update={"labelled": max(1, min(labelled, pool // 2))})


def rows_of_step(context: StudyContext, arm: str) -> tuple[int, int]:
    """Rows of a whole study's batch of an arm, and the rows of its epoch."""
    rows = rows_of_arm(context, arm)
    return min(context.study.schedule.batch_size, rows), rows
