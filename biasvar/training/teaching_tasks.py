"""The tasks of teachers: training them, writing what they say of samples, and keeping what they say of views."""

from __future__ import annotations

from collections import Counter
from typing import Any

from biasvar.records import RunWriter
from biasvar.study import Study
from biasvar.training.completeness import lost_weights, written_teachers
from biasvar.training.context import StudyContext
from biasvar.training.cost import cost_of_answers, cost_of_teacher
from biasvar.training.replicas import groups_of
from biasvar.training.tasks import Task
from biasvar.training.teachers import teacher_groups, teacher_weights_path
from biasvar.training.workers import ask_teacher, finish_teacher, train_teacher_group

VIEWS, STUDENT_TEACHER = "the views of", "the students of"  # no arm is named so: names have no spaces


def teacher_tasks(writer: RunWriter, context: StudyContext, names: list[str]) -> dict[Any, Task]:
    """Tasks that train each group of a teacher's networks, unless its weights are there, and then write its logits."""
    tasks: dict[Any, Task] = {}
    for name in names:
        groups = teacher_groups(context, name)
        parts = [(name, number) for number in range(len(groups))]
        paths = {part: teacher_weights_path(context.directory, *part) for part in parts}
        lost = lost_weights(writer, name)
        left = [part for part, path in paths.items() if path.name in lost or not path.exists()]
        for part in left:
            copies = groups[part[1]]
            words = f"teacher {name}{which_replicas(copies) if len(groups) > 1 else ''}"
            tasks[part] = Task(train_teacher_group, part, words, cost_of_teacher(context, name, copies))
        members = context.study.teachers[name].mean_of or ()
        tasks[name] = _answers(context, name, frozenset([*left, *members]))
    return tasks


def view_tasks(context: StudyContext, missing: list[tuple[str, int]]) -> dict[Any, Task]:
    """Tasks that write a teacher's logits of a replica's views, where views are kept and several arms share them."""
    study = context.study
    if not (study.keep_views and context.inputs.augmented):
        return {}
    groups = groups_of(study.backend, range(study.replicas))
    asked = Counter(asked_of(study, name, r) for name, number in missing for r in groups[number])
    shared = [question for question, count in asked.items() if question[0] and count > 1]
    students = [(name, number) for name, *_ in shared if name not in study.teachers for number in range(len(groups))]
    rows = study.schedule.epochs * context.rows([0]).ids.shape[1]
    return {
        (VIEWS, *question): Task(
            ask_teacher,
            question,
            f"views of teacher {question[0]}, replica {question[1]}",
            cost_of_answers(context, str(question[0]), rows),
            frozenset(key for key in students if key[0] == question[0]),
            counts=False,
        )
        for question in shared
    }


def student_teacher_tasks(context: StudyContext, writer: RunWriter, left: list[str]) -> dict[Any, Task]:
    """Tasks that write the logits of arms whose students teach another that is left, once they are trained."""
    study = context.study
    known = {None, *study.teachers, *written_teachers(writer)}
    teaching = {study.scored_against(name) for name in left} - known
    numbers = range(len(groups_of(study.backend, range(study.replicas))))
    return {
        (STUDENT_TEACHER, name): _answers(context, name, frozenset((name, number) for number in numbers))
        for name in sorted(str(name) for name in teaching)
    }


def _answers(context: StudyContext, name: str, needs: frozenset[Any]) -> Task:
    """The task that writes what a trained teacher says of all samples."""
    cost = cost_of_answers(context, name, context.study.teacher_count(name) * len(context.used_ids))
    return Task(finish_teacher, (name,), f"logits of teacher {name}", cost, needs, counts=False)


def asked_of(study: Study, arm: str, replica: int) -> tuple[str | None, int, int]:
    """The teacher, the replica whose views it is asked about, and which of the teacher's networks is asked."""
    return study.scored_against(arm), replica, study.teacher_number(arm, replica)


def which_replicas(replicas: list[int]) -> str:
    """Which of several groups of replicas, in words."""
    return f", replica {replicas[0]}" if len(replicas) == 1 else f", replicas {replicas[0]} to {replicas[-1]}"
